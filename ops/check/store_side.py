"""Reads voterdb as `ballot_checker`: one snapshot, server-side cursors, memory that does not grow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ballot import gate_layout
from ballot.definition import from_canonical
from ballot.encoding import Malformed
from ops.check.scratch import ROWS_PER_INSERT, place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from ballot.definition import Definition
    from ops.check.scratch import Scratch
    from ops.check.signatures import VoteVerifier

ROLE = "ballot_checker"

VOTES = """
SELECT shard, entry, uin, reference, accepted_us, credential_digest, sealed_sha256, sealed, credential,
nonce, signature FROM ballot.votes WHERE ballot = $1
"""

PLAIN_TABLES = {
    "quarantine": "SELECT shard, entry, reason, reference, uin, credential_digest, accepted_us"
    " FROM ballot.quarantine",
    "releases": "SELECT shard, entry, uin, reference FROM ballot.releases",
    "returned": "SELECT shard, entry, uin, method, counted, received_us FROM ballot.returns",
    "electorate": "SELECT uin FROM ballot.electorate",
    "register": "SELECT credential_digest, uin, shard FROM ballot.register",
    "revocations": "SELECT credential_digest, revoked_us FROM ballot.revocations",
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
        async for rows in pages(connection, query + " WHERE ballot = $1", ballot):
            tables.add(table, [tuple(row) for row in rows])
    async for rows in pages(connection, VOTES, ballot):
        tables.add("votes", [_vote(row) for row in rows])
        if verifier is not None:
            verifier.submit(
                [
                    (
                        row["reference"],
                        row["credential_digest"],
                        row["credential"],
                        row["nonce"],
                        row["sealed"],
                        row["signature"],
                    )
                    for row in rows
                ],
            )
        advance(len(rows))


async def pages(connection: asyncpg.Connection, query: str, *arguments: Any) -> AsyncIterator[list[Any]]:
    """Run a query through a server-side cursor, a page at a time."""
    cursor = await connection.cursor(query, *arguments)
    while rows := await cursor.fetch(ROWS_PER_INSERT):
        yield rows


def _vote(row: Any) -> tuple[Any, ...]:
    return (
        row["shard"],
        row["entry"],
        place(row["entry"]),
        row["uin"],
        row["reference"],
        row["accepted_us"],
        row["credential_digest"],
        row["sealed_sha256"],
        hashlib.sha256(row["sealed"]).digest(),
        gate_layout.identity(row["sealed"], row["nonce"], row["signature"]),
    )
