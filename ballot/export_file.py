"""The export: a signed manifest, then one sealed vote a line, with nothing that names a voter.

Lines of one export all have the same length and come in random order; `bind` replaces nonce and credential.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

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

SUFFIX: Final = ".export"
"""Of the files of several ballots in one directory, after the ballot's id."""

LINE_BYTES_MAX: Final = (limits.SEALED_BYTES_MAX + 2) // 3 * 4 + 128

# A line is these around two values in base64url: canonical JSON.
_BEFORE_BIND: Final = b'{"bind":"'
_BEFORE_SEALED: Final = b'","sealed":"'
_AFTER_SEALED: Final = b'"}\n'
_BIND_AT: Final = len(_BEFORE_BIND)
_BIND_END: Final = _BIND_AT + (BIND_BYTES * 4 + 2) // 3
_SEALED_AT: Final = _BIND_END + len(_BEFORE_SEALED)
_LINE_BYTES_MIN: Final = _SEALED_AT + len(_AFTER_SEALED)

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
    return b"".join(
        (_BEFORE_BIND, b64encode(bind).encode(), _BEFORE_SEALED, b64encode(sealed).encode(), _AFTER_SEALED)
    )


def parse_vote_line(line: bytes) -> tuple[bytes, bytes]:
    """`bind` and `sealed` of one line; Malformed unless it is exactly what `vote_line` writes.

    It has one form, so it is taken apart where that form has its seams: half the work of reading it as JSON.
    """
    if not _LINE_BYTES_MIN <= len(line) <= LINE_BYTES_MAX:
        raise Malformed("A line of this export is too short or too long.")
    seams = (line[:_BIND_AT], line[_BIND_END:_SEALED_AT], line[-len(_AFTER_SEALED) :])
    if seams != (_BEFORE_BIND, _BEFORE_SEALED, _AFTER_SEALED):
        raise Malformed("A line of this export is not a sealed vote in its one form.")
    try:
        bind = b64decode(line[_BIND_AT:_BIND_END].decode("ascii"), length=BIND_BYTES)
        return bind, b64decode(line[_SEALED_AT : -len(_AFTER_SEALED)].decode("ascii"))
    except (UnicodeDecodeError, Malformed) as error:
        raise Malformed("A line of this export is not a sealed vote.") from error


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise Malformed("A count in this export is not a whole number.")
    return value


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise Malformed("A table of counts in this export is not one.")
    return {str(name): _count(count) for name, count in value.items()}
