"""A sealed vote as it crosses the border: one request form, one digest, one signed message."""

import binascii
import hashlib
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NoReturn

import orjson

from ballot import limits
from ballot.encoding import FROM_URL, Malformed, b64decode, b64encode, hex_decode, strict_json
from ballot.rejection import Rejected, Rejection
from ballot.suite import (
    SEAL_OVERHEAD_BYTES,
    SIGNATURE_BYTES,
    SUITE,
    VERIFY_KEY_BYTES,
    SignatureInvalid,
    verify_signature,
)

VOTE_LABEL: Final = b"strike-ballot/v1/vote"
NONCE_BYTES: Final = 16
IDENTITY_BYTES: Final = 16

_FIELDS: Final = ("credential", "suite", "nonce", "sealed", "signature")
_QUOTES_A_FIELD: Final = 4


@dataclass(slots=True)
class CastVote:
    """One vote as cast, with the digests of the sealed vote, of the credential and of the whole, taken once.

    `identity` is the 16 bytes by which the gate tells the same vote sent again from another vote. Nothing of
    it is ever changed; frozen would cost each vote more than its digests do.
    """

    credential: bytes = field(repr=False)
    suite: str
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    sealed_sha256: bytes = field(init=False, repr=False, compare=False)
    credential_sha256: bytes = field(init=False, repr=False, compare=False)
    identity: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take the digests."""
        whole = hashlib.sha256(self.sealed)
        self.sealed_sha256 = whole.digest()
        self.credential_sha256 = hashlib.sha256(self.credential).digest()
        whole.update(self.nonce + self.signature)
        self.identity = whole.digest()[:IDENTITY_BYTES]

    def to_json(self) -> bytes:
        """The request body."""
        return orjson.dumps(
            {
                "credential": b64encode(self.credential),
                "suite": self.suite,
                "nonce": b64encode(self.nonce),
                "sealed": b64encode(self.sealed),
                "signature": b64encode(self.signature),
            }
        )


def parse(body: bytes, *, padded_size: int) -> CastVote:
    """The vote in a request `body`; Rejected with one plain sentence, never holding a value, otherwise.

    (1) size, (2) JSON object, (3) exactly the five names, each once, (4) text, (5) suite, (6) canonical
    base64url of the one length. The signature is checked by the workers, against the issue register.

    Nearly every vote is good and in the form in which our devices write it: `_usual` finds that out in few
    steps. Whatever else is sent, good or not, is read the long way.
    """
    sealed_bytes = SEAL_OVERHEAD_BYTES + padded_size
    return _usual(body, _layout(sealed_bytes)) or _any_form(body, sealed_bytes)


def _any_form(body: bytes, sealed_bytes: int) -> CastVote:
    """The vote in `body`, in whatever form of JSON, or Rejected with the first thing that is wrong."""
    value = _object(body, _FIELDS, "vote")  # (1) to (4)
    if value["suite"] != SUITE:  # (5)
        raise Rejected(Rejection.MALFORMED, "This ballot does not take votes sealed with that suite.")
    return CastVote(  # (6)
        credential=_binary(value, "credential", VERIFY_KEY_BYTES),
        suite=SUITE,
        nonce=_binary(value, "nonce", NONCE_BYTES),
        sealed=_binary(value, "sealed", sealed_bytes),
        signature=_binary(value, "signature", SIGNATURE_BYTES),
    )


def _usual(body: bytes, layout: "_Layout") -> CastVote | None:
    """The vote in a good `body` of the form that `to_json` writes; None if it is anything else.

    The names and what stands between the values are compared byte for byte; whatever could make a value
    longer or shorter than it seems is no symbol of base64url. All four values are decoded at once, in places
    of whole groups of four symbols: each is filled up with A, whose bits are zero, so that the bytes behind
    the value are zero if its loose bits are.
    """
    if len(body) != layout.written.size:
        return None
    name_1, credential, name_2, nonce, name_3, sealed, name_4, signature, end = layout.written.unpack(body)
    if (name_1, name_2, name_3, name_4, end) != _BETWEEN:
        return None
    symbols = b"%bA%bAA%bAA%b%b" % (credential, nonce, signature, sealed, layout.filling)
    if b"+" in symbols or b"/" in symbols or b"=" in symbols:
        return None
    try:
        data = binascii.a2b_base64(symbols.translate(FROM_URL), strict_mode=True)
    except binascii.Error:
        return None
    credential, zero_1, nonce, zero_2, signature, zero_3, sealed, zero_4 = layout.decoded.unpack(data)
    if zero_1 != b"\0" or zero_2 != b"\0\0" or zero_3 != b"\0\0" or zero_4.strip(b"\0"):
        return None
    return CastVote(credential, SUITE, nonce, sealed, signature)


_BETWEEN: Final = (
    b'{"credential":"',
    b'","suite":"%b","nonce":"' % SUITE.encode(),
    b'","sealed":"',
    b'","signature":"',
    b'"}',
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything stands in a vote as `to_json` writes it, and in its values as decoded."""

    written: struct.Struct
    decoded: struct.Struct
    filling: bytes


