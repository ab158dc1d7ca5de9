"""What the voter database has on record and the gate must know, one ballot and one page at a time."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click

from ballot import gate_layout, handoff, queue_record
from ballot.encoding import Malformed, b64decode
from ballot.rejection import Rejected
from runtime import postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from ballot.suite import AeadKey
    from runtime.servers import Servers

ROLE: Final = "ballot_recovery"
LOCK_WAIT_MS: Final = 10_000
PAGE: Final = 5_000
UNKNOWN_IDENTITY: Final = bytes(16)
"""Of a vote that cannot be opened: its voter stays marked, and a retry finds no vote that is its own."""

BALLOTS: Final = """
SELECT b.ballot, b.shards, first.document, first.document_signature, newest.opens_us, newest.closes_us
  FROM ballot.ballots b
  LEFT JOIN LATERAL (SELECT * FROM ballot.lifecycle l WHERE l.ballot = b.ballot AND l.kind = 'armed'
    ORDER BY seq LIMIT 1) first ON true
  LEFT JOIN LATERAL (SELECT * FROM ballot.lifecycle l WHERE l.ballot = b.ballot
    ORDER BY seq DESC LIMIT 1) newest ON true
 ORDER BY b.ballot
"""
CREDENTIALS: Final = """
SELECT r.shard, substring(r.credential_digest FOR 16) AS digest, r.uin, r.channel, v.revoked_us
  FROM ballot.register r LEFT JOIN ballot.revocations v USING (ballot, credential_digest) WHERE r.ballot = $1
"""
#: The mark as the gate packs it, but for the reference: `e`, identity, time in seven bytes.
VOTES: Final = """
SELECT shard, uin, reference, accepted_us, number, 'e'::bytea
       || substring(sha256(sealed || nonce || signature) FOR 16)
       || substring(int8send(accepted_us) FROM 2) AS head
  FROM ballot.votes WHERE ballot = $1
"""
RETURNS: Final = """
SELECT shard, uin, method, received_us, recorded_us, counted FROM ballot.returns WHERE ballot = $1
"""
HELD: Final = """
SELECT q.shard, q.uin, q.reference, q.credential_digest, q.accepted_us, q.record,
       r.entry IS NOT NULL AS released,
       EXISTS (SELECT FROM ballot.votes v WHERE v.ballot = q.ballot AND v.uin = q.uin)
         OR EXISTS (SELECT FROM ballot.returns p
           WHERE p.ballot = q.ballot AND p.uin = q.uin AND p.counted) AS other
  FROM ballot.quarantine q LEFT JOIN ballot.releases r USING (ballot, shard, entry)
 WHERE q.ballot = $1 AND q.reference IS NOT NULL AND q.uin IS NOT NULL ORDER BY q.accepted_us, q.entry
"""
KEPT: Final = "SELECT shard, entry, reference, record FROM ballot.quarantine WHERE ballot = $1"
MARKS: Final = "SELECT shard, side, entry, entries FROM ballot.marks WHERE ballot = $1"
ATTEMPTS: Final = """
SELECT DISTINCT ON (shard) shard, entry FROM ballot.attempts WHERE ballot = $1
 ORDER BY shard, split_part(entry, '-', 1)::bigint DESC, split_part(entry, '-', 2)::bigint DESC
"""
UNSTORED: Final = """
SELECT e.entry FROM unnest($3::text[], $4::text[]) AS e (entry, reference)
 WHERE NOT EXISTS (SELECT FROM ballot.votes v
     WHERE v.ballot = $1 AND v.reference = e.reference AND v.entry = e.entry)
   AND NOT EXISTS (SELECT FROM ballot.quarantine q WHERE q.ballot = $1 AND q.shard = $2 AND q.entry = e.entry)
   AND NOT EXISTS (SELECT FROM ballot.returns r WHERE r.ballot = $1 AND r.shard = $2 AND r.entry = e.entry)
"""
UNCONFIRMED: Final = """
SELECT e.reference FROM unnest($2::text[]) AS e (reference)
 WHERE NOT EXISTS (SELECT FROM ballot.votes v WHERE v.ballot = $1 AND v.reference = e.reference)
   AND NOT EXISTS (SELECT FROM ballot.quarantine q WHERE q.ballot = $1 AND q.reference = e.reference)
