"""What a worker reads of many shards at once to tell an older copy: ends of streams, a gate's numbers.

No credential and no mark; it writes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ballot import handoff
from workers.link import Link

Shard = tuple[str, int]
"""A ballot and a shard's number."""

DIGITS_MAX: Final = 18
"""A time in microseconds has sixteen."""


@dataclass(frozen=True, slots=True)
class GateKept:
    """A shard's window, and how many it revoked and released; no `revoked` from one that did not count.

    `epoch` is the number of the last recovery that put it back together; 0 if there was none.
    """

    opens_us: int
    closes_us: int
    closed: bool
    revoked: int | None
    released: int
    epoch: int = 0


class Gates(Link):
    """The gates and streams of all shards, wherever they are."""

    async def extents(self, streams: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The last id each stream ever gave, how many entries it ever took; nothing for one that is gone."""
        found = await self.each(streams, lambda pipeline, stream: pipeline.xinfo_stream(stream))
        return {
            stream: ("0-0", 0)
            if info is None
            else (info["last-generated-id"].decode(), info["entries-added"])
            for stream, info in found.items()
        }

    async def accepted(self, shards: Collection[Shard]) -> dict[Shard, int]:
        """How many votes the gate of each shard has accepted; 0 if it was never armed."""
        found = await self._gates(shards, ("accepted",))
        return {shard: 0 if accepted is None else _number(accepted) for shard, (accepted,) in found.items()}

    async def kept(self, shards: Collection[Shard]) -> dict[Shard, GateKept | None]:
        """What each shard's gate has of what a worker compares; None if it was never armed."""
        names = ("opens_us", "closes_us", "state", "revoked", "released", "epoch")
        found = await self._gates(shards, names)
        return {shard: _kept(*values) for shard, values in found.items()}

    async def _gates(self, shards: Collection[Shard], names: Sequence[str]) -> dict[Shard, Any]:
        keys = {shard: handoff.gate_key(*shard) for shard in shards}
        found = await self.each([*keys.values()], lambda pipeline, key: pipeline.hmget(key, names))
        return {shard: found[key] for shard, key in keys.items()}


def _kept(*values: bytes | None) -> GateKept | None:
    opens, closes, state, revoked, released, epoch = values
    if opens is None or closes is None:
        return None
    return GateKept(
        _number(opens),
        _number(closes),
        closed=state == b"closed",
        revoked=None if revoked is None else _number(revoked),
        released=0 if released is None else _number(released),
        epoch=handoff.epoch(epoch),
    )


def _number(value: bytes | None) -> int:
    """What is no number, or a longer one than any of ours, is less than any that is on record."""
    if value is None or not value.isdigit() or len(value) > DIGITS_MAX:
        return -1
    return int(value)
