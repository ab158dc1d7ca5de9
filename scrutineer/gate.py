"""The desk's verbs at the gate: arm, issue, revoke, return, release, set the closing time; never cast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from redis.exceptions import ResponseError

from ballot import gate_layout, handoff
from ballot.handoff import CHANNEL_BYTES
from runtime import valkey
from scrutineer.replicated import Replicated

#: Rows in one function call: a call of 500 keeps the gate busy for about a millisecond.
CALL_ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class ShardState:
    """What one shard of the gate says of itself; all times in microseconds of its own latched clock."""

    shard: int
    opens_us: int
    closes_us: int
    state: str
    now_us: int
    accepted: int
    repeated: int
    released: int
    voted: dict[str, int]
    credentials: int
    last_entry: str
    entries: int

    @property
    def closed(self) -> bool:
        """No vote can be accepted any more."""
        return self.state == "closed" or self.now_us >= self.closes_us


@dataclass(frozen=True, slots=True)
class Voted:
    """Where a voter's mark came from: `by` is e, p or w; the reference is there for e alone."""

    by: str
    reference: str = ""

    @classmethod
    def from_value(cls, value: bytes) -> "Voted | None":
        """Read the gate's packed value; empty means the voter has not voted."""
        if not value:
            return None
        mark = gate_layout.Mark.from_value(value)
        return cls(by=mark.by, reference=mark.reference)


