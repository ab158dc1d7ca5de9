"""Receipts that voters handed in: JSON lines, checked against the pinned key before they are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ballot import receipt
from ballot.encoding import Malformed, strict_json
from ballot.suite import SignatureInvalid, key_id
from ops.check.findings import Finding, Kind
from ops.check.scratch import ROWS_PER_INSERT
from ops.pinned import pinned_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.check.scratch import Scratch

RECEIPT_BYTES_MAX = 16 * 1024


def published_key(path: Path) -> bytes:
    """Return the receipts key published by this installation; without it no receipt can be judged."""
    public = pinned_key(path)
    if public is None:
        raise click.ClickException(f"{path} is missing: without it no receipt can be told from a forged one")
    return public


def read_receipts(file: Path, ballot: str, public: bytes, tables: Scratch) -> Iterator[Finding]:
    """Load the genuine receipts of `ballot`; yield a finding for each that is not genuine.

    A forged receipt is named and then left out: it is no evidence that a vote was lost.
    """
    rows: list[tuple[int, str, int, bytes]] = []
    with file.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(RECEIPT_BYTES_MAX), b""), start=1):
            if not line.strip():
                continue
            try:
                given = receipt.Receipt.from_dict(strict_json(line, bytes_max=RECEIPT_BYTES_MAX))
            except Malformed as error:
                raise click.ClickException(f"{file.name} line {number} is not a receipt: {error}") from error
            if given.ballot != ballot:
                raise click.ClickException(
                    f"{file.name} line {number} is a receipt of ballot {given.ballot!r}"
                )
            if wrong := _not_genuine(given, public):
                yield Finding(Kind.RECEIPT, given.reference, f"line {number}: {wrong}")
                continue
            rows.append((number, given.reference, given.accepted_us, given.sealed_sha256))
            if len(rows) == ROWS_PER_INSERT:
                tables.add("receipts", rows)
                rows = []
    tables.add("receipts", rows)


def _not_genuine(given: receipt.Receipt, public: bytes) -> str:
    if given.key_id != key_id(public):
        return "signed by another key than the published one"
    try:
        receipt.verify(given, public)
    except SignatureInvalid:
        return "the signature does not verify"
    return ""
