"""The export: a signed manifest, then one sealed vote a line, with nothing that names a voter.

Lines of one export all have the same length and come in random order; `bind` replaces nonce and credential.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from ballot import limits
from ballot.books import Books
from ballot.encoding import (
    Malformed,
    b64decode,
    b64encode,
    canonical_object,
    format_time,
    hex_decode,
    parse_time,
)
from ballot.suite import SIGNATURE_BYTES

BIND_BYTES: Final = 32
LINE_BYTES_MAX: Final = (limits.SEALED_BYTES_MAX + 2) // 3 * 4 + 128

_FIELDS: Final = {
    "ballot",
    "document",
    "document_signature",
    "definition_sha256",
    "entitled",
    "votes",
    "votes_sha256",
    "books",
    "by_method",
    "quarantined",
    "exported_at",
    "signature",
    "key_id",
}
_TEXTS: Final = (
    "ballot",
    "document",
    "document_signature",
    "definition_sha256",
    "votes_sha256",
    "exported_at",
    "signature",
    "key_id",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The first line of an export; `value` is the object as read, for verifying its signature."""

    ballot: str
    document: bytes = field(repr=False)
    document_signature: bytes = field(repr=False)
    definition_sha256: bytes
    entitled: int
    votes: int
    votes_sha256: bytes
    books: Books
    by_method: dict[str, int]
    quarantined: dict[str, int]
    exported_us: int
    value: dict[str, Any] = field(repr=False)


ExportManifest: TypeAlias = Manifest


def build_manifest(
    *,
    ballot: str,
    document: bytes,
    document_signature: bytes,
    definition_sha256: bytes,
    entitled: int,
    votes: int,
    votes_sha256: bytes,
    books: Books,
    by_method: Mapping[str, int],
    quarantined: Mapping[str, int],
    exported_us: int,
) -> dict[str, Any]:
    """The manifest, not yet signed. `votes_sha256` is over every byte after the first line."""
    return {
        "ballot": ballot,
        "document": b64encode(document),
        "document_signature": b64encode(document_signature),
        "definition_sha256": definition_sha256.hex(),
        "entitled": entitled,
        "votes": votes,
        "votes_sha256": votes_sha256.hex(),
        "books": books.to_dict(),
        "by_method": dict(by_method),
        "quarantined": dict(quarantined),
        "exported_at": format_time(exported_us),
    }


def parse_manifest(line: bytes) -> Manifest:
    """The manifest on an export's first line.

    Not a verification: `signed.verify_object` checks the signature, over `.value`.
    """
    value = canonical_object(line.removesuffix(b"\n"), bytes_max=limits.MANIFEST_BYTES_MAX)
    if value.keys() != _FIELDS or not all(isinstance(value[name], str) for name in _TEXTS):
        raise Malformed("This is not the first line of an export.")
    if not isinstance(value["books"], dict):
        raise Malformed("These are not the books of a ballot.")
    return Manifest(
        ballot=value["ballot"],
        document=b64decode(value["document"]),
        document_signature=b64decode(value["document_signature"], length=SIGNATURE_BYTES),
        definition_sha256=hex_decode(value["definition_sha256"], length=32),
        entitled=_count(value["entitled"]),
        votes=_count(value["votes"]),
        votes_sha256=hex_decode(value["votes_sha256"], length=32),
        books=Books.from_dict(value["books"]),
        by_method=_counts(value["by_method"]),
        quarantined=_counts(value["quarantined"]),
        exported_us=parse_time(value["exported_at"]),
        value=value,
    )


def vote_line(bind: bytes, sealed: bytes) -> bytes:
    """One vote, with its line end."""
    return orjson.dumps({"bind": b64encode(bind), "sealed": b64encode(sealed)}) + b"\n"


def parse_vote_line(line: bytes) -> tuple[bytes, bytes]:
    """`bind` and `sealed` of one line; Malformed unless it is exactly what `vote_line` writes."""
    if len(line) > LINE_BYTES_MAX:
        raise Malformed("A line of this export is too long.")
    try:
        value = orjson.loads(line)
        bind, sealed = b64decode(value["bind"], length=BIND_BYTES), b64decode(value["sealed"])
    except (orjson.JSONDecodeError, Malformed, KeyError, TypeError) as error:
        raise Malformed("A line of this export is not a sealed vote.") from error
    if vote_line(bind, sealed) != line:
        raise Malformed("A line of this export is not a sealed vote in its one form.")
    return bind, sealed


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise Malformed("A count in this export is not a whole number.")
    return value


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise Malformed("A table of counts in this export is not one.")
    return {str(name): _count(count) for name, count in value.items()}
