"""The trimmer: below what every reader has, what is stored, and what a backup covers, after a while.

The rules are those of ops/trim_bounds.py: what a backup covers is what was acknowledged while the
stream ended before its mark. The mark alone is the last entry stored; an earlier one may still have been with
a dead worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ballot import handoff
from ops.trim_bounds import Acknowledged, Mark, reached
from tests.simulation.material import BALLOT
from tests.simulation.streams import read_id

if TYPE_CHECKING:
    from tests.simulation.streams import Id, Stream
    from tests.simulation.world import World

EVERY_S: Final = 0.2
AGE_MS: Final = 100
NOTHING: Final = (0, 0)


class Trimmer:
    """Trims now and then, as the trimmer process does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.covered: dict[int, Id] | None = None
        """Up to where the last backup has a shard's stream; None where there are no backups."""

        self._acknowledged = Acknowledged()

    def begin(self) -> None:
        """Trim for the first time, and again and again."""
        if self.world.plan.has("older_database"):
            self.covered = {}  # nothing is backed up yet
        self._trim()

    def cover(self, marks: dict[tuple[int, str], Id]) -> None:
        """A backup begins now, in which the marks are these."""
        if self.covered is None:
            return
        for shard in range(self.world.plan.shards):
            mark = _reached(marks, shard)
            found = self._acknowledged.before((BALLOT, shard), _named(mark))
            self.covered[shard] = NOTHING if found is None else min(read_id(found.encode()), mark)

    def settled(self, shard: int) -> Id:
        """The first entry of a shard that is not acknowledged, for all that the queue knows."""
        stream = self.world.stream(shard) if self.world.primary.model.up else None
        return NOTHING if stream is None else _unacknowledged(stream)

    def _trim(self) -> None:
        world = self.world
        world.kernel.after(EVERY_S, self._trim)
        if not (world.primary.model.up and world.database.up):
            return
        model = world.primary.model
        if handoff.RECOVERING_KEY.encode() in model.data:
            return
        marks = world.database.marks()
        for shard in range(world.plan.shards):
            stream = world.stream(shard)
            if stream is None or not stream.ids:
                continue
            settled = self.settled(shard)
            self._acknowledged.look((BALLOT, shard), _named(settled), last=_named(stream.last))
            below = min(self.below(shard, marks), (model.keys.now_ms - AGE_MS, 0))
            if stream.first < below:
                key = handoff.votes_key(BALLOT, shard)
                model.execute(model.session(), ("XTRIM", key, "MINID", f"{below[0]}-{below[1]}"))
                world.kernel.tell("trimmer", "trims shard", shard, "below", below)

    def below(self, shard: int, marks: dict[tuple[int, str], Id]) -> Id:
        """The first entry that must stay."""
        bounds = [self.settled(shard), _reached(marks, shard)]
        if self.covered is not None:
            bounds.append(self.covered.get(shard, NOTHING))
        return min(bounds)


def _named(entry: Id) -> str:
    return f"{entry[0]}-{entry[1]}"


def _reached(marks: dict[tuple[int, str], Id], shard: int) -> Id:
    """Up to where a shard is both stored and counted."""
    given = [
        Mark(BALLOT, of, side, f"{entry[0]}-{entry[1]}") for (of, side), entry in marks.items() if of == shard
    ]
    return read_id(reached(given).get((BALLOT, shard), "0-0").encode())


def _unacknowledged(stream: Stream) -> Id:
    group = stream.groups.get(handoff.GROUP.encode())
    return NOTHING if group is None else min([group.last, *group.pending])
