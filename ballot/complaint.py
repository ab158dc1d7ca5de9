"""A voter's complaint, spelt the same at the page, the edge and the desk: text, sealing, number, key.

It needs no code, belongs to no vote, and may name a ballot that nobody here knows. Only the desk opens it
(scrutineer/unsealing.py); whoever carries it sees one length, whatever is written.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from ballot import alphabet
from ballot.encoding import Malformed, b64decode, b64encode, strict_json
from ballot.limits import COMPLAINT_BYTES_MAX, ID_CHARS_MAX, REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from ballot.suite import (
    PUBLIC_KEY_BYTES,
    SEAL_OVERHEAD_BYTES,
    SIGNATURE_BYTES,
    SUITE,
    SignatureInvalid,
    SigningKey,
    hpke_seal,
    key_id,
    verify_signature,
)

USE: Final = "complaints"
INFO: Final = b"strike-ballot/v1/complaint"
NOTE_INFO: Final = b"strike-ballot/v1/complaint-note"
"""What the desk notes beside a complaint is sealed in the same form, and opens as nothing else."""

KEY_LABEL: Final = b"strike-ballot/v1/complaints-key"
VERSION: Final = 1
SEALED_BYTES: Final = COMPLAINT_BYTES_MAX + SEAL_OVERHEAD_BYTES
NUMBER_SYMBOLS: Final = 12
NUMBER_BITS: Final = NUMBER_SYMBOLS * alphabet.BITS
BALLOT: Final = re.compile(rf"[a-z0-9-]{{1,{ID_CHARS_MAX}}}")
_QUOTES_A_FIELD: Final = 4
_ENTRY_FIELDS: Final = frozenset({"id", "use", "alg", "public_key", "signature"})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What was written, and how its writer wants to be reached, or nothing."""

    text: str = field(repr=False)
    contact: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Lodged:
    """A complaint as it is sent: whatever ballot its writer names, or none, and the sealed text."""

    ballot: str | None
    sealed: bytes = field(repr=False)

    @property
    def number(self) -> str:
        """The number its writer gets."""
        return number(self.sealed)


def unpadded(complaint: Complaint) -> bytes:
    """`complaint` as compact JSON, spelt as JavaScript's JSON.stringify does; Malformed if it is too long."""
    value: dict[str, object] = {"v": VERSION, "text": complaint.text}
    if complaint.contact:
        value["contact"] = complaint.contact
    try:
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise Malformed("The text holds half a character.") from error
    if len(data) > COMPLAINT_BYTES_MAX:
        raise Malformed(f"This is too long: at most {COMPLAINT_BYTES_MAX} bytes, not {len(data)}.")
    return data


def plaintext(complaint: Complaint) -> bytes:
    """What is sealed: the JSON, then zero bytes up to the one length."""
    return unpadded(complaint).ljust(COMPLAINT_BYTES_MAX, b"\0")


def parse_plaintext(data: bytes) -> Complaint:
    """The complaint in an opened plaintext; Malformed if it is none. Nothing in it was checked by anybody."""
    value = strict_json(data.rstrip(b"\0"), bytes_max=COMPLAINT_BYTES_MAX)
    text, contact = value.get("text"), value.get("contact", "")
    if value.get("v") != VERSION or not isinstance(text, str) or not isinstance(contact, str):
        raise Malformed("This is not a complaint.")
    return Complaint(text, contact)


def seal(complaint: Complaint, public_key: bytes, *, info: bytes = INFO) -> bytes:
    """`complaint` sealed to the desk's complaints key, always of SEALED_BYTES."""
    return hpke_seal(public_key, plaintext(complaint), info=info)


def number(sealed: bytes) -> str:
    """The complaint's number, which follows from its bytes: a retry gets the same one from any edge.

    It has 60 bits: who tries hard can make two complaints that share one, so nothing is kept by it alone.
    """
    digest = hashlib.sha256(INFO + b"\0" + sealed).digest()
    value = int.from_bytes(digest, "big") >> (8 * len(digest) - NUMBER_BITS)
    return alphabet.grouped(alphabet.write(value, NUMBER_SYMBOLS))


