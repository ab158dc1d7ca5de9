"""One secret makes every key of a ballot; whoever has fewer than k of its n shares has none of them.

The secret is 32 random bytes that exist only while a command of this package runs. From it come, by
HKDF-SHA256 with the salt `strike-ballot/v1/<ballot id>`, the key that opens votes and the key that signs the
result, so that the same k key holders who can count are the only ones who can say what the count was. It is
split by SLIP-39 (one group, k of n), whose words can be printed, read over a telephone and typed back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from ballot.suite import SigningKey, hkdf
from tally.opening import OpeningKey

SECRET_BYTES = 32
SHARES_MAX = 16  # SLIP-39 gives a share's number four bits

# The secret is 256 random bits and there is no passphrase to stretch, so the smallest work factor is enough.
_ITERATION_EXPONENT = 0

_MLKEM_SEED_BYTES = 64
_X25519_BYTES = 32
_RESULT_SEED_BYTES = 32


class NotOneSecret(Exception):  # noqa: N818  # named for what it says of the shares
    """The shares do not fit together: they are not k shares of one secret."""


@dataclass(frozen=True, slots=True, repr=False)
class OpeningSeed:
    """What an opening key is made from: the one form in which it may be handed to another process."""

    mlkem: bytes
    x25519: bytes

    def key(self) -> OpeningKey:
        """Return the key that opens votes."""
        return OpeningKey(mlkem_seed=self.mlkem, x25519_private=self.x25519)


@dataclass(frozen=True, slots=True, repr=False)
class BallotKeys:
    """Every key of one ballot, derived from its secret."""

    opening: OpeningSeed
    result: SigningKey
    public_key: bytes

    @property
    def result_key(self) -> bytes:
        """The public half of the key that signs the result."""
        return self.result.public


def derive(secret: bytes, *, ballot: str) -> BallotKeys:
    """Return the keys that `secret` makes for the ballot with id `ballot`; for another id they are others."""
    salt = f"strike-ballot/v1/{ballot}".encode()

    def part(info: bytes, length: int) -> bytes:
        return hkdf(secret, salt=salt, info=info, length=length)

    opening = OpeningSeed(
        mlkem=part(b"sealing/ml-kem-768", _MLKEM_SEED_BYTES), x25519=part(b"sealing/x25519", _X25519_BYTES)
    )
    result = SigningKey.from_seed(part(b"result", _RESULT_SEED_BYTES))
    return BallotKeys(opening=opening, result=result, public_key=opening.key().public_key)


def new_secret(random: Callable[[int], bytes]) -> bytes:
    """Draw a ballot's secret."""
    return random(SECRET_BYTES)


def split(secret: bytes, *, threshold: int, shares: int) -> list[list[str]]:
    """Split `secret` into `shares` lists of words, any `threshold` of which make it again."""
    groups = generate_mnemonics(1, [(threshold, shares)], secret, iteration_exponent=_ITERATION_EXPONENT)
    return [mnemonic.split() for mnemonic in groups[0]]


def combine(shares: Sequence[Share]) -> bytes:
    """Return the secret of exactly as many different shares as their threshold, or raise NotOneSecret."""
    try:
        secret: bytes = combine_mnemonics([share.mnemonic() for share in shares])
    except MnemonicError:
        raise NotOneSecret from None
    if len(secret) != SECRET_BYTES:
        raise NotOneSecret
    return secret
