"""What else changes hands: keys, the queue's encryption, documents, books, signed objects, exports, vectors, limits."""

import copy
import os
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import document, export_file, handoff, limits, queue_record, register, signed, suite
from ballot.books import Books
from ballot.encoding import Malformed, b64encode, canonical_json
from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from tests.vectors import make

QUEUE_KEY = suite.AeadKey(bytes(range(32)))
RECORD = QueueRecord(bytes(32), bytes(16), b"sealed" * 30, bytes(64), "2001:db8::1", make.ACCEPTED_US)
PLACE: dict[str, Any] = {"ballot_id": "tube-2025", "credential_digest": b"d" * 32, "reference": "A" * 19}
ELSEWHERE = [{"ballot_id": "tube-2026"}, {"credential_digest": b"e" * 32}, {"reference": "B" * 19}]


def test_vectors_are_what_the_code_gives() -> None:
    """Every vector file is byte for byte what the code derives today, and the kept sealed vote still opens."""
    for name, data in make.build().items():
        assert (make.HERE / name).read_bytes() == data, name


# Keys


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
        with pytest.raises(ValueError, match="32|12"):
            act()


@pytest.mark.parametrize(
    "key",
    [b"", bytes(suite.PUBLIC_KEY_BYTES - 1), b"\xff" * suite.PUBLIC_KEY_BYTES]
    + [make.PUBLIC_KEY[: suite.MLKEM_PUBLIC_KEY_BYTES] + bytes(32)],
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


# The queue's encryption


@given(st.binary(min_size=1, max_size=300), st.ip_addresses().map(str), st.integers(0, 2**60))
def test_wrapping_opens_in_its_place_only(sealed: bytes, ip: str, received_us: int) -> None:
    """A record opens with its ballot, credential digest and reference, and with no other."""
    record = QueueRecord(os.urandom(32), os.urandom(16), sealed, os.urandom(64), ip, received_us)
    blob = queue_record.wrap(QUEUE_KEY, record, random=os.urandom, **PLACE)

    assert queue_record.unwrap(QUEUE_KEY, blob, **PLACE) == record
    for change in ELSEWHERE:
        with pytest.raises(Rejected) as caught:
            queue_record.unwrap(QUEUE_KEY, blob, **(PLACE | change))
        assert caught.value.rejection is Rejection.UNREADABLE


@pytest.mark.parametrize("blob", [b"", b"\x01", b"\x02" + bytes(80), bytes(80)])
def test_what_is_no_record_is_unreadable(blob: bytes) -> None:
    """Any bytes at all are a record or Rejected."""
    with pytest.raises(Rejected) as caught:
        queue_record.unwrap(QUEUE_KEY, blob, **PLACE)
    assert caught.value.rejection is Rejection.UNREADABLE


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


# The ballot document


def test_document_verifies_with_the_pinned_key_only() -> None:
    """The desk's signature covers every byte; nothing is parsed before it holds."""
    signature = document.sign(make.DOCUMENT, make.DESK)

    assert document.verify(make.DOCUMENT.canonical, signature, make.DESK.public) == make.DOCUMENT
    for data, key in (
        (make.DOCUMENT.canonical + b" ", make.DESK.public),
        (make.DOCUMENT.canonical, make.RECEIPTS.public),
        (b"not even JSON", make.DESK.public),
    ):
        with pytest.raises(suite.SignatureInvalid):
            document.verify(data, signature, key)


@pytest.mark.parametrize(
    "change",
    [
        {"padded_size": 128},
        {"suite": "rot13"},
        {"public_key": b64encode(bytes(5))},
        {"public_key": 5},
        {"result_key": b64encode(bytes(31))},
        {"definition": {}},
        {"definition": "x"},
        {"extra": 1},
    ],
    ids=["size", "suite", "key", "key-type", "result-key", "definition", "text", "extra"],
)
def test_other_documents_are_malformed(change: dict[str, Any]) -> None:
    """A document that disagrees with its own definition or suite is refused, even when signed."""
    value = orjson.loads(make.DOCUMENT.canonical) | change

    with pytest.raises(Malformed):
        document.parse(canonical_json(value))


# Books, signed objects, register, export


def books(**terms: int) -> Books:
    """Books of nought, except for `terms`."""
    return Books(**(dict.fromkeys(Books.__dataclass_fields__, 0) | terms))


def test_books_balance_and_name_the_difference() -> None:
    """Each equation of promise 12 is its own book; a difference of one shows with its sign."""
    good = {
        "entitled": 9,
        "issued": 10,
        "used": 6,
        "unused": 2,
        "revoked": 2,
        "accepted": 7,
        "unacknowledged": 1,
    }
    good |= {"stored": 5, "quarantined": 1, "released": 1, "voted_electronic": 6, "returned_other": 3}

    assert books(**good).balanced
    assert Books.from_dict(books(**good).to_dict()) == books(**good)
    for change, book, difference in (
        ({"unused": 3}, "issued", -1),
        ({"stored": 4}, "accepted", 1),
        ({"released": 0}, "electronic", 1),
        ({"returned_other": 4}, "entitled", 1),
    ):
        changed = books(**(good | change))
        assert not changed.balanced
        assert changed.differences() == dict.fromkeys(changed.differences(), 0) | {book: difference}


@pytest.mark.parametrize("change", [{"issued": -1}, {"issued": 1.0}, {"issued": True}, {"other": 1}])
def test_other_books_are_malformed(change: dict[str, Any]) -> None:
    """Books have every term, as whole numbers from nought, and no other."""
    with pytest.raises(Malformed):
        Books.from_dict(books().to_dict() | change)


def test_signed_objects_verify_under_their_label_only() -> None:
    """Another label, key or content, or no signature, does not verify."""
    value = signed.sign_object({"votes": 1}, label="result", key=make.RESULT)

    signed.verify_object(value, label="result", public=make.RESULT.public)
    for change, label, public in (
        ({}, "export", make.RESULT.public),
        ({}, "result", make.DESK.public),
        ({"votes": 2}, "result", make.RESULT.public),
        ({"signature": "AAAA"}, "result", make.RESULT.public),
        ({"signature": None}, "result", make.RESULT.public),
        ({"key_id": make.DESK.key_id}, "result", make.RESULT.public),
        ({"votes": 2**70}, "result", make.RESULT.public),
    ):
        with pytest.raises(suite.SignatureInvalid):
            signed.verify_object(value | change, label=label, public=public)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.integers(0, 2**53 - 1))
