"""Receipts and trees: every path leads to the root, a reference tells only the shard."""

import os
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import limits, merkle, receipt
from ballot.alphabet import SYMBOLS
from ballot.encoding import Malformed, b64encode, canonical_json
from ballot.receipt import Leaf, Receipt
from ballot.suite import SignatureInvalid, SigningKey
from tests.vectors import make

LEAVES = st.lists(st.binary(max_size=20), min_size=1, max_size=40)
KEY = make.RECEIPTS


def recursive_root(leaves: list[bytes]) -> bytes:
    """The root as RFC 6962, 2.1 defines it, by splitting."""
    if len(leaves) == 1:
        return merkle.leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


def batch(count: int) -> list[Leaf]:
    """`count` leaves."""
    return [
        Leaf(
            "tube-2025",
            receipt.draw_reference(0, 1, random=os.urandom),
            make.ACCEPTED_US + n,
            bytes([n]) * 32,
        )
        for n in range(count)
    ]


@given(LEAVES)
def test_root_is_rfc_6962(leaves: list[bytes]) -> None:
    """Pairing level by level gives the tree of the RFC."""
    assert merkle.root(leaves) == recursive_root(leaves)


@given(LEAVES)
def test_every_path_leads_to_the_root(leaves: list[bytes]) -> None:
    """Each leaf's path, alone or made with the others, ends in the root."""
    paths = merkle.all_paths(leaves)

    for index, leaf in enumerate(leaves):
        assert merkle.path(leaves, index) == paths[index]
        assert merkle.root_from_path(merkle.leaf_hash(leaf), paths[index]) == merkle.root(leaves)
        assert len(paths[index]) <= (len(leaves) - 1).bit_length()


def test_largest_batch_has_paths_short_enough() -> None:
    """The longest path of the largest batch is the longest that a receipt may have."""
    assert (limits.RECEIPT_BATCH_MAX - 1).bit_length() == limits.RECEIPT_PATH_STEPS_MAX
    with pytest.raises(ValueError, match="at most"):
        receipt.issue(batch(1) * (limits.RECEIPT_BATCH_MAX + 1), KEY)
    with pytest.raises(ValueError, match="at most"):
        receipt.issue_bodies(batch(1) * (limits.RECEIPT_BATCH_MAX + 1), KEY)


def test_there_is_no_path_beside_the_tree() -> None:
    """Asking for a leaf that is not there is an error, not another leaf's path."""
    for index in (-1, 3):
        with pytest.raises(IndexError):
            merkle.path([b"", b"", b""], index)


@given(st.integers(1, 40))
@settings(deadline=None)
def test_one_signature_covers_every_receipt(count: int) -> None:
    """Each receipt of a batch verifies by itself, after a round trip."""
    receipts = receipt.issue(batch(count), KEY)

    assert len({one.signature for one in receipts}) == 1
    for one in receipts:
        read = Receipt.from_dict(one.to_dict())
        assert read == one
        receipt.verify(read, KEY.public)


@given(st.integers(1, 70))
@settings(deadline=None)
def test_receipts_are_sent_as_they_are(count: int) -> None:
    """The quick way of writing a batch's receipts gives the same bytes as writing each."""
    leaves = batch(count)

    assert receipt.issue_bodies(leaves, KEY) == [
        orjson.dumps(one.to_dict()) for one in receipt.issue(leaves, KEY)
    ]


def test_no_receipts_need_no_signature() -> None:
    """An empty batch is empty; a receipt alone has an empty path."""
    assert receipt.issue([], KEY) == []
    assert receipt.issue_bodies([], KEY) == []
    assert receipt.issue(batch(1), KEY)[0].path == ()


