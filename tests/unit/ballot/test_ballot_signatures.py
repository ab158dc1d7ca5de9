"""Ed25519 at its edges: RFC 8032's own vectors, and what our verifier refuses and OpenSSL does not."""

import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ballot.suite import SignatureInvalid, SigningKey, verify_signature
from tests.vectors import edwards
from tests.vectors.edwards import BASE, IDENTITY, ORDER, PRIME, SMALL, add, spelt, times

RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


SECRET, DRAWN, MESSAGE = 0x1234567, 0x7654321, b"a vote"


def _sign(public: bytes, r: bytes, drawn: int, *, secret: int) -> bytes:
    return edwards.sign(public, r, drawn, MESSAGE, secret=secret)


def _openssl(public: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, MESSAGE)
    except (InvalidSignature, ValueError):
        return False
    return True


def _ours(public: bytes, signature: bytes) -> bool:
    try:
        verify_signature(public, signature, MESSAGE)
    except SignatureInvalid:
        return False
    return True


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_vectors_of_the_standard(seed: str, public: str, message: str, signature: str) -> None:
    """RFC 8032, 7.1: key and signature byte for byte, and it verifies."""
    key = SigningKey.from_seed(bytes.fromhex(seed))

    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify_signature(key.public, bytes.fromhex(signature), bytes.fromhex(message))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_same_bytes_as_openssl(seed: bytes, message: bytes, bit: int) -> None:
    """Both libraries make the same key and signature, and a signature with any bit changed is refused."""
    ours, theirs = SigningKey.from_seed(seed), Ed25519PrivateKey.from_private_bytes(seed)
    signature = ours.sign(message)
    forged = bytearray(signature)
    forged[bit // 8] ^= 1 << bit % 8

    assert ours.public == theirs.public_key().public_bytes_raw()
    assert signature == theirs.sign(message)
    verify_signature(ours.public, signature, message)
    with pytest.raises(SignatureInvalid):
        verify_signature(ours.public, bytes(forged), message)


def test_arithmetic_of_this_test_makes_good_signatures() -> None:
    """What is refused below is refused for its oddity: the same arithmetic without one verifies."""
    public, r = spelt(times(SECRET, BASE)), spelt(times(DRAWN, BASE))
    good = _sign(public, r, DRAWN, secret=SECRET)

    assert _ours(public, good)
    assert _openssl(public, good)


def test_the_other_s_is_refused() -> None:
    """`s` plus the group order satisfies the equation too: nobody can make a second signature of a first."""
    public, r = spelt(times(SECRET, BASE)), spelt(times(DRAWN, BASE))
    good = _sign(public, r, DRAWN, secret=SECRET)
    other = good[:32] + (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")

    assert not _ours(public, other)
    assert not _openssl(public, other)


@pytest.mark.parametrize("order", range(8))
def test_keys_of_small_order_are_refused(order: int) -> None:
    """Under such a key one signature is good for many messages; OpenSSL lets the fitting ones through."""
    public = spelt(times(order, SMALL))
    for place in range(8):
        r = spelt(add(times(DRAWN, BASE), times(place, SMALL)))
        assert not _ours(public, _sign(public, r, DRAWN, secret=0))
    if order == 0:
        r = spelt(times(DRAWN, BASE))
        assert _openssl(public, _sign(public, r, DRAWN, secret=0))


def test_r_of_small_order_is_refused() -> None:
    """No honest signer draws it; OpenSSL lets it through."""
    public = spelt(times(SECRET, BASE))
    odd = _sign(public, spelt(IDENTITY), 0, secret=SECRET)

    assert not _ours(public, odd)
    assert _openssl(public, odd)


def test_a_key_of_small_order_is_refused_in_its_second_spelling() -> None:
    """Not reduced it names the same point; OpenSSL lets it through.

    A second spelling fits into 255 bits for the coordinates 0 to 18 only. Those of large order among them are
    nobody's: who signed for one would have solved the discrete logarithm. So that they are refused for their
    spelling cannot be shown by a signature, and is not claimed.
    """
    public = (PRIME + 1).to_bytes(32, "little")  # the identity again
    r = spelt(times(DRAWN, BASE))

    assert not _ours(public, _sign(public, r, DRAWN, secret=0))
    assert _openssl(public, _sign(public, r, DRAWN, secret=0))


def test_the_equation_is_without_the_cofactor() -> None:
    """A point of small order added to R or to the key does not pass; with OpenSSL neither."""
    public, r = spelt(times(SECRET, BASE)), spelt(add(times(DRAWN, BASE), SMALL))
    assert not _ours(public, _sign(public, r, DRAWN, secret=SECRET))
    assert not _openssl(public, _sign(public, r, DRAWN, secret=SECRET))


@pytest.mark.parametrize(("public", "signature"), [(0, 64), (31, 64), (33, 64), (32, 0), (32, 63), (32, 65)])
def test_other_lengths_are_refused(public: int, signature: int) -> None:
    """A key or signature of another length is a bad signature, never more and never a look past its end."""
    with pytest.raises(SignatureInvalid):
        verify_signature(os.urandom(public), os.urandom(signature), MESSAGE)