def test_register_leaves_are_canonical(digest: bytes, uin: bytes, us: int) -> None:
    """The quick way of writing a leaf gives canonical JSON, so any language can recompute the roots."""
    for leaf in (
        register.issue_leaf("b-1", digest, uin, "email", us, 3),
        register.revoke_leaf("b-1", digest, us),
    ):
        assert canonical_json(orjson.loads(leaf)) == leaf


def test_manifest_reads_back_and_verifies() -> None:
    """An export's first line survives its round trip with its signature."""
    value = orjson.loads((make.HERE / "export.json").read_bytes())["manifest"]

    manifest = export_file.parse_manifest(canonical_json(value) + b"\n")

    signed.verify_object(manifest.value, label=signed.EXPORT_LABEL, public=make.DESK.public)
    assert document.parse(manifest.document) == make.DOCUMENT
    assert (manifest.votes, manifest.books.stored, manifest.by_method["electronic"]) == (1, 1, 1)
    for change in (
        {"votes": -1},
        {"votes": "1"},
        {"books": 5},
        {"by_method": []},
        {"ballot": 5},
        {"more": 1},
    ):
        with pytest.raises(Malformed):
            export_file.parse_manifest(canonical_json(value | change))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_vote_lines_read_back(bind: bytes, sealed: bytes) -> None:
    """A line of votes has one form, in which every bind and sealed vote survives."""
    line = export_file.vote_line(bind, sealed)

    assert export_file.parse_vote_line(line) == (bind, sealed)
    for bad in (
        line[:-1],
        b" " + line,
        line.replace(b'"bind"', b'"bond"'),
        b"[]\n",
        b"",
        line * 2,
        b"x" * 70_000,
    ):
        with pytest.raises(Malformed):
            export_file.parse_vote_line(bad)


# Names and limits


def test_shard_keys_share_a_slot() -> None:
    """All seven keys of a shard carry one hash tag, with two digits, in the gate's order."""
    keys = handoff.shard_keys("tube-2025", 7)

    assert [key.removeprefix("{tube-2025:07}:") for key in keys] == [
        "gate",
        "credentials",
        "voted",
        "references",
        "votes",
        "attempts",
        "unknown",
    ]


def test_rejections_have_distinct_wire_names() -> None:
    """Each reason has its own name, and only the two that promise it can be tried again."""
    assert len({rejection.value for rejection in Rejection}) == len(Rejection)
    assert [r.value for r in Rejection if r.transient] == ["slow_down", "not_confirmed"]
    assert str(Rejected(Rejection.CONFLICT, "Why.")) == "conflict: Why."


def test_largest_vote_fits_a_request() -> None:
    """A vote on the largest legal ballot is within the request limit, with the margin that limits.py claims."""
    small = orjson.loads(make.HERE.joinpath("vote.json").read_bytes())["request"]
    other = len(small) - len(orjson.loads(small)["sealed"])

    assert other <= limits.VOTE_OTHER_BYTES
    assert suite.SEAL_OVERHEAD_BYTES + limits.PADDED_BYTES_MAX == limits.SEALED_BYTES_MAX