@given(st.integers(0, 31), st.integers(0, 10**15), st.binary(min_size=32, max_size=32))
def test_leaf_is_canonical_json(shard: int, accepted_us: int, digest: bytes) -> None:
    """The quick way of writing a leaf gives the canonical form."""
    leaf = Leaf("a-1", receipt.draw_reference(shard, 32, random=os.urandom), accepted_us, digest)
    value = receipt.issue([leaf], KEY)[0].to_dict()

    assert leaf.canonical() == canonical_json(
        {name: value[name] for name in ("ballot", "reference", "accepted_at", "sealed_sha256")}
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ballot", "tube-2026"),
        ("reference", "0000-0000-0000-0000"),
        ("accepted_at", "2025-07-08T18:40:00.123457Z"),
        ("sealed_sha256", "00" * 32),
        ("signature", b64encode(bytes(64))),
        ("key_id", "0" * 16),
        ("path", []),
        ("path", [["L", b64encode(bytes(32))]]),
    ],
)
def test_every_changed_field_is_caught(name: str, content: object) -> None:
    """A receipt with any field changed is well formed and does not verify."""
    value = receipt.issue(batch(5), KEY)[2].to_dict() | {name: content}

    with pytest.raises(SignatureInvalid):
        receipt.verify(Receipt.from_dict(value), KEY.public)


def test_another_key_is_refused() -> None:
    """A receipt is checked against the pinned key, never the one it names."""
    other = SigningKey.from_seed(bytes(32))

    with pytest.raises(SignatureInvalid):
        receipt.verify(receipt.issue(batch(2), other)[0], KEY.public)


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "0000000000000000"},
        {"reference": "000"},
        {"ballot": "Tube"},
        {"ballot": 5},
        {"accepted_at": "2025-07-08T18:40:00Z"},
        {"accepted_at": "2025-07-08T19:40:00.123456+01:00"},
        {"sealed_sha256": "AA" * 32},
        {"signature": "AAAA"},
        {"key_id": "xyz"},
        {"path": "L"},
        {"path": [["M", b64encode(bytes(32))]]},
        {"path": [["L", b64encode(bytes(31))]]},
        {"path": [["L"]]},
        {"path": [5]},
        {"path": [["L", b64encode(bytes(32))]] * 17},
        {"extra": 1},
    ],
)
def test_bad_receipts_are_malformed(change: dict[str, Any]) -> None:
    """A field of another type, form or length is refused."""
    with pytest.raises(Malformed):
        Receipt.from_dict(receipt.issue(batch(1), KEY)[0].to_dict() | change)
    with pytest.raises(Malformed):
        Receipt.from_dict({})


@given(st.sampled_from([1, 2, 4, 8, 16, 32]), st.data(), st.binary(min_size=10, max_size=10))
def test_reference_tells_its_shard_and_reads_back(shards: int, data: st.DataObject, drawn: bytes) -> None:
    """The first symbol carries the shard; hyphens and case do not matter; nothing else is fixed."""
    shard = data.draw(st.integers(0, shards - 1))
    reference = receipt.draw_reference(shard, shards, random=lambda _: drawn)

    assert receipt.shard_of_reference(reference, shards) == shard
    assert receipt.parse_reference(reference.replace("-", " ").lower()) == reference
    symbols = reference.replace("-", "")
    value = sum(SYMBOLS.index(symbol) << 5 * (15 - i) for i, symbol in enumerate(symbols))
    free = (1 << (81 - shards.bit_length())) - 1
    assert value & free == int.from_bytes(drawn, "big") & free


@given(st.binary(min_size=32, max_size=32))
def test_shard_of_digest_is_its_leading_bits(digest: bytes) -> None:
    """Growing from S to 2S shards splits each in two."""
    assert receipt.shard_of_digest(digest, 1) == 0
    for shards in (1, 2, 4, 8, 16):
        assert receipt.shard_of_digest(digest, shards * 2) // 2 == receipt.shard_of_digest(digest, shards)


@pytest.mark.parametrize("shards", [0, 3, 64, -1])
def test_other_numbers_of_shards_are_refused(shards: int) -> None:
    """The number of shards is a power of two that a reference's first symbol can tell."""
    with pytest.raises(ValueError, match="power of two"):
        receipt.shard_of_digest(bytes(32), shards)
    with pytest.raises(ValueError, match="shard"):
        receipt.draw_reference(1, 1, random=os.urandom)


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "0000-0000-0000-000U", "0000-0000-0000-000\u0660"])
def test_other_references_are_refused(text: str) -> None:
    """A reference of another length or with another letter gets one sentence."""
    with pytest.raises(Malformed, match="A reference has 16"):
        receipt.parse_reference(text)
