"""What the desk signed when it opened the ballot: the ballot document, and who is entitled to vote."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ballot import document, signed
from ballot.encoding import Malformed
from ballot.suite import SignatureInvalid
from ops.check.findings import PROBE_KIND, Finding, Kind
from ops.check.store_side import pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from ops.check.store_side import BallotRecord

ELECTORATE_ACT = "electorate"
ELECTORATE_LABEL = "electorate"

ARMED = """
SELECT document, document_signature FROM ballot.lifecycle WHERE ballot = $1 AND kind = 'armed' ORDER BY seq
"""
#: bytea sorts by bytes, as the desk does.
ELECTORATE = "SELECT uin FROM ballot.electorate WHERE ballot = $1 ORDER BY uin"


async def check_document(
    connection: asyncpg.Connection, ballot: str, record: BallotRecord, *, desk_public: bytes | None
) -> list[Finding]:
    """Every ballot document on record bears the desk's signature and is of this definition."""
    rows = await connection.fetch(ARMED, ballot)
    if rows and desk_public is None:
        return [Finding(Kind.DOCUMENT, ballot, "the desk's public key is not here")]
    faults = [_document_fault(row, ballot, record, desk_public or b"") for row in rows]
    return [Finding(Kind.DOCUMENT, ballot, fault) for fault in faults if fault]


def _document_fault(row: Any, ballot: str, record: BallotRecord, desk_public: bytes) -> str:
    """Return what is wrong with one document on record, or nothing."""
    try:
        page = document.verify(bytes(row["document"]), bytes(row["document_signature"]), desk_public)
    except SignatureInvalid:
        return "the document on record is not the one that the desk signed"
    except (Malformed, TypeError):
        return "the document on record cannot be read"
    if (page.definition.id, page.definition.sha256) != (ballot, record.definition_sha256):
        return "the document on record is of another ballot or definition"
    return ""


async def check_electorate(
    connection: asyncpg.Connection,
    ballot: str,
    record: BallotRecord,
    acts: Sequence[dict[str, Any]],
    *,
    desk_public: bytes | None,
) -> list[Finding]:
    """The electorate is the one that the desk signed at `open`: as many voters, and the same ones.

    A probe ballot's grows while it is open, so nobody signs it. The last line in the desk's journal holds.
    """
    if record.opens_us is None or record.kind == PROBE_KIND:
        return []
    lines = [act for act in acts if act.get("act") == ELECTORATE_ACT]
    if not lines:
        fault = "the desk's journal has no signed electorate"
    elif desk_public is None:
        fault = "the desk's public key is not here"
    else:
        fault = await _electorate_fault(connection, ballot, lines[-1], desk_public)
    return [Finding(Kind.SIGNED_ELECTORATE, ballot, fault)] if fault else []


async def _electorate_fault(
    connection: asyncpg.Connection, ballot: str, line: dict[str, Any], desk_public: bytes
) -> str:
    """Return how the electorate differs from the signed line, or nothing."""
    try:
        signed.verify_object(line, label=ELECTORATE_LABEL, public=desk_public)
    except (SignatureInvalid, Malformed):
        return "the line of the electorate is not signed by the desk's key"
    if line.get("ballot") != ballot:
        return "the signed electorate is another ballot's"
    running, count = hashlib.sha256(), 0
    async for rows in pages(connection, ELECTORATE, ballot):
        for row in rows:
            running.update(row["uin"])
        count += len(rows)
    if count != line.get("count"):
        return f"the desk signed an electorate of {line.get('count')} voters; the voter database has {count}"
    if running.hexdigest() != line.get("sha256"):
        return f"the electorate has {count} voters as the desk signed, but not the same ones"
    return ""