class Gate:
    """One ballot's shards; every method is safe to repeat.

    With `replicated`, what changes a shard returns once every replica has it on disk.
    """

    def __init__(
        self, client: Any, ballot: str, shards: int, *, replicated: Replicated | None = None
    ) -> None:
        self.client = client
        self.ballot = ballot
        self.shards = shards
        self.replicated = replicated

    async def _call(self, function: str, shard: int, *arguments: bytes | str | int) -> Any:
        keys = handoff.shard_keys(self.ballot, shard)
        if self.replicated is None:
            return await valkey.fcall(self.client, function, keys, *arguments)
        (reply,) = await self.replicated.does(keys[0], ("FCALL", function, len(keys), *keys, *arguments))
        return reply

    async def _read(self, function: str, shard: int, *arguments: bytes | str | int) -> Any:
        keys = handoff.shard_keys(self.ballot, shard)
        return await valkey.fcall(self.client, function, keys, *arguments, read_only=True)

    async def arm(self, *, opens_us: int, closes_us: int) -> None:
        """Arm every shard with the same window; a shard armed with another one refuses."""
        for shard in range(self.shards):
            try:
                await self._call("ballot_arm", shard, opens_us, closes_us)
            except ResponseError as error:
                if "ARMED" not in str(error):
                    raise
                message = f"shard {shard} of the gate is already armed with other times; run `ballot doctor`"
                raise click.ClickException(message) from None

    async def state(self, shard: int) -> ShardState | None:
        """Read one shard; None if it was never armed."""
        reply = await self._read("ballot_state", shard)
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in reply]
        if texts[2] == "unarmed":
            return None
        numbers = [int(text) for text in (*texts[:2], *texts[3:11])]
        opens_us, closes_us, now_us, accepted, repeated, released, voted_e, voted_p, voted_w, credentials = (
            numbers
        )
        voted = {"electronic": voted_e, "postal": voted_p, "workplace": voted_w}
        return ShardState(
            shard=shard,
            opens_us=opens_us,
            closes_us=closes_us,
            state=texts[2],
            now_us=now_us,
            accepted=accepted,
            repeated=repeated,
            released=released,
            voted=voted,
            credentials=credentials,
            last_entry=texts[11],
            entries=int(texts[12]),
        )

    async def states(self) -> list[ShardState]:
        """Read all shards; empty unless every one is armed."""
        found = [await self.state(shard) for shard in range(self.shards)]
        armed = [state for state in found if state is not None]
        return armed if len(armed) == self.shards else []

    async def issue(self, shard: int, rows: Sequence[tuple[bytes, bytes, str]]) -> int:
        """Make credentials current: (digest, uin, channel) each; gives how many were new."""
        return int(await self._call("ballot_issue", shard, *_issue_arguments(rows)))

    async def issue_all(
        self,
        blocks: Sequence[tuple[int, Sequence[tuple[bytes, bytes, str]]]],
        done: Callable[[int], None],
    ) -> None:
        """Issue blocks of rows by shard, one call after the other; replicas are waited for at the end.

        `done` is told of each block how many rows it has.
        """
        if self.replicated is None:
            for shard, rows in blocks:
                await self.issue(shard, rows)
                done(len(rows))
            return
        shares: dict[Any, list[tuple[int, Sequence[tuple[bytes, bytes, str]]]]] = {}
        for block in blocks:
            holder = await self.replicated.nodes.holder(handoff.gate_key(self.ballot, block[0]))
            shares.setdefault(holder, []).append(block)
        for share in shares.values():
            commands = []
            for shard, rows in share:
                keys = handoff.shard_keys(self.ballot, shard)
                commands.append(("FCALL", "ballot_issue", len(keys), *keys, *_issue_arguments(rows)))
            await self.replicated.does(handoff.gate_key(self.ballot, share[0][0]), *commands)
            for _, rows in share:
                done(len(rows))

    async def revoke(self, shard: int, digests: Sequence[bytes]) -> int:
        """Revoke credentials at once; gives the gate's time of it."""
        reply = await self._call("ballot_revoke", shard, *digests)
        return int(reply[0])

    async def voted(self, shard: int, uins: Sequence[bytes]) -> list[Voted | None]:
        """Say for each voter whether, and by what, they have voted."""
        reply = await self._read("ballot_voted", shard, *uins)
        return [Voted.from_value(bytes(value or b"")) for value in reply]

    async def record_returns(
        self, shard: int, rows: Sequence[tuple[bytes, str, int]]
    ) -> list[tuple[str, str]]:
        """Mark voters as returned by another method; gives (recorded|repeated|lost, by) for each."""
        arguments: list[bytes | str | int] = []
        for uin, method, received_us in rows:
            arguments += (uin, method, received_us)
        reply = await self._call("ballot_return", shard, *arguments)
        return [(bytes(outcome).decode(), bytes(by).decode()) for outcome, by in reply]

    async def release(self, shard: int, uin: bytes, reference: str) -> bool:
        """Take back the mark of a vote that was quarantined; False if the voter's mark is another one."""
        return int(await self._call("ballot_release", shard, uin, reference)) == 1

    async def set_closes(self, shard: int, closes_us: int) -> tuple[bool, int, str, int]:
        """Set one shard's closing time; gives (done, now_us, state, previous closes_us)."""
        reply = await self._call("ballot_set_closes", shard, closes_us)
        done, now_us, state, previous = reply
        return int(done) == 1, int(now_us), bytes(state).decode(), int(previous)

    async def latch(self, shard: int) -> tuple[bool, int]:
        """Make a shard keep what its clock says: whether it is closed, and will be whatever the clock does.

        A shard that was only read as closed may be open again: its clock may have been set back meanwhile.
        Gives also how many counts of attempts are not in the log of attempts yet. Of a closed shard each
        call moves some of them there; none left means that the log has every attempt so far.
        """
        reply = await self._call("ballot_latch", shard)
        return bytes(reply[2]) == b"closed", int(reply[13])

    async def publish(self, entry: bytes) -> None:
        """Tell the edges that this ballot exists."""
        key = handoff.PUBLISHED_KEY
        if self.replicated is None:
            await self.client.hset(key, self.ballot, entry)
        else:
            await self.replicated.does(key, ("HSET", key, self.ballot, entry))

    async def published(self) -> bytes | None:
        """Give what the edges were told, or None."""
        entry: bytes | None = await self.client.hget(handoff.PUBLISHED_KEY, self.ballot)
        return entry


def _issue_arguments(rows: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
    return [part for digest, uin, channel in rows for part in (digest, uin, CHANNEL_BYTES[channel])]
