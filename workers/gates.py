"""What a worker reads of a shard's gate: numbers, by which it tells an older copy; no credential, no mark."""

from dataclasses import dataclass

from ballot import handoff
from workers.link import Link


@dataclass(frozen=True, slots=True)
class GateKept:
    """A shard's window, and how many it revoked and released; no `revoked` from one that did not count."""

    opens_us: int
    closes_us: int
    closed: bool
    revoked: int | None
    released: int


class Gates(Link):
    """The gates of all shards; it writes nothing there."""

    async def accepted(self, ballot: str, shard: int) -> int | None:
        """How many votes the gate of a shard has accepted; None if it was never armed."""
        key = handoff.gate_key(ballot, shard)
        value = await self.on(key, lambda client: client.hget(key, "accepted"))
        return None if value is None else int(value)

    async def gate(self, ballot: str, shard: int) -> GateKept | None:
        """What a shard's gate has of what a worker compares; None if it was never armed."""
        key = handoff.gate_key(ballot, shard)
        names = ("opens_us", "closes_us", "state", "revoked", "released")
        opens, closes, state, revoked, released = await self.on(key, lambda client: client.hmget(key, names))
        if opens is None or closes is None:
            return None
        return GateKept(
            _number(opens),
            _number(closes),
            closed=state == b"closed",
            revoked=None if revoked is None else _number(revoked),
            released=0 if released is None else _number(released),
        )


def _number(value: bytes | None) -> int:
    """What is no number is less than any that is on record."""
    return int(value) if value is not None and value.isdigit() else -1
