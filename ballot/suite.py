"""The only door to the primitives; opening votes has its own in the tally, opening complaints at the desk.

Signatures are Ed25519 by libsodium, for every signer and verifier of ours, so that no two disagree. It is
RFC 8032 read strictly: `s` below the group order, no point of small order in whatever spelling, the
equation without the cofactor (ops/decisions/0011). Secrets never show in `repr` and refuse to be pickled.
"""

import functools
import hashlib
import hmac
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from ballot.encoding import Malformed

SUITE: Final = "mlkem768x25519-hkdfsha256-aes256gcm"
MLKEM_PUBLIC_KEY_BYTES: Final = 1184
PUBLIC_KEY_BYTES: Final = MLKEM_PUBLIC_KEY_BYTES + 32
ENCAPSULATED_BYTES: Final = 1120
SEAL_OVERHEAD_BYTES: Final = ENCAPSULATED_BYTES + 16

SEED_BYTES: Final = 32
SHA256_BYTES: Final = 32
VERIFY_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
AEAD_KEY_BYTES: Final = 32
AEAD_NONCE_BYTES: Final = 12
AEAD_OVERHEAD_BYTES: Final = 1 + 8 + AEAD_NONCE_BYTES + 16

_AEAD_VERSION: Final = b"\x01"
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class SignatureInvalid(Exception):  # noqa: N818  # named for what it means to the reader of an except clause
    """The signature is not by this key over this message."""


class Unreadable(Exception):  # noqa: N818  # the same
    """The ciphertext does not open with this key in this place."""


class SigningKey:
    """An Ed25519 private key. `public` is its 32-byte public half."""

    __slots__ = ("_pair", "public")

    def __init__(self, public: bytes, pair: bytes) -> None:
        self._pair = pair
        self.public: Final = public

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """The key of a 32-byte `seed` (RFC 8032)."""
        if len(seed) != SEED_BYTES:
            raise ValueError("A signing key's seed is 32 bytes.")
        return cls(*crypto_sign_seed_keypair(seed))

    @property
    def key_id(self) -> str:
        """The public half's key id."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`; the same message always gives the same bytes."""
        return crypto_sign(message, self._pair)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return "<SigningKey redacted>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A signing key is never pickled or copied.")


def public_key(seed: bytes) -> bytes:
    """The public half of the signing key of a 32-byte `seed`, for whoever signs nothing with it."""
    if len(seed) != SEED_BYTES:
        raise ValueError("A signing key's seed is 32 bytes.")
    return crypto_sign_seed_keypair(seed)[0]


def verify_signature(public: bytes, signature: bytes, message: bytes) -> None:
    """Raise SignatureInvalid unless `signature` is by `public` over `message`; of any lengths and bytes."""
    if (
        len(public) != VERIFY_KEY_BYTES or len(signature) != SIGNATURE_BYTES
    ):  # the library reads on past a short key
        raise SignatureInvalid("The signature does not verify.")
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError as error:
        raise SignatureInvalid("The signature does not verify.") from error


def key_id(public: bytes) -> str:
    """The first 16 hex digits of SHA-256 of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def hkdf(ikm: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(ikm)


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, data, "sha256")


def keyed_digest(key: bytes, credential_sha256: bytes) -> bytes:
    """What gate and register hold of a credential: HMAC-SHA-256 over `credential_sha256`."""
    if len(credential_sha256) != SHA256_BYTES:
        raise ValueError("The keyed digest is taken over the 32-byte SHA-256 of a credential.")
    return hmac.digest(key, credential_sha256, "sha256")


class AeadKey:
    """An AES-256-GCM key and its id, which is derived from the key but tells nothing of it.

    Nonces are random, so one key is good for 2^32 messages (NIST SP 800-38D, 8.3). Voters never come near;
    a flood can, within days, because refused votes are sealed too (ops/decisions/0005).
    """

    __slots__ = ("_cipher", "_head", "_id", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != AEAD_KEY_BYTES:
            raise ValueError("An encryption key is 32 bytes.")
        self._cipher = AESGCM(key)
        self._id = hkdf(key, salt=b"", info=b"strike-ballot/v1/aead-key-id", length=8)
        self._head = _AEAD_VERSION + self._id
        self.key_id: Final = self._id.hex()

    def seal(self, plaintext: bytes, *, aad: bytes, nonce: bytes) -> bytes:
        """0x01 ‖ key id (8) ‖ `nonce` (12, never used twice) ‖ ciphertext and tag, bound to `aad`."""
        if len(nonce) != AEAD_NONCE_BYTES:
            raise ValueError("A nonce is 12 bytes.")
        return b"%b%b%b" % (self._head, nonce, self._cipher.encrypt(nonce, plaintext, aad))

    def open(self, blob: bytes, *, aad: bytes) -> bytes:
        """The plaintext of `blob`; Unreadable if form, key, place or a single bit is wrong."""
        if len(blob) < AEAD_OVERHEAD_BYTES or blob[:1] != _AEAD_VERSION:
            raise Unreadable("This is not an encrypted record.")
        if blob[1:9] != self._id:
            raise Unreadable("This record was encrypted with another key.")
        try:
            return self._cipher.decrypt(blob[9:21], blob[21:], aad)
        except InvalidTag as error:
            raise Unreadable("This record does not open.") from error

    def is_foreign(self, blob: bytes) -> bool:
        """Whether `blob` has the form of an encrypted record and names another key than this one."""
        return len(blob) >= AEAD_OVERHEAD_BYTES and blob[:1] == _AEAD_VERSION and blob[1:9] != self._id

    def __repr__(self) -> str:
        return f"<AeadKey {self.key_id} redacted>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("An encryption key is never pickled or copied.")


def check_public_key(public_key: bytes) -> None:
    """Raise Malformed unless votes can be sealed to `public_key`: length, reduced, no low-order point."""
    hpke_seal(public_key, b"", info=b"strike-ballot/v1/check")


def hpke_seal(public_key: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """Encapsulated key ‖ ciphertext of `plaintext`: HPKE base mode, empty aad.

    `public_key` is the ML-KEM-768 key followed by the X25519 key.
    """
    try:
        return _HPKE.encrypt(plaintext, _parsed_public_key(public_key), info=info)
    except ValueError as error:
        raise Malformed("This is not a public key that votes can be sealed to.") from error


@functools.lru_cache(maxsize=64)
def _parsed_public_key(public_key: bytes) -> hpke.MLKEM768X25519PublicKey:
    """The parsed key: load generators and tests seal to few keys many times."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise Malformed(f"A ballot's public key is {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}.")
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:MLKEM_PUBLIC_KEY_BYTES]),
        X25519PublicKey.from_public_bytes(public_key[MLKEM_PUBLIC_KEY_BYTES:]),
    )
