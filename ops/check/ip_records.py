"""Each stored vote has one IP record, and each IP record a vote; no address leaves voterdb for it.

A vote whose record may have been destroyed, because it has been kept as long as it must be, needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.check.findings import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

#: One walk along both; when all fit one to one nothing else is asked.
SUMS = """
SELECT count(*) FILTER (WHERE i.event IS NULL) AS without, count(*) FILTER (WHERE v.event IS NULL) AS strays,
 count(*) FILTER (WHERE i.event IS NOT NULL AND v.event IS NOT NULL) AS pairs,
 (SELECT count(*) FROM ballot.votes WHERE ballot = $1) AS votes,
 (SELECT count(*) FROM ballot.ip_records WHERE ballot = $1) AS records
  FROM (SELECT event FROM ballot.votes WHERE ballot = $1) AS v
  FULL JOIN (SELECT event FROM ballot.ip_records WHERE ballot = $1) AS i ON i.event = v.event
"""
#: (where, what) by kind, asked only when something does not fit.
NAMED = (
    (
        Kind.ALTERED,
        """
SELECT v.reference, 'it has no IP record' FROM ballot.votes AS v
 WHERE v.ballot = $1 AND v.stored_at > now() - interval '12 months' AND NOT EXISTS (
  SELECT FROM ballot.ip_records AS i WHERE i.ballot = v.ballot AND i.event = v.event)
""",
    ),
    (
        Kind.UNEXPLAINED,
        """
SELECT 'event ' || encode(i.event, 'hex'), 'an IP record of no vote' FROM ballot.ip_records AS i
 WHERE i.ballot = $1 AND NOT EXISTS (
  SELECT FROM ballot.votes AS v WHERE v.ballot = i.ballot AND v.event = i.event)
""",
    ),
    (
        Kind.DOUBLED,
        """
SELECT v.reference, 'it does not have its IP record alone, or has more than one' FROM ballot.votes AS v
 WHERE v.ballot = $1 AND v.event IN (
  SELECT event FROM ballot.votes WHERE ballot = $1 GROUP BY event HAVING count(*) > 1
  UNION SELECT event FROM ballot.ip_records WHERE ballot = $1 GROUP BY event HAVING count(*) > 1)
""",
    ),
)


async def check_ip_records(connection: asyncpg.Connection, ballot: str) -> list[Finding]:
    """In the caller's snapshot, name each vote without its own IP record and each record without a vote."""
    sums = await connection.fetchrow(SUMS, ballot)
    if not (sums["without"] or sums["strays"]) and sums["pairs"] == sums["votes"] == sums["records"]:
        return []
    return [finding async for finding in _named(connection, ballot)]


async def _named(connection: asyncpg.Connection, ballot: str) -> AsyncIterator[Finding]:
    for kind, query in NAMED:
        async for where, what in connection.cursor(query, ballot):
            yield Finding(kind, where, what)