@lru_cache(maxsize=64)
def _layout(sealed_bytes: int) -> _Layout:
    sealed_symbols = (sealed_bytes * 8 + 5) // 6
    filled = -sealed_symbols % 4
    lengths = zip(map(len, _BETWEEN), (43, 22, sealed_symbols, 86, 0), strict=True)
    return _Layout(
        struct.Struct("".join(f"{between}s{value}s" for between, value in lengths).removesuffix("0s")),
        struct.Struct(f"32ss16s2s64s2s{sealed_bytes}s{(sealed_symbols + filled) // 4 * 3 - sealed_bytes}s"),
        b"A" * filled,
    )


def parse_access(body: bytes) -> bytes:
    """The SHA-256 of a credential in the body of an access request; Rejected as `parse` does."""
    value = _object(body, ("credential_sha256",), "request")
    try:
        return hex_decode(value["credential_sha256"], length=32)
    except Malformed:
        _malformed('The field "credential_sha256" must be 64 lower-case hexadecimal digits.')


def signed_message(ballot_id: str, definition_sha256: bytes, nonce: bytes, sealed_sha256: bytes) -> bytes:
    """What the voter signs: label ‖ 0x00 ‖ ballot id ‖ 0x00 ‖ definition digest ‖ nonce ‖ SHA-256(sealed)."""
    return b"\x00".join((VOTE_LABEL, ballot_id.encode(), definition_sha256 + nonce + sealed_sha256))


def verify(
    *,
    ballot_id: str,
    definition_sha256: bytes,
    credential: bytes,
    nonce: bytes,
    sealed: bytes,
    signature: bytes,
) -> None:
    """Raise Rejected(BAD_SIGNATURE) unless the credential signed this sealed vote for this ballot."""
    message = signed_message(ballot_id, definition_sha256, nonce, hashlib.sha256(sealed).digest())
    try:
        verify_signature(credential, signature, message)
    except SignatureInvalid as error:
        raise Rejected(Rejection.BAD_SIGNATURE, "The vote is not signed by its credential.") from error


def _object(body: bytes, names: tuple[str, ...], what: str) -> dict[str, str]:
    """The JSON object in `body` with exactly `names`, all text."""
    if len(body) > limits.REQUEST_BYTES_MAX:
        raise Rejected(Rejection.TOO_LARGE, f"A {what} has at most {limits.REQUEST_BYTES_MAX} bytes.")
    try:
        value: dict[str, Any] = strict_json(body, bytes_max=limits.REQUEST_BYTES_MAX)
    except Malformed as error:
        raise Rejected(Rejection.MALFORMED, str(error)) from error
    missing = [name for name in names if name not in value]
    if missing:
        _malformed(f'The field "{missing[0]}" is missing.')
    if len(value) != len(names):
        _malformed(f"A {what} has only the fields {', '.join(names)}.")
    for name in names:
        if not isinstance(value[name], str):
            _malformed(f'The field "{name}" must be text.')
        if '"' in value[name]:
            _malformed(f'The field "{name}" holds a character that it never has.')
    # No name and no value holds a quote, so any further quote belongs to a name given twice.
    if body.count(b'"') != _QUOTES_A_FIELD * len(names):
        _malformed(f"A {what} has each field only once.")
    return value


def _binary(value: dict[str, str], name: str, length: int) -> bytes:
    try:
        data = b64decode(value[name])
    except Malformed:
        _malformed(f'The field "{name}" is not canonical base64url without padding.')
    if len(data) != length:
        _malformed(f'The field "{name}" must be {length} bytes, not {len(data)}.')
    return data


def _malformed(detail: str) -> NoReturn:
    raise Rejected(Rejection.MALFORMED, detail) from None
