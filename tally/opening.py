"""The only place where a sealed vote can be opened: nothing else holds a ballot's private key."""

from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

# The suite named in every sealed vote, `ballot.suite.SUITE`; ballot/ has the sealing half of it.
_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class DoesNotOpen(Exception):  # noqa: N818  # named for what it says of the vote
    """The sealed vote was made for another key, ballot or credential, or was altered."""


class OpeningKey:
    """The private half of a ballot's sealing key.

    Made from `mlkem_seed` (64 bytes) and `x25519_private` (32 bytes). It prints as nothing and cannot be
    pickled, so that it reaches another process only by a line of code that says so.
    """

    __slots__ = ("_private", "public_key")

    public_key: bytes
    """ML-KEM-768 key (1,184 bytes) then X25519 key (32 bytes), as in the ballot document."""

    def __init__(self, *, mlkem_seed: bytes, x25519_private: bytes) -> None:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(mlkem_seed)
        x25519 = X25519PrivateKey.from_private_bytes(x25519_private)
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """Return the padded plaintext of `sealed`, or raise DoesNotOpen; `info` is by `sealing.hpke_info`."""
        try:
            return _HPKE.decrypt(sealed, self._private, info=info)
        except InvalidTag:
            # No chain: the cause says nothing, and the caller counts this rather than reports it.
            raise DoesNotOpen from None

    def __repr__(self) -> str:
        return "<OpeningKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an opening key is never pickled")
