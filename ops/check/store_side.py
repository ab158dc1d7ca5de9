"""Reads voterdb as `ballot_checker`: one snapshot, server-side cursors, memory that does not grow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ballot.definition import from_canonical
from ballot.encoding import Malformed
from ballot.gate_layout import DIGEST_KEPT
from ballot.vote import IDENTITY_BYTES
from ops.check import kept_record
from ops.check.queue_rows import named, reference_of
from ops.check.scratch import ROWS_PER_INSERT, place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from ballot.definition import Definition
    from ops.check.scratch import Scratch
    from ops.check.signatures import VoteVerifier

ROLE = "ballot_checker"

VOTES = """
SELECT shard, entry, uin, reference, accepted_us, credential_digest, sealed_sha256, number, channel, sealed,
credential, nonce, signature FROM ballot.votes WHERE ballot = $1
"""
QUARANTINE = """
SELECT shard, entry, reason, reference, uin, credential_digest, accepted_us, record FROM ballot.quarantine
 WHERE ballot = $1
"""
RETURNS = """
SELECT shard, entry, uin, method, counted, received_us, recorded_us FROM ballot.returns WHERE ballot = $1
"""
RELEASES = "SELECT shard, entry, uin, reference FROM ballot.releases WHERE ballot = $1"
REGISTER = "SELECT credential_digest, uin, shard, channel FROM ballot.register WHERE ballot = $1"
COUNTED_TO = "SELECT shard, entry FROM ballot.marks WHERE ballot = $1 AND side = 'turnout'"

#: The columns of a vote that its verifier is given, in the order of `signatures.SignedVote`.
SIGNED = ("reference", "credential_digest", "credential", "nonce", "sealed", "signature")

AGAIN_MAX = 100_000
MISSING_VOTES = f"""
SELECT m.reference FROM marks m WHERE m.reference IS NOT NULL
 AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = m.reference)
 AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.reference = m.reference)
 AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.reference = m.reference) LIMIT {AGAIN_MAX}
"""  # noqa: S608  # our own number
MISSING_RETURNS = f"""
SELECT m.uin FROM marks m WHERE m.method IN ('postal', 'workplace')
 AND NOT EXISTS (SELECT 1 FROM returned r WHERE r.uin = m.uin AND r.counted)
 AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.uin = m.uin AND e.kind = 'return') LIMIT {AGAIN_MAX}
"""  # noqa: S608  # our own number
PLAIN_TABLES = {
    "electorate": "SELECT uin FROM ballot.electorate WHERE ballot = $1",
    "revocations": "SELECT credential_digest, revoked_us FROM ballot.revocations WHERE ballot = $1",
    "turnout": "SELECT minute_us, method, side, votes FROM ballot.turnout WHERE ballot = $1",
    "repeated": "SELECT credential_digest, shard, max(at_us) FROM ballot.attempts"
    " WHERE ballot = $1 AND kind = 'vote' AND outcome = 'repeated' GROUP BY credential_digest, shard",
}


@dataclass(frozen=True, slots=True)
class BallotRecord:
    """What voterdb says of the ballot itself; the window is the newest on record, None before `open`."""

    kind: str
    electronic: bool
    shards: int
    definition_sha256: bytes
    opens_us: int | None
    closes_us: int | None


async def read_record(connection: asyncpg.Connection, ballot: str) -> BallotRecord:
    """Return the ballot's record, or say that there is none."""
    row = await connection.fetchrow(
        "SELECT kind, shards, definition, definition_sha256 FROM ballot.ballots WHERE ballot = $1",
        ballot,
    )
    if row is None:
        raise click.ClickException(f"there is no ballot {ballot!r}")
    window = await connection.fetchrow(
        "SELECT opens_us, closes_us FROM ballot.lifecycle WHERE ballot = $1 ORDER BY seq DESC LIMIT 1",
        ballot,
    )
    opens_us, closes_us = (window["opens_us"], window["closes_us"]) if window is not None else (None, None)
    return BallotRecord(
        kind=row["kind"],
        electronic="electronic" in _definition(ballot, row).methods,
        shards=row["shards"],
        definition_sha256=bytes(row["definition_sha256"]),
        opens_us=opens_us,
        closes_us=closes_us,
    )


