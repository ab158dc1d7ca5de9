"""What voters handed in, as JSON lines: receipts, checked against the pinned key, and votes they sent."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import click

from ballot import merkle, receipt
from ballot.encoding import Malformed, hex_decode, strict_json
from ballot.suite import SignatureInvalid, key_id, verify_signature
from ops.check.findings import Finding, Kind
from ops.check.queue_rows import reference_of
from ops.check.scratch import ROWS_PER_INSERT
from ops.pinned import pinned_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.check.scratch import Scratch

RECEIPT_BYTES_MAX = 16 * 1024
ATTEMPT_BYTES_MAX = 1024
SIGNATURES_KEPT = 64


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
    rows: list[tuple[int, bytes | str, int, bytes]] = []
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
            rows.append((number, reference_of(given.reference), given.accepted_us, given.sealed_sha256))
            if len(rows) == ROWS_PER_INSERT:
                tables.add("receipts", rows)
                rows = []
    tables.add("receipts", rows)


def read_attempts(file: Path, ballot: str, tables: Scratch) -> None:
    """Load what voters say they sent to `ballot`: the digest of each sealed vote, receipt or not."""
    rows: list[tuple[bytes]] = []
    with file.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(ATTEMPT_BYTES_MAX), b""), start=1):
            if not line.strip():
                continue
            try:
                value = strict_json(line, bytes_max=ATTEMPT_BYTES_MAX)
                sent_to, digest = value["ballot"], hex_decode(value["sealed_sha256"], length=32)
            except (Malformed, KeyError, TypeError, AttributeError):
                raise click.ClickException(
                    f'{file.name} line {number} is not {{"ballot", "sealed_sha256"}}'
                ) from None
            if sent_to != ballot:
                raise click.ClickException(f"{file.name} line {number} is of another ballot")
            rows.append((digest,))
            if len(rows) == ROWS_PER_INSERT:
                tables.add("attempts", rows)
                rows = []
    tables.add("attempts", rows)


def _not_genuine(given: receipt.Receipt, public: bytes) -> str:
    """Check as receipt.verify does; the signature that a batch of receipts shares is verified once."""
    if given.key_id != key_id(public):
        return "signed by another key than the published one"
    root = merkle.root_from_path(merkle.leaf_hash(given.leaf.canonical()), given.path)
    return _root_fault(public, given.signature, root)


@lru_cache(maxsize=SIGNATURES_KEPT)
def _root_fault(public: bytes, signature: bytes, root: bytes) -> str:
    try:
        verify_signature(public, signature, receipt.signed_message(root))
    except SignatureInvalid:
        return "the signature does not verify"
    return ""
