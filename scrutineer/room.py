"""Whether the queue has memory for every vote still to come, asked before a ballot opens.

Counted are all open ballots and the one to be opened: for each voter who may still vote online the entry in
the stream, the mark and the reference; for each shard what is left of the budgets of the logs of tries, which
a flood fills and never exceeds. A small electorate cannot fill them: each code has so many tries that get an
entry. Returns by other methods are not counted: one takes less than a tenth of a vote, at the desk's pace.
The complaints' budget is asked for whole, whatever waits there now. On a Cluster each primary must have room
for what it holds.
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


@dataclass(frozen=True, slots=True)
class Logs:
    """How many entries the logs of tries of a shard have: those are in the memory already used."""

    attempts: int = 0
    counted: int = 0
    unknown: int = 0


def votes_bytes(*, voters: int, padded_size: int) -> int:
    """What a shard takes when `voters` have yet to vote online."""
    vote = padded_size + SEAL_OVERHEAD_BYTES + gate_layout.ENTRY_BYTES + gate_layout.VOTED_BYTES
    return voters * vote


def tries_bytes(*, codes: int, logs: Logs) -> int:
    """What the logs of tries of a shard with so many codes may still take."""
    attempts = min(gate_layout.ATTEMPTS_BYTES, codes * gate_layout.TRIES_LISTED * gate_layout.TRY_BYTES)
    counted = min(gate_layout.COUNTS_BYTES, codes * gate_layout.COUNTS_A_CODE * gate_layout.COUNTED_BYTES)
    return (
        max(attempts - logs.attempts * gate_layout.TRY_BYTES, 0)
        + max(counted - logs.counted * gate_layout.COUNTED_BYTES, 0)
        + max(gate_layout.UNKNOWN_TRIES_BYTES - logs.unknown * gate_layout.TRY_BYTES, 0)
    )


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
            for shard, needs in enumerate(await shard_needs(desk, ballot)):
                key = handoff.gate_key(ballot.id, shard)
                needed[next(each.place for each in primaries if each.holds(key))] += needs
        for primary in primaries:
            if primary.holds(handoff.COMPLAINTS_KEY):
                needed[primary.place] += handoff.COMPLAINTS_BYTES
            if primary.place in needed:
                memory = Memory.told(await primary.client.info("memory"))
                _require(stored, primary.place, memory, needed[primary.place])
    finally:
        await nodes.aclose()


async def shard_needs(desk: Desk, ballot: StoredBallot) -> list[int]:
    """Say for each shard of a ballot how much more it may take."""
    votes, codes = await _electronic(desk, ballot)
    votes_need = votes_bytes(voters=votes, padded_size=ballot.definition.padded_size)
    logs = [await _logs(desk, ballot.id, shard) for shard in range(ballot.shards)]
    return [votes_need + tries_bytes(codes=codes, logs=each) for each in logs]


async def _electronic(desk: Desk, ballot: StoredBallot) -> tuple[int, int]:
    """Of a shard: how many may still vote online, and how many codes there are; none in a postal ballot."""
    if not ballot.electronic:
        return 0, 0
    row = await desk.votes.fetchrow(
        """SELECT (SELECT count(*) FROM ballot.electorate WHERE ballot = $1) AS entitled,
                  (SELECT count(*) FROM ballot.register WHERE ballot = $1) AS codes""",
        ballot.id,
    )
    # Before a ballot is armed nobody has voted.
    voted = sum(sum(state.voted.values()) for state in await ballot.gate(desk).states())
    still = max(row["entitled"] - voted, 0)
    return -(-still // ballot.shards), -(-max(row["entitled"], row["codes"]) // ballot.shards)


async def _logs(desk: Desk, ballot: str, shard: int) -> Logs:
    return Logs(
        attempts=int(await desk.gate.xlen(handoff.attempts_key(ballot, shard))),
        counted=int(await desk.gate.hlen(handoff.counted_key(ballot, shard))),
        unknown=int(await desk.gate.xlen(handoff.unknown_tries_key(ballot, shard))),
    )


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
        f"votes still to come in all open ballots, the logs of tries and complaints may take {needed:,} "
        f"more, and {what} has {memory.bound:,}; {cure}"
    )