def _definition(ballot: str, row: Any) -> Definition:
    """Return the definition in the ballot's row, if it is still the one with the digest beside it."""
    try:
        found = from_canonical(bytes(row["definition"]))
    except Malformed:
        found = None
    if found is None or found.sha256 != row["definition_sha256"]:
        raise click.ClickException(f"the definition of ballot {ballot!r} in the voter database was changed")
    return found


async def count_votes(connection: asyncpg.Connection, ballot: str) -> int:
    """Return how many votes are stored, for the progress bar."""
    return int(await connection.fetchval("SELECT count(*) FROM ballot.votes WHERE ballot = $1", ballot))


async def read_store(
    connection: asyncpg.Connection,
    ballot: str,
    tables: Scratch,
    *,
    verifier: VoteVerifier | None,
    advance: Callable[[int], None],
) -> None:
    """Read every table, in the caller's snapshot; sealed bytes are hashed here and not kept."""
    for table, query in PLAIN_TABLES.items():
        async for rows in pages(connection, query, ballot):
            tables.add(table, [tuple(row) for row in rows])
    async for rows in pages(connection, RELEASES, ballot):
        tables.add("releases", [(*row[:3], reference_of(row["reference"])) for row in rows])
    async for rows in pages(connection, REGISTER, ballot):
        tables.add("register", [(*row, row[0][:DIGEST_KEPT]) for row in rows])
    async for rows in pages(connection, COUNTED_TO, ballot):
        tables.add("counted_to", [(row["shard"], place(row["entry"])) for row in rows])
    async for rows in pages(connection, QUARANTINE, ballot):
        tables.add("quarantine", [_quarantined(row) for row in rows])
    async for rows in pages(connection, RETURNS, ballot):
        tables.add("returned", [_returned(row) for row in rows])
    async for rows in pages(connection, VOTES, ballot):
        tables.add("votes", [_vote(row) for row in rows])
        if verifier is not None:
            verifier.submit([tuple(map(row.get, SIGNED)) for row in rows])
        advance(len(rows))


async def read_again(connection: asyncpg.Connection, ballot: str, tables: Scratch) -> None:
    """Look anew for what the gate has, and neither the snapshot nor the queue: it was stored in between.

    That happens to entries that had waited long: they may leave the queue as soon as they are stored.
    """
    missing = [named(row[0]) for row in tables.ask(MISSING_VOTES)]
    rows = await connection.fetch(VOTES + " AND reference = ANY ($2)", ballot, missing)
    tables.add("votes", [_vote(row, again=True) for row in rows])
    rows = await connection.fetch(QUARANTINE + " AND reference = ANY ($2)", ballot, missing)
    tables.add("quarantine", [_quarantined(row, again=True) for row in rows])
    uins = [row[0] for row in tables.ask(MISSING_RETURNS)]
    rows = await connection.fetch(RETURNS + " AND counted AND uin = ANY ($2)", ballot, uins)
    tables.add("returned", [_returned(row, again=True) for row in rows])


async def pages(connection: asyncpg.Connection, query: str, *arguments: Any) -> AsyncIterator[list[Any]]:
    """Run a query through a server-side cursor, a page at a time."""
    cursor = await connection.cursor(query, *arguments)
    while rows := await cursor.fetch(ROWS_PER_INSERT):
        yield rows


def _vote(row: Any, *, again: bool = False) -> tuple[Any, ...]:
    shard, entry, uin, reference, accepted_us, digest, stated, number, channel, *cast = row
    sealed, _, nonce, signature = cast
    # The same two digests as ballot.vote.CastVote takes, with one pass over the sealed vote.
    whole = hashlib.sha256(sealed)
    actual = whole.digest()
    whole.update(nonce + signature)
    identity = whole.digest()[:IDENTITY_BYTES]
    at, reference, intact = place(entry), reference_of(reference), actual == stated
    read = (shard, entry, at, uin, reference, accepted_us, digest)
    return (*read, intact, actual, identity, number, channel, again)


def _quarantined(row: Any, *, again: bool = False) -> tuple[Any, ...]:
    shard, entry, reason, reference, uin, digest, accepted_us, record = row
    came = kept_record.parse(record)
    reference = None if reference is None else reference_of(reference)
    held = (shard, entry, place(entry), reason, reference, uin, digest, accepted_us)
    return (*held, came.kind, came.at_us, came.number, again)


def _returned(row: Any, *, again: bool = False) -> tuple[Any, ...]:
    shard, entry, uin, method, counted, received_us, recorded_us = row
    return (shard, entry, place(entry), uin, method, counted, received_us, recorded_us, again)
