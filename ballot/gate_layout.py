"""How the gate packs what it keeps in memory: `ops/valkey/gate.lua` writes it, everybody else reads it here.

A digest is kept as its first 16 bytes: nobody without the key can look for two credentials that agree in
128 bits. A reference is kept as the 10 bytes that its 16 symbols stand for, a time as 7 bytes. Of a vote the
gate keeps the identity, a digest over sealed vote, nonce and signature, and not the sealed vote's digest as
well: who sends the same identity again sends the same sealed vote (ops/decisions/0003).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from ballot import alphabet
from ballot.encoding import Malformed
from ballot.handoff import CURRENT_FLAG, UIN_BYTES
from ballot.receipt import REFERENCE_BYTES, REFERENCE_SYMBOLS, parse_reference
from ballot.vote import IDENTITY_BYTES

DIGEST_KEPT: Final = 16
TIME_BYTES: Final = 7

MIB: Final = 1 << 20
TRY_BYTES: Final = 256
"""What an entry of the two streams of tries takes at most."""

COUNTED_BYTES: Final = 512
"""What a count of tries beyond their budgets takes at most."""

ATTEMPTS_BYTES: Final = 16 * MIB
COUNTS_BYTES: Final = 4 * MIB
UNKNOWN_TRIES_BYTES: Final = 4 * MIB
"""Budgets of a shard: attempts, counts of those beyond their budgets, tries with unknown credentials."""

TRIES_LISTED: Final = 2_000
"""Entries that a code comes to: a thousand tries, and as many again once the queue was started anew."""

COUNTS_A_CODE: Final = 64
"""Counts that a code comes to: one a minute, kind and outcome, of which few occur in the same minute."""

REMEMBERED_BYTES: Final = 16 * MIB
"""What a server remembers of recent tries, whatever the number of its ballots."""

VOTED_BYTES: Final = 160
"""What a voter's mark and reference take, generously: 112 were measured, a growing table takes more."""

ENTRY_BYTES: Final = 420
"""What a vote's entry in the stream takes beside the sealed vote: its other fields, and the wrapping's."""

_BASE_32: Final = str.maketrans(alphabet.SYMBOLS, "0123456789abcdefghijklmnopqrstuv", "-")
"""Our symbols as Python's own digits."""

_METHODS: Final = {"e": "electronic", "p": "postal", "w": "workplace"}
_ELECTRONIC_BYTES: Final = 1 + IDENTITY_BYTES + TIME_BYTES + REFERENCE_BYTES
_MARK_BYTES: Final = {"e": _ELECTRONIC_BYTES, "p": 1 + TIME_BYTES, "w": 1 + TIME_BYTES}


def credential_field(digest: bytes) -> bytes:
    """The field of the credentials hash under which a keyed digest is kept."""
    return digest[:DIGEST_KEPT]


@dataclass(frozen=True, slots=True)
class Credential:
    """An issued credential as the gate has it."""

    uin: bytes
    flag: str
    channel: bytes

    @classmethod
    def from_value(cls, value: bytes) -> "Credential":
        """Read the gate's packed value."""
        flag = value[UIN_BYTES : UIN_BYTES + 1]
        return cls(value[:UIN_BYTES], flag.decode("latin-1"), value[UIN_BYTES + 1 : UIN_BYTES + 2])

    @property
    def current(self) -> bool:
        """Not revoked."""
        return self.flag == CURRENT_FLAG.decode()


@dataclass(frozen=True, slots=True)
class Mark:
    """That a voter has voted: `by` is e, p or w; an electronic vote has an identity and a reference.

    `by` is `?` for what the gate never wrote: still a mark, and the gate turns the voter away for it.
    """

    by: str
    at_us: int
    identity: bytes = b""
    reference: str = ""

    @classmethod
    def from_value(cls, value: bytes) -> "Mark":
        """Read the gate's packed value; what is no such value gives a mark of an unknown method."""
        by = value[:1].decode("latin-1")
        if len(value) != _MARK_BYTES.get(by):
            return cls("?", 0)
        identity = value[1 : 1 + IDENTITY_BYTES] if by == "e" else b""
        rest = value[1 + len(identity) :]
        at_us, reference = int.from_bytes(rest[:TIME_BYTES], "big"), rest[TIME_BYTES:]
        return cls(by, at_us, identity, reference_text(reference) if by == "e" else "")

    def to_value(self) -> bytes:
        """The gate's packed value."""
        at = self.at_us.to_bytes(TIME_BYTES, "big")
        return (
            self.by.encode()
            + self.identity
            + at
            + (reference_field(self.reference) if self.reference else b"")
        )

    @property
    def method(self) -> str:
        """The method as one word."""
        return _METHODS.get(self.by, "unknown")


def reference_field(reference: str) -> bytes:
    """The field of the references hash for a reference in any spelling; Malformed if it is none."""
    return int(parse_reference(reference).translate(_BASE_32), 32).to_bytes(REFERENCE_BYTES, "big")


def reference_text(field: bytes) -> str:
    """The reference that a field of the references hash stands for; Malformed if it stands for none."""
    if len(field) != REFERENCE_BYTES:
        raise Malformed(f"A field of the references hash has {REFERENCE_BYTES} bytes, not {len(field)}.")
    return alphabet.grouped(alphabet.write(int.from_bytes(field, "big"), REFERENCE_SYMBOLS))


def identity(sealed: bytes, nonce: bytes, signature: bytes) -> bytes:
    """By what the gate knows a vote again: the same as `CastVote.identity`, from a stored vote's columns."""
    return hashlib.sha256(sealed + nonce + signature).digest()[:IDENTITY_BYTES]
