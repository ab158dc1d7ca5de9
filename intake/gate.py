"""What goes to the gate and what comes back: calls, decisions, and the state in which no vote is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ballot import handoff

CAST: Final = "ballot_cast"
ACCESS: Final = "ballot_access"

Outcome = Literal["accepted", "repeated", "ready", "not_open", "not_accepted", "not_found", "taken"]
OUTCOMES: Final[dict[bytes, Outcome]] = {name.encode(): name for name in get_args(Outcome)}
RECEIPTED: Final = frozenset({"accepted", "repeated"})


class Unready(Exception):  # noqa: N818  # a state of the queue, not a mistake of the caller
    """Votes cannot be taken; `reason` is a short fixed name, the text says what to do about it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Call:
    """One function call on one shard; `asking` where the shard is only just moving to."""

    function: str
    ballot: str
    shard: int
    args: Sequence[bytes]
    asking: bool = False

    def packed(self) -> tuple[bytes | str | int, ...]:
        """The command as it is sent."""
        keys = handoff.shard_keys(self.ballot, self.shard)
        return ("FCALL", self.function, len(keys), *keys, *self.args)


@dataclass(slots=True)
class Decision:
    """What the gate decided about one item, and the ballot's window at that instant.

    `number` is an acceptance's in its shard; 0 for anything else, and from a gate that does not number yet.
    Its receipt, as it is sent, is added once it is signed; nothing else ever changes (frozen costs each vote
    twice as much).
    """

    outcome: Outcome
    opens_us: int
    closes_us: int
    state: str
    reference: str = ""
    accepted_us: int = 0
    sealed_sha256: bytes = b""
    number: int = 0
    receipt: bytes | None = None


def decisions(reply: Sequence[Any]) -> list[Decision]:
    """The gate's reply: opens, closes and state, then a row an item; a fifth value there is its number."""
    opens_us, closes_us, state = int(reply[0]), int(reply[1]), reply[2].decode()
    return [
        Decision(
            OUTCOMES[row[0]], opens_us, closes_us, state, row[1].decode(), int(row[2] or 0), row[3], *row[4:5]
        )
        for row in reply[3:]
    ]
