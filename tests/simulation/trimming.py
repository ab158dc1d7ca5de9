"""The trimmer: below what every reader has, what is stored, and what a backup covers, after a while.

The rule is that of ops/trimming.py, in miniature. What a backup covers is what was acknowledged when it
began: its mark alone is the last entry stored, and an earlier one may still have been with a dead worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ballot import handoff
from tests.simulation.material import BALLOT

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

    def begin(self) -> None:
        """Trim for the first time, and again and again."""
        if self.world.plan.has("older_database"):
            self.covered = {}  # nothing is backed up yet
        self._trim()

    def cover(self, marks: dict[tuple[int, str], Id]) -> None:
        """A backup begins now, in which the marks are these."""
        if self.covered is not None:
            shards = range(self.world.plan.shards)
            self.covered = {shard: min(self.settled(shard), _reached(marks, shard)) for shard in shards}

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
        marks = world.database.marks()
        for shard in range(world.plan.shards):
            stream = world.stream(shard)
            if stream is None or not stream.ids:
                continue
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


def _reached(marks: dict[tuple[int, str], Id], shard: int) -> Id:
    """Up to where a shard is both stored and counted."""
    return min(marks.get((shard, side), NOTHING) for side in ("stored", "turnout"))


def _unacknowledged(stream: Stream) -> Id:
    group = stream.groups.get(handoff.GROUP.encode())
    if group is None:
        return NOTHING
    return min(group.pending, default=(group.last[0], group.last[1] + 1))
