"""The only place where a complaint can be opened; votes are opened in the tally, and never with this key.

The key follows from the desk's secret `complaints` (32 bytes), and its public half is what complaints are
sealed to. Nothing here can open a vote: those are sealed to keys that no desk ever has.
"""

from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from ballot.complaint import INFO, NOTE_INFO, Complaint, parse_plaintext
from ballot.encoding import Malformed
from ballot.suite import hkdf

_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SALT: Final = b"strike-ballot/v1/complaints"
_MLKEM_SEED_BYTES: Final = 64
_X25519_BYTES: Final = 32


class Unreadable(Exception):  # noqa: N818  # named for what it says of the complaint
    """It was sealed to another key, altered, or is no complaint inside."""


class ComplaintsKey:
    """The private half of the complaints key; it prints as nothing and cannot be pickled."""

    __slots__ = ("_private", "public_key")

    public_key: bytes
    """ML-KEM-768 key (1,184 bytes) then X25519 key (32 bytes), as published."""

    def __init__(self, secret: bytes) -> None:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(
            hkdf(secret, salt=_SALT, info=b"ml-kem-768", length=_MLKEM_SEED_BYTES)
        )
        x25519 = X25519PrivateKey.from_private_bytes(
            hkdf(secret, salt=_SALT, info=b"x25519", length=_X25519_BYTES)
        )
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes) -> Complaint:
        """The complaint in `sealed`; Unreadable if there is none for us."""
        return self._opened(sealed, INFO)

    def open_note(self, sealed: bytes) -> str:
        """The desk's own note in `sealed`; Unreadable if there is none."""
        return self._opened(sealed, NOTE_INFO).text

    def _opened(self, sealed: bytes, info: bytes) -> Complaint:
        try:
            return parse_plaintext(_HPKE.decrypt(sealed, self._private, info=info))
        except (InvalidTag, Malformed, ValueError):
            raise Unreadable from None

    def __repr__(self) -> str:
        return "<ComplaintsKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a complaints key is never pickled")