def parse_number(text: str) -> str:
    """The number a person typed, in any case and grouping, as we write it."""
    symbols = alphabet.read(text)
    if symbols is None or len(symbols) != NUMBER_SYMBOLS:
        raise Malformed(f"The number of a complaint has {NUMBER_SYMBOLS} letters and digits.")
    return alphabet.grouped(symbols)


def parse_request(body: bytes) -> Lodged:
    """The complaint in a request `body`; Rejected with one plain sentence, never holding a value, otherwise.

    (1) size, (2) JSON object, (3) `sealed` and perhaps `ballot`, each once, (4) text, (5) a ballot's id in
    shape alone, (6) canonical base64url of the one length.
    """
    value = _fields(body)  # (1) to (4)
    ballot = value.get("ballot")
    if ballot is not None and BALLOT.fullmatch(ballot) is None:  # (5)
        raise _malformed('The field "ballot" is not the id of a ballot.')
    try:
        sealed = b64decode(value["sealed"])  # (6)
    except Malformed:
        raise _malformed('The field "sealed" is not canonical base64url without padding.') from None
    if len(sealed) != SEALED_BYTES:
        raise _malformed(f'The field "sealed" must be {SEALED_BYTES} bytes, not {len(sealed)}.')
    # No name and no value holds a quote by now, so any further one belongs to a name given twice.
    if body.count(b'"') != _QUOTES_A_FIELD * len(value):
        raise _malformed("A complaint has each field only once.")
    return Lodged(ballot, sealed)


def request_body(lodged: Lodged) -> bytes:
    """The request that lodges it, as the page writes it."""
    value = {} if lodged.ballot is None else {"ballot": lodged.ballot}
    return json.dumps({**value, "sealed": b64encode(lodged.sealed)}, separators=(",", ":")).encode()


def key_statement(public_key: bytes) -> bytes:
    """What the desk signs of its complaints key: label ‖ 0x00 ‖ SHA-256 of the public half."""
    return KEY_LABEL + b"\0" + hashlib.sha256(public_key).digest()


def key_entry(public_key: bytes, desk: SigningKey) -> dict[str, str]:
    """The complaints key as it is published, vouched for by the desk's key."""
    return {
        "id": key_id(public_key),
        "use": USE,
        "alg": SUITE,
        "public_key": b64encode(public_key),
        "signature": b64encode(desk.sign(key_statement(public_key))),
    }


def verify_key(entry: object, desk_public: bytes) -> bytes:
    """The complaints key that `entry` publishes, vouched for by the pinned desk key.

    SignatureInvalid when it is not, Malformed when `entry` is no such thing at all.
    """
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_FIELDS:
        raise Malformed("This is not a published complaints key.")
    members: dict[str, Any] = entry
    if not all(isinstance(value, str) for value in members.values()):
        raise Malformed("This is not a published complaints key.")
    public_key = b64decode(members["public_key"], length=PUBLIC_KEY_BYTES)
    signature = b64decode(members["signature"], length=SIGNATURE_BYTES)
    verify_signature(desk_public, signature, key_statement(public_key))
    if (members["id"], members["use"], members["alg"]) != (key_id(public_key), USE, SUITE):
        raise SignatureInvalid("This names another key, use or suite than was signed.")
    return public_key


def _fields(body: bytes) -> dict[str, str]:
    if len(body) > REQUEST_BYTES_MAX:
        raise Rejected(Rejection.TOO_LARGE, f"A complaint has at most {REQUEST_BYTES_MAX} bytes.")
    try:
        value = strict_json(body, bytes_max=REQUEST_BYTES_MAX)
    except Malformed as error:
        raise _malformed(str(error)) from error
    if "sealed" not in value:
        raise _malformed('The field "sealed" is missing.')
    if not value.keys() <= {"ballot", "sealed"}:
        raise _malformed("A complaint has only the fields ballot, sealed.")
    for name, text in value.items():
        if not isinstance(text, str):
            raise _malformed(f'The field "{name}" must be text.')
    return value


def _malformed(detail: str) -> Rejected:
    return Rejected(Rejection.MALFORMED, detail)
