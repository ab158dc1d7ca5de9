"""Secrets and the queue's encryption: keys never show, and a record opens in its own place only."""

import copy
import dataclasses
import os
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import queue_record, suite
from ballot.encoding import Malformed
from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from tests.vectors import make

QUEUE_KEY = suite.AeadKey(bytes(range(32)))
RECORD = QueueRecord(bytes(32), bytes(16), b"sealed" * 30, bytes(64), "2001:db8::1", make.ACCEPTED_US)
PLACE: dict[str, Any] = {"ballot_id": "tube-2025", "credential_digest": b"d" * 32, "reference": "A" * 19}
ELSEWHERE: list[dict[str, Any]] = [
    {"ballot_id": "tube-2026"},
    {"credential_digest": b"e" * 32},
    {"reference": "B" * 19},
]


def test_secrets_never_show() -> None:
    """Neither key prints, pickles or copies."""
    for secret in (make.DESK, QUEUE_KEY):
        assert "redacted" in repr(secret)
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="never"):
                act(secret)
    assert bytes(range(32)).hex() not in repr(QUEUE_KEY)
    assert len(QUEUE_KEY.key_id) == 16


def test_keys_of_other_lengths_are_refused() -> None:
    """A key, seed or nonce of the wrong length is our own mistake and raises at once."""
    for act in (
        lambda: suite.AeadKey(bytes(16)),
        lambda: suite.SigningKey.from_seed(bytes(31)),
        lambda: QUEUE_KEY.seal(b"", aad=b"", nonce=bytes(8)),
        lambda: suite.keyed_digest(bytes(32), bytes(31)),
    ):
        with pytest.raises(ValueError, match=r"\b(32|12)\b"):
            act()


@pytest.mark.parametrize(
    "key",
    [
        b"",
        bytes(suite.PUBLIC_KEY_BYTES - 1),
        b"\xff" * suite.PUBLIC_KEY_BYTES,
        make.PUBLIC_KEY[: suite.MLKEM_PUBLIC_KEY_BYTES] + bytes(32),
    ],
    ids=["empty", "short", "not-reduced", "low-order-point"],
)
def test_public_keys_nobody_can_seal_to_are_refused(key: bytes) -> None:
    """A key of the wrong length, out of range or with a low-order point never gets into a document."""
    with pytest.raises(Malformed, match="public key"):
        suite.check_public_key(key)


@given(st.integers(0, 8 * 80))
@settings(deadline=None)
def test_every_flipped_bit_of_a_record_is_caught(bit: int) -> None:
    """AES-256-GCM refuses a record with one bit changed, wherever it is (requirement P-10)."""
    blob = bytearray(QUEUE_KEY.seal(b"x" * 44, aad=b"place", nonce=bytes(12)))
    blob[bit // 8] ^= 1 << bit % 8

    with pytest.raises(suite.Unreadable):
        QUEUE_KEY.open(bytes(blob), aad=b"place")


@given(st.binary(min_size=1, max_size=300), st.ip_addresses().map(str), st.integers(0, 2**60))
def test_wrapping_opens_in_its_place_only(sealed: bytes, ip: str, received_us: int) -> None:
    """A record opens with its ballot, credential digest and reference, and with no other."""
    record = QueueRecord(os.urandom(32), os.urandom(16), sealed, os.urandom(64), ip, received_us)
    blob = queue_record.wrap(QUEUE_KEY, record, random=os.urandom, **PLACE)

    assert queue_record.unwrap(QUEUE_KEY, blob, **PLACE) == record
    for change in ELSEWHERE:
        with pytest.raises(Rejected) as caught:
            queue_record.unwrap(QUEUE_KEY, blob, **{**PLACE, **change})
        assert caught.value.rejection is Rejection.UNREADABLE


@pytest.mark.parametrize("blob", [b"", b"\x01", b"\x02" + bytes(80), bytes(80)])
def test_what_is_no_record_is_unreadable(blob: bytes) -> None:
    """Any bytes at all are a record or Rejected."""
    with pytest.raises(Rejected) as caught:
        queue_record.unwrap(QUEUE_KEY, blob, **PLACE)
    assert caught.value.rejection is Rejection.UNREADABLE


def test_fields_of_other_lengths_are_never_queued() -> None:
    """A credential cut short is our own mistake and raises before anything is encrypted."""
    changes: list[dict[str, Any]] = [{"credential": bytes(31)}, {"nonce": bytes(17)}, {"signature": b""}]
    for change in changes:
        record = dataclasses.replace(RECORD, **change)
        with pytest.raises(ValueError, match="lengths"):
            queue_record.wrap(QUEUE_KEY, record, random=os.urandom, **PLACE)


def test_another_key_is_named() -> None:
    """A record made with a retired key says so, which is our fault and not the voter's."""
    blob = queue_record.wrap(suite.AeadKey(bytes(32)), RECORD, random=os.urandom, **PLACE)

    with pytest.raises(Rejected, match="another key"):
        queue_record.unwrap(QUEUE_KEY, blob, **PLACE)


def test_a_sealed_record_of_another_form_is_unreadable() -> None:
    """A record that opens but is too short for its fields is refused, and an address is not a record."""
    address = {"ballot_id": PLACE["ballot_id"], "credential_digest": PLACE["credential_digest"]}
    sealed_ip = queue_record.wrap_ip(QUEUE_KEY, "192.0.2.1", random=os.urandom, **address)
    place = b"\x00".join((queue_record.RECORD_LABEL, b"tube-2025", b"d" * 32 + b"A" * 19))

    assert queue_record.unwrap_ip(QUEUE_KEY, sealed_ip, **address) == "192.0.2.1"
    for blob in (sealed_ip, QUEUE_KEY.seal(b"short", aad=place, nonce=bytes(12))):
        with pytest.raises(Rejected):
            queue_record.unwrap(QUEUE_KEY, blob, **PLACE)
    with pytest.raises(Rejected):
        queue_record.unwrap_ip(QUEUE_KEY, sealed_ip, ballot_id="other", credential_digest=b"d" * 32)


def test_every_address_has_one_length() -> None:
    """A record's length tells nothing of the address, and an odd address never costs a vote."""
    addresses = ("", "192.0.2.1", "2001:db8:1111:2222:3333:4444:5555:6666", "fe80::1%" + "x" * 90, "\u00e9")
    blobs = [
        queue_record.wrap_ip(QUEUE_KEY, ip, ballot_id="b", credential_digest=bytes(32), random=os.urandom)
        for ip in addresses
    ]

    assert len({len(blob) for blob in blobs}) == 1


def test_record_does_not_print_what_it_holds() -> None:
    """Logging a record by accident shows neither vote nor address."""
    assert repr(RECORD) == f"QueueRecord(received_us={make.ACCEPTED_US})"
