"""The published result beside the books as re-derived here: each term the same, each stored vote in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ballot import signed
from ballot.suite import SignatureInvalid
from ops.check.findings import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import asyncpg

    from ballot.books import Books
    from ops.check.store_side import BallotRecord

RESULT_BYTES_MAX = 1 << 20


async def check_result(
    connection: asyncpg.Connection, file: Path, ballot: str, record: BallotRecord, books: Books
) -> list[Finding]:
    """Compare the result in `file` with what was found; the sums within it are `ballot verify`'s."""
    value = read_result(file)
    key = await connection.fetchval("SELECT result_key FROM ballot.ballot_keys WHERE ballot = $1", ballot)
    return [Finding(Kind.RESULT, where, what) for where, what in _faults(value, ballot, record, books, key)]


def read_result(file: Path) -> dict[str, Any]:
    """Return the object in `file`, or say in a sentence that it is no result."""
    with file.open("rb") as opened:
        data = opened.read(RESULT_BYTES_MAX + 1)
    try:
        value = json.loads(data) if len(data) <= RESULT_BYTES_MAX else None
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("books"), dict):
        raise click.ClickException(f"{file} is not a result")
    return value


def _faults(
    value: dict[str, Any], ballot: str, record: BallotRecord, books: Books, key: bytes | None
) -> Iterator[tuple[str, str]]:
    if (value.get("ballot"), value.get("definition_sha256")) != (ballot, record.definition_sha256.hex()):
        yield ballot, "the result is of another ballot or definition"
    try:
        signed.verify_object(value, label=signed.RESULT_LABEL, public=bytes(key or b""))
    except (SignatureInvalid, ValueError, TypeError):
        yield ballot, "the result is not signed by the result key on record"
    told = value["books"]
    for term, found in books.to_dict().items():
        if told.get(term) != found:
            yield f"book {term}", f"the result says {told.get(term)}; there are {found}"
    counted = [told.get(term) for term in ("opened", "set_aside")]
    if not all(type(term) is int for term in counted) or sum(counted) != books.stored:
        yield "book stored", f"{books.stored} votes are stored; the result opened or set aside {counted}"
