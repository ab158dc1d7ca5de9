"""The private half of the backup keys: the only place where a backup can be opened.

It is never on the machine that makes backups. Each of the three (voterdb, userdb, queue) has its own, so
that whoever restores one cannot read another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from ballot.suite import AeadKey, hkdf, key_id
from ops.backup.sealed_file import INFO, DoesNotOpen, Header, Readable, chunks, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED_BYTES: Final = 32
_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SALT: Final = b"strike-ballot/v1/backup"
_MLKEM_SEED_BYTES: Final = 64
_X25519_BYTES: Final = 32


class BackupKey:
    """The private half that follows from a `seed` of 32 bytes; it prints as nothing and cannot be pickled."""

    __slots__ = ("_private", "key_id", "public_key")

    public_key: bytes
    """ML-KEM-768 key (1,184 bytes) then X25519 key (32 bytes), as published."""
    key_id: str
    """As in the header of every backup sealed to it."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("A backup key's seed is 32 bytes.")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(
            hkdf(seed, salt=_SALT, info=b"ml-kem-768", length=_MLKEM_SEED_BYTES)
        )
        x25519 = X25519PrivateKey.from_private_bytes(
            hkdf(seed, salt=_SALT, info=b"x25519", length=_X25519_BYTES)
        )
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    def data_key(self, header: Header, sealed: bytes) -> AeadKey:
        """The data key of the backup with this header; DoesNotOpen if it was sealed to another key."""
        if header.key_id != self.key_id:
            raise DoesNotOpen(
                f"This backup was sealed to the key {header.key_id}; the one given is {self.key_id}."
            )
        try:
            return AeadKey(_HPKE.decrypt(sealed, self._private, info=INFO))
        except (InvalidTag, ValueError):
            raise DoesNotOpen("This backup is not as it was written: its data key does not open.") from None

    def __repr__(self) -> str:
        return "<BackupKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a backup key is never pickled")


def open_sealed(file: Readable, key: BackupKey) -> tuple[Header, Iterator[bytes]]:
    """Header and content of a sealed file; DoesNotOpen, from here or the iterator, if it is not whole."""
    header, sealed = read_head(file)
    return header, chunks(file, header, key.data_key(header, sealed))
