"""What is wrong with a queue, in plain words: what the voter database knows and this queue no longer does.

The same comparison as a worker's (workers/trust.py), and more: a ballot of which nothing is stored yet has
codes and a window that an emptied queue has forgotten too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ballot import handoff
from ops.recovery import desk, record
from ops.recovery.record import Seen, order
from ops.recovery.shard import Shard

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from ops.recovery.record import Ballot
    from ops.recovery.shard import Extent
    from runtime.valkey import Client

COUNTS: Final = """
SELECT shard, sum(codes)::bigint AS codes, sum(voters)::bigint AS voters, sum(votes)::bigint AS votes FROM (
    SELECT shard, count(*) AS codes, 0 AS voters, 0 AS votes FROM ballot.register WHERE ballot = $1 GROUP BY 1
    UNION ALL
    SELECT shard, 0, count(*), count(*) FROM ballot.votes WHERE ballot = $1 GROUP BY 1
    UNION ALL
    SELECT shard, 0, count(*), 0 FROM ballot.returns WHERE ballot = $1 AND counted GROUP BY 1
) AS counts GROUP BY shard ORDER BY shard
"""
LATCHED: Final = "a recovery or a restore of the queue was begun and is not finished"


async def look(queue: Client, database: asyncpg.Connection, *, roots: Path | None = None) -> list[str]:
    """Return what is wrong, worst first; empty if nothing is. Reads only.

    The database is read before the queue: what is stored was in the queue before. Codes come the other way:
    `roots`, the desk's journals, tell whether some are still on their way to the gate.
    """
    client: Any = queue
    found = [LATCHED] if await client.exists(handoff.RECOVERING_KEY) else []
    published = {name.decode() for name in await client.hkeys(handoff.PUBLISHED_KEY)}
    for ballot in await record.ballots(database):
        issuing = roots is not None and desk.on_their_way(roots, ballot.id)
        found += await _ballot(
            queue, database, ballot, published=ballot.id in published, issuing=bool(issuing)
        )
    return found


async def _ballot(
    queue: Client, database: asyncpg.Connection, ballot: Ballot, *, published: bool, issuing: bool
) -> list[str]:
    found: list[str] = []
    seen = await record.seen(database, ballot.id)
    counts = {row["shard"]: row for row in await database.fetch(COUNTS, ballot.id)}
    if ballot.opens_us and not published:
        found.append(f"ballot {ballot.id}: it was opened, and the queue does not know of it")
    for number in range(ballot.shards):
        shard, where = Shard(queue, ballot.id, number), f"ballot {ballot.id} shard {number}"
        known = await shard.known()
        if ballot.opens_us and not known.armed:
            found.append(f"{where}: it was opened, and the gate was never armed")
        row = counts.get(number)
        if row is not None:
            found += [
                f"{where}: {told}"
                for told in (
                    "" if issuing else _fewer(known.codes, row["codes"], "codes"),
                    _fewer(known.voters, row["voters"], "voters' marks"),
                    _fewer(known.accepted, row["votes"], "accepted votes"),
                )
                if told
            ]
        if number in seen:
            found += [f"{where}: {told}" for told in _behind(await shard.extent(shard.keys[4]), seen[number])]
    return found


def _fewer(there: int, wanted: int, what: str) -> str:
    return f"the gate has {there:,} {what}, the voter database knows {wanted:,}" if there < wanted else ""


def _behind(extent: Extent, seen: Seen) -> list[str]:
    found = []
    if order(extent.last) < order(seen.entry):
        found.append(f"the stream ends at {extent.last}, and the voter database had come to {seen.entry}")
    entries = max(seen.stored, seen.counted)
    if extent.added < entries:
        found.append(
            f"the stream knows {extent.added:,} entries, and the voter database has seen {entries:,}"
        )
    return found
