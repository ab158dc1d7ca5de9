"""The trimmer: below what every reader has, what is stored, and what a backup covers, after a while by the queue's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ballot import handoff
from tests.simulation.material import BALLOT

if TYPE_CHECKING:
    from tests.simulation.streams import Id
    from tests.simulation.world import World

EVERY_S: Final = 0.2
AGE_MS: Final = 100


class Trimmer:
    """Trims now and then, as the trimmer process does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.covered: dict[tuple[int, str], Id] | None = None
        """What the last backup holds; without one planned there are no backups."""

    def begin(self) -> None:
        """Trim for the first time, and again and again."""
        if self.world.plan.has("older_database"):
            self.covered = {}  # nothing is backed up yet
        self._trim()

    def cover(self, marks: dict[tuple[int, str], Id]) -> None:
        """A backup was made."""
        if self.covered is not None:
            self.covered = marks

    def _trim(self) -> None:
        world = self.world
        world.kernel.after(EVERY_S, self._trim)
        if not (world.primary.model.up and world.database.up):
            return
        model = world.primary.model
        marks = world.database.marks()
        for shard in range(world.plan.shards):
            stream = world.stream(shard)
            group = None if stream is None else stream.groups.get(handoff.GROUP.encode())
            if stream is None or group is None:
                continue
            below = self.below(shard, marks, min(group.pending, default=(group.last[0], group.last[1] + 1)))
            below = min(below, (model.keys.now_ms - AGE_MS, 0))
            if stream.first < below and stream.ids:
                key = handoff.votes_key(BALLOT, shard)
                model.execute(model.session(), ("XTRIM", key, "MINID", "%d-%d" % below))
                world.kernel.tell("trimmer", "trims shard", shard, "below", below)

    def below(self, shard: int, marks: dict[tuple[int, str], Id], waiting: Id) -> Id:
        """The first entry that must stay."""
        sides = [(shard, "stored"), (shard, "turnout")]
        bounds = [marks.get(side, (0, 0)) for side in sides]
        if self.covered is not None:
            bounds += [self.covered.get(side, (0, 0)) for side in sides]
        return min([waiting, *bounds])
