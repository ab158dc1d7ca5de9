"""Holds the references that the gate gave out against votes stored and quarantined, one by one and both ways.

Totals alone can agree while one vote is missing and something that never was a vote stands in quarantine.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping

from ballot import gate_layout, handoff
from ballot.encoding import Malformed
from scrutineer.ballots import StoredBallot
from scrutineer.session import Desk
from scrutineer.voters import FETCH_ROWS

SHOWN_MAX = 10


async def faults(desk: Desk, stored: StoredBallot) -> list[str]:
    """Name what does not match, at most ten of each kind; empty if all does. The stream must be drained."""
    lost = [
        f"vote {name} was accepted and is neither stored nor quarantined"
        async for name in _lost(desk, stored)
    ]
    foreign = [f"vote {name} is stored but was never accepted" async for name in _foreign(desk, stored)]
    return lost + foreign


async def quarantined(desk: Desk, stored: StoredBallot) -> Counter[str]:
    """Count the accepted votes in quarantine by reason.

    No votes are entries that the gate never accepted, and spoilt copies of one that is stored.
    """
    found: dict[str, str] = {}
    statement = """
        SELECT shard, reference, reason FROM ballot.quarantine q
         WHERE ballot = $1 AND reference IS NOT NULL
           AND NOT EXISTS (SELECT FROM ballot.votes v
                            WHERE v.ballot = q.ballot AND v.reference = q.reference)"""
    async for shard, rows in _by_shard(desk, stored, statement):
        known = await _given_out(desk, stored, shard, rows)
        found |= {reference: rows[reference] for reference in known}
    return Counter(found.values())


async def _lost(desk: Desk, stored: StoredBallot) -> AsyncIterator[str]:
    left = SHOWN_MAX
    for shard in range(stored.shards):
        block: list[str] = []
        async for reference, _ in desk.gate.hscan_iter(
            handoff.references_key(stored.id, shard), count=FETCH_ROWS
        ):
            block.append(_named(bytes(reference)))
            if len(block) >= FETCH_ROWS:
                for name in (await _not_held(desk, stored, block))[:left]:
                    left -= 1
                    yield name
                block = []
        for name in (await _not_held(desk, stored, block))[:left]:
            left -= 1
            yield name


def _named(field: bytes) -> str:
    try:
        return gate_layout.reference_text(field)
    except Malformed:
        return f"of the corrupt field {field.hex()}"


async def _not_held(desk: Desk, stored: StoredBallot, references: list[str]) -> list[str]:
    rows = await desk.votes.fetch(
        """SELECT x AS reference FROM unnest($2::text[]) x
            WHERE NOT EXISTS (SELECT FROM ballot.votes WHERE ballot = $1 AND reference = x)
              AND NOT EXISTS (SELECT FROM ballot.quarantine WHERE ballot = $1 AND reference = x)""",
        stored.id,
        references,
    )
    return [row["reference"] for row in rows]


async def _foreign(desk: Desk, stored: StoredBallot) -> AsyncIterator[str]:
    left = SHOWN_MAX
    statement = "SELECT shard, reference, '' FROM ballot.votes WHERE ballot = $1"
    async for shard, rows in _by_shard(desk, stored, statement):
        known = set(await _given_out(desk, stored, shard, rows))
        for name in [reference for reference in rows if reference not in known][:left]:
            left -= 1
            yield name


async def _given_out(desk: Desk, stored: StoredBallot, shard: int, references: Iterable[str]) -> list[str]:
    if not 0 <= shard < stored.shards:
        return []
    names = list(references)
    fields = [gate_layout.reference_field(name) for name in names]
    values = await desk.gate.hmget(handoff.references_key(stored.id, shard), fields)
    return [name for name, value in zip(names, values, strict=True) if value]


async def _by_shard(
    desk: Desk, stored: StoredBallot, statement: str
) -> AsyncIterator[tuple[int, Mapping[str, str]]]:
    """Read rows of (shard, reference, text) in blocks, each block split by shard."""
    async with desk.votes.transaction(readonly=True):
        cursor = await desk.votes.cursor(statement, stored.id)
        while rows := await cursor.fetch(FETCH_ROWS):
            split: dict[int, dict[str, str]] = {}
            for shard, reference, text in rows:
                split.setdefault(shard, {})[reference] = text
            for shard, block in split.items():
                yield shard, block
