"""The waiting lines in front of one primary: one for each function and shard, taken together in rounds."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from intake.gate import CAST, Call, Decision

if TYPE_CHECKING:
    from intake.link import Link

CALL_ITEMS_MAX: Final = 256
"""Votes in one call: about 10 ms of the queue's time, so that no shard keeps the others waiting for long."""

ROUND_CALLS_MAX: Final = 64
ACCESS_CALLS: Final = 8
"""So many of a round's calls are access requests' if any wait: votes on many shards never keep them out."""

Done = Callable[[Decision | None], None]
"""What is called with the decision on an item, once; None when none came in time: it may have been done."""


@dataclass(slots=True, eq=False)
class Item:
    """One vote or access request that waits; `done` gets None when it could not be confirmed."""

    function: str
    ballot: str
    shard: int
    args: Sequence[bytes]
    deadline_s: float
    done: Done
    room: str
    link: "Link | None" = None
    settled: bool = False
    asking: bool = False
    redirects: int = 0


Line = tuple[str, str, int, bool]
"""What one call can hold together: function, ballot, shard, whether the shard is only moving here."""


@dataclass(frozen=True, slots=True)
class Round:
    """Calls that go together, each with its items in the same order."""

    calls: list[Call] = field(default_factory=list)
    items: list[list[Item]] = field(default_factory=list)

    def all(self) -> Iterator[Item]:
        """Every item of it."""
        return (item for items in self.items for item in items)


class Lines:
    """What waits for one primary."""

    def __init__(self) -> None:
        self._waiting: dict[Line, deque[Item]] = {}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def add(self, item: Item) -> None:
        """Put it at the end of its line."""
        key = (item.function, item.ballot, item.shard, item.asking)
        line = self._waiting.get(key)
        if line is None:
            self._waiting[key] = deque((item,))
        else:
            line.append(item)

    def take(self) -> Round:
        """Everything that waits, up to the bounds, votes first, oldest line first; nothing that expired."""
        round_ = Round()
        votes = [line for line in self._waiting if line[0] == CAST]
        others = [line for line in self._waiting if line[0] != CAST]
        kept = min(len(others), ACCESS_CALLS)
        for key in [*votes[: ROUND_CALLS_MAX - kept], *others][:ROUND_CALLS_MAX]:
            line = self._waiting.pop(key)
            items: list[Item] = []
            while line and len(items) < CALL_ITEMS_MAX:
                item = line.popleft()
                if not item.settled:
                    items.append(item)
            if line:
                self._waiting[key] = line  # at the end: the other shards' turn comes first
            if items:
                function, ballot, shard, asking = key
                args = [argument for item in items for argument in item.args]
                round_.calls.append(Call(function, ballot, shard, args, asking))
                round_.items.append(items)
        return round_

    def leave(self) -> list[Item]:
        """Everything that waits, oldest first a line; nothing waits here any more."""
        left = [item for line in self._waiting.values() for item in line if not item.settled]
        self._waiting.clear()
        return left
