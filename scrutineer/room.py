"""Whether the queue has memory for every vote still to come, asked before a ballot opens.

Counted are all open ballots and the one to be opened: for each voter who may still vote the entry in the
stream, the mark and the reference; for each shard the budgets of the logs of tries, which a flood fills and
never exceeds. On a Cluster each primary must have room for its own shards.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import click

from ballot import gate_layout, handoff
from ballot.suite import SEAL_OVERHEAD_BYTES
from runtime.nodes import Nodes, Place
from scrutineer import ballots
from scrutineer.ballots import StoredBallot
from scrutineer.session import Desk

OPEN = """
SELECT ballot FROM (
    SELECT DISTINCT ON (ballot) ballot, closes_us FROM ballot.lifecycle ORDER BY ballot, seq DESC
) AS latest WHERE closes_us > $1 AND ballot <> $2
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server says of its memory; `bound` is its `maxmemory` or, without one, the machine's."""

    used: int
    bound: int
    bounded: bool

    @classmethod
    def told(cls, info: dict[str, Any]) -> "Memory":
        """Read INFO memory."""
        bound = int(info["maxmemory"])
        return cls(int(info["used_memory"]), bound or int(info["total_system_memory"]), bounded=bound > 0)


def shard_bytes(*, voters: int, padded_size: int) -> int:
    """What a shard may still take when `voters` have yet to vote."""
    vote = padded_size + SEAL_OVERHEAD_BYTES + gate_layout.ENTRY_BYTES + gate_layout.VOTED_BYTES
    return voters * vote + gate_layout.TRIES_BYTES


async def require(desk: Desk, stored: StoredBallot) -> None:
    """Refuse to open a ballot for whose votes there may be no memory, naming the setting and its value."""
    now_us, _ = await desk.now()
    names = [row["ballot"] for row in await desk.votes.fetch(OPEN, now_us, stored.id)]
    open_now = [stored, *[await ballots.load(desk, name) for name in names]]
    nodes = Nodes(desk.servers, "desk")
    try:
        needed: Counter[Place] = Counter()
        primaries = await nodes.primaries()
        for ballot in open_now:
            bytes_each = shard_bytes(
                voters=-(-await _still_to_vote(desk, ballot) // ballot.shards),
                padded_size=ballot.definition.padded_size,
            )
            for shard in range(ballot.shards):
                key = handoff.gate_key(ballot.id, shard)
                needed[next(each.place for each in primaries if each.holds(key))] += bytes_each
        for primary in primaries:
            if primary.place in needed:
                memory = Memory.told(await primary.client.info("memory"))
                _require(stored, primary.place, memory, needed[primary.place])
    finally:
        await nodes.aclose()


async def _still_to_vote(desk: Desk, ballot: StoredBallot) -> int:
    """Count who is entitled and has no vote at the gate; before a ballot is armed, all of them."""
    statement = "SELECT count(*) FROM ballot.electorate WHERE ballot = $1"
    entitled = int(await desk.votes.fetchval(statement, ballot.id))
    voted = sum(sum(state.voted.values()) for state in await ballot.gate(desk).states())
    return max(entitled - voted, 0)


def _require(stored: StoredBallot, place: Place, memory: Memory, needed: int) -> None:
    wanted = memory.used + needed + (0 if memory.bounded else gate_layout.REMEMBERED_BYTES)
    if wanted <= memory.bound:
        return
    host, port = place
    what = "its `maxmemory`" if memory.bounded else "its machine"
    cure = (
        f"set `maxmemory` to {wanted} or more (CONFIG SET maxmemory {wanted}, and in its configuration file)"
        if memory.bounded
        else f"give the machine {wanted} bytes for it, or another one"
    )
    raise click.ClickException(
        f"ballot {stored.id!r} is not opened: the queue at {host}:{port} uses {memory.used:,} bytes, the "
        f"votes still to come in all open ballots and the logs of tries may take {needed:,} more, and {what} "
        f"has {memory.bound:,}; {cure}"
    )