"""
TURNOUT: Final = "SELECT ballot.recovery_turnout($1, $2, $3, $4, $5, $6, $7, $8, $9)"
BATCHES: Final = "SELECT batch FROM ballot.register_roots WHERE ballot = $1"


@dataclass(frozen=True, slots=True)
class Ballot:
    """A ballot on record; the window is the newest, both 0 for one that was never opened."""

    id: str
    shards: int
    opens_us: int
    closes_us: int
    document: bytes | None
    document_signature: bytes | None


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the database had come in a shard's stream: the last entry, and how many entries are stored."""

    entry: str = "0-0"
    stored: int = 0
    counted: int = 0


async def connect(running: Servers) -> asyncpg.Connection:
    """Return a connection of recovery's role; what somebody else has locked is not waited for long."""
    database = await postgres.connect(running, "voterdb", ROLE)
    await database.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
    return database


@contextmanager
def plainly() -> Iterator[None]:
    """Within the block, a lock that somebody does not let go of is one sentence for a person."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise click.ClickException(
            f"A worker has been storing for more than {LOCK_WAIT_MS // 1000} s, or hangs in it, and what it "
            "stores must be known first: see that voterdb is well, or end the worker, then run this again."
        ) from error


async def ballots(database: asyncpg.Connection) -> list[Ballot]:
    """Return every ballot on record."""
    return [
        Ballot(
            row["ballot"],
            row["shards"],
            row["opens_us"] or 0,
            row["closes_us"] or 0,
            row["document"],
            row["document_signature"],
        )
        for row in await database.fetch(BALLOTS)
    ]


async def pages(database: asyncpg.Connection, query: str, ballot: str) -> AsyncIterator[list[Any]]:
    """Run a query of one ballot through a server-side cursor; the caller's transaction holds it."""
    cursor = await database.cursor(query, ballot)
    while rows := await cursor.fetch(PAGE):
        yield rows


async def seen(database: asyncpg.Connection, ballot: str) -> dict[int, Seen]:
    """Return by shard how far storing and turnout have come; the later of both is how far the stream was."""
    found: dict[int, Seen] = {}
    for row in await database.fetch(MARKS, ballot):
        before = found.get(row["shard"], Seen())
        stored, turnout = row["side"] == "stored", row["side"] == "turnout"
        found[row["shard"]] = Seen(
            max(before.entry, row["entry"], key=order),
            row["entries"] if stored else before.stored,
            row["entries"] if turnout else before.counted,
        )
    return found


async def unstored(
    database: asyncpg.Connection, ballot: str, shard: int, entries: Sequence[tuple[str, str]]
) -> set[str]:
    """Return which of these entries (id and reference) are neither stored nor in quarantine."""
    names, references = [name for name, _ in entries], [reference for _, reference in entries]
    return {row["entry"] for row in await database.fetch(UNSTORED, ballot, shard, names, references)}


def order(entry: str) -> tuple[int, int]:
    """What stream entries are ordered by."""
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)


def held_fields(record: bytes) -> dict[bytes, bytes]:
    """The queue entry that a row of the quarantine keeps, by field name; empty if it cannot be read."""
    try:
        return {name.encode("latin-1"): b64decode(value) for name, value in json.loads(record).items()}
    except (ValueError, AttributeError, TypeError, Malformed):
        return {}


def held_identity(row: Any, fields: dict[bytes, bytes], ballot: str, key: AeadKey | None) -> bytes:
    """By what the gate knew a held vote, if its record can still be opened."""
    if key is None or row["credential_digest"] is None:
        return UNKNOWN_IDENTITY
    try:
        found = queue_record.unwrap(
            key,
            fields.get(handoff.RECORD_FIELD, b""),
            ballot_id=ballot,
            credential_digest=bytes(row["credential_digest"]),
            reference=row["reference"],
        )
    except Rejected:
        return UNKNOWN_IDENTITY
    return gate_layout.identity(found.sealed, found.nonce, found.signature)
