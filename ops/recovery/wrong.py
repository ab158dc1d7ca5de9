"""What is wrong with a queue, in plain words: what the voter database knows and this queue no longer does.

The same comparison as a worker's (workers/trust.py), and more: a ballot of which nothing is stored yet has
codes and a window that an emptied queue has forgotten too, and an older copy may take votes with a code that
was revoked since, or until a time that was changed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ballot import handoff
from ops.recovery import desk, fence, record
from ops.recovery.record import Seen, order
from ops.recovery.shard import Shard
from runtime import valkey
from runtime.addresses import ADMIN

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from ops.recovery.record import Ballot
    from ops.recovery.shard import Extent, Known
    from runtime.servers import Servers
    from runtime.valkey import Client

COUNTS: Final = """
SELECT shard, sum(codes)::bigint AS codes, sum(voters)::bigint AS voters, sum(votes)::bigint AS votes FROM (
    SELECT shard, count(*) AS codes, 0 AS voters, 0 AS votes FROM ballot.register
     WHERE ballot = $1 AND batch::bigint <> ALL ($2::bigint[]) GROUP BY 1
    UNION ALL
    SELECT shard, 0, count(*), count(*) FROM ballot.votes WHERE ballot = $1 GROUP BY 1
    UNION ALL
    SELECT shard, 0, count(*), 0 FROM ballot.returns WHERE ballot = $1 AND counted GROUP BY 1
) AS counts GROUP BY shard ORDER BY shard
"""
REVOKED: Final = """
SELECT r.shard, array_agg(substring(r.credential_digest FOR 16)) AS digests
  FROM ballot.revocations v JOIN ballot.register r USING (ballot, credential_digest)
 WHERE v.ballot = $1 GROUP BY r.shard
"""
RELEASED: Final = """
SELECT shard, count(*) AS votes FROM ballot.releases JOIN ballot.quarantine q USING (ballot, shard, entry)
 WHERE ballot = $1 AND q.reference IS NOT NULL AND q.uin IS NOT NULL GROUP BY shard
"""
EPOCH: Final = "SELECT number FROM ballot.gate_epochs WHERE ballot = $1"
LATCHED: Final = "a recovery or a restore of the queue was begun and is not finished"


async def compare(running: Servers, roots: Path) -> list[str]:
    """`look` at these servers."""
    client: Any = valkey.connect(running, ADMIN)
    database = await record.connect(running)
    try:
        return await look(client, database, roots=roots)
    finally:
        await client.aclose()
        await database.close()


async def look(queue: Client, database: asyncpg.Connection, *, roots: Path | None = None) -> list[str]:
    """Return what is wrong, worst first; empty if nothing is. Reads only.

    The database is read before the queue: what is stored was in the queue before. Codes come the other way:
    `roots`, the desk's journals, tell which batches are still on their way to the gate.
    """
    client: Any = queue
    found = [LATCHED] if await client.exists(handoff.RECOVERING_KEY) else []
    found += await fence.differs(queue, database)
    published = {name.decode() for name in await client.hkeys(handoff.PUBLISHED_KEY)}
    for ballot in await record.ballots(database):
        issuing = desk.on_their_way(roots, ballot.id) if roots is not None else set()
        found += await _ballot(queue, database, ballot, published=ballot.id in published, issuing=issuing)
    return found


async def _ballot(
    queue: Client, database: asyncpg.Connection, ballot: Ballot, *, published: bool, issuing: set[int]
) -> list[str]:
    found: list[str] = []
    seen = await record.seen(database, ballot.id)
    counts = {row["shard"]: row for row in await database.fetch(COUNTS, ballot.id, [*issuing])}
    revoked = {row["shard"]: row["digests"] for row in await database.fetch(REVOKED, ballot.id)}
    released = {row["shard"]: row["votes"] for row in await database.fetch(RELEASED, ballot.id)}
    wanted = int(await database.fetchval(EPOCH, ballot.id) or 0)
    if ballot.opens_us and not published:
        found.append(f"ballot {ballot.id}: it was opened, and the queue does not know of it")
    for number in range(ballot.shards):
        shard, where = Shard(queue, ballot.id, number), f"ballot {ballot.id} shard {number}"
        known = await shard.known()
        if known.recovering:
            found.append(f"{where}: {LATCHED}")
        if known.armed and wanted and known.epoch < wanted:
            found.append(
                f"{where}: the gate is from before a recovery (epoch {known.epoch}, on record is {wanted})"
            )
        if ballot.opens_us and not known.armed:
            found.append(f"{where}: it was opened, and the gate was never armed")
        found += [f"{where}: {told}" for told in _window(known, ballot)]
        if current := await shard.current(revoked.get(number, [])):
            found.append(f"{where}: the gate takes votes with {current:,} codes that were revoked")
        if told := _fewer(known.released, released.get(number, 0), "released votes"):
            found.append(f"{where}: {told}")
        row = counts.get(number)
        if row is not None:
            found += [
                f"{where}: {told}"
                for told in (
                    _fewer(known.codes, row["codes"], "codes"),
                    _fewer(known.voters, row["voters"], "voters' marks"),
                    _fewer(known.accepted, row["votes"], "accepted votes"),
                )
                if told
            ]
        if number in seen:
            found += [f"{where}: {told}" for told in _behind(await shard.extent(shard.keys[4]), seen[number])]
    return found


def _window(known: Known, ballot: Ballot) -> list[str]:
    """A window that is not the one on record; a shard that has closed stays so, and nothing can mend that."""
    if not (ballot.opens_us and known.armed) or known.closed:
        return []
    return [
        f"the gate {does} at {there} us, and the record says {wanted} us"
        for does, there, wanted in (
            ("opens", known.opens_us, ballot.opens_us),
            ("closes", known.closes_us, ballot.closes_us),
        )
        if there != wanted
    ]


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
