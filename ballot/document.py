"""The ballot document: definition, lengths and keys, frozen and signed by the desk before the first vote."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from ballot import definition as definitions
from ballot import limits
from ballot.definition import Definition
from ballot.encoding import Malformed, b64decode, b64encode, canonical_json, canonical_object, strict_json
from ballot.suite import SUITE, VERIFY_KEY_BYTES, SigningKey, check_public_key, verify_signature

DOCUMENT_LABEL: Final = b"strike-ballot/v1/document"
_FIELDS: Final = {"definition", "padded_size", "public_key", "result_key", "suite"}


@dataclass(frozen=True, slots=True)
class BallotDocument:
    """What voters seal to: `public_key` is HPKE's, `result_key` the Ed25519 key of the result."""

    definition: Definition
    padded_size: int
    public_key: bytes = field(repr=False)
    result_key: bytes = field(repr=False)
    suite: str
    canonical: bytes = field(repr=False)


def build(definition: Definition, *, public_key: bytes, result_key: bytes) -> BallotDocument:
    """The document of `definition` with its keys; Malformed if a key cannot be one."""
    check_public_key(public_key)
    if len(result_key) != VERIFY_KEY_BYTES:
        raise Malformed(f"A result key is {VERIFY_KEY_BYTES} bytes, not {len(result_key)}.")
    canonical = canonical_json(
        {
            "definition": strict_json(definition.canonical, bytes_max=limits.DEFINITION_BYTES_MAX),
            "padded_size": definition.padded_size,
            "public_key": b64encode(public_key),
            "result_key": b64encode(result_key),
            "suite": SUITE,
        }
    )
    return BallotDocument(definition, definition.padded_size, public_key, result_key, SUITE, canonical)


def parse(data: bytes) -> BallotDocument:
    """The document whose exact bytes are `data`. Not a verification: the signature is `verify`'s."""
    value = canonical_object(data, bytes_max=limits.DOCUMENT_BYTES_MAX)
    if value.keys() != _FIELDS or not isinstance(value["definition"], dict):
        raise Malformed("This is not a ballot document.")
    definition = definitions.from_canonical(canonical_json(value["definition"]))
    document = build(definition, public_key=_key(value, "public_key"), result_key=_key(value, "result_key"))
    if document.canonical != data:
        raise Malformed("This ballot document has another suite or padded size than its definition asks for.")
    return document


def signed_message(canonical: bytes) -> bytes:
    """What the desk signs: label ‖ 0x00 ‖ SHA-256 of the document's bytes."""
    return DOCUMENT_LABEL + b"\x00" + hashlib.sha256(canonical).digest()


def sign(document: BallotDocument, desk: SigningKey) -> bytes:
    """The desk's signature on `document`."""
    return desk.sign(signed_message(document.canonical))


def verify(canonical: bytes, signature: bytes, desk_public: bytes) -> BallotDocument:
    """The document, once its signature by the pinned `desk_public` is verified; nothing is parsed before."""
    verify_signature(desk_public, signature, signed_message(canonical))
    return parse(canonical)


def _key(value: dict[str, Any], name: str) -> bytes:
    if not isinstance(value[name], str):
        raise Malformed(f"The document's {name} is not text.")
    return b64decode(value[name])
