"""What else changes hands: documents, books, signed objects, register, exports, names, limits."""

import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot import document, export_file, handoff, limits, register, signed, suite
from ballot.books import Books
from ballot.encoding import Malformed, b64encode, canonical_json
from ballot.rejection import Rejected, Rejection
from tests.vectors import make


def test_vectors_are_what_the_code_gives() -> None:
    """Every vector file is byte for byte what the code derives; the kept sealed vote still opens."""
    for name, data in make.build().items():
        assert (make.HERE / name).read_bytes() == data, name


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
    changes: list[dict[str, Any]] = [{"votes": -1}, {"votes": "1"}, {"books": 5}, {"by_method": []}]
    for change in [*changes, {"ballot": 5}, {"more": 1}]:
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
        export_file.vote_line(bind, b"")[:-3] + b"}\n",
        line.replace(b'":"', b'": "'),
        export_file.vote_line(bind, sealed + b"=")[:-4] + b'="}\n',
        export_file.vote_line(bind[1:], sealed),
        b"x" * 70_000,
    ):
        with pytest.raises(Malformed):
            export_file.parse_vote_line(bad)


def test_shard_keys_share_a_slot() -> None:
    """All nine keys of a shard carry one hash tag, with two digits, in the gate's order."""
    keys = handoff.shard_keys("tube-2025", 7)

    assert [key.removeprefix("{tube-2025:07}:") for key in keys] == [
        "gate",
        "credentials",
        "voted",
        "references",
        "votes",
        "attempts",
        "unknown",
        "unknown_tries",
        "attempts:counted",
    ]


def test_rejections_have_distinct_wire_names() -> None:
    """Each reason has its own name, and only the two that promise it can be tried again."""
    assert len({rejection.value for rejection in Rejection}) == len(Rejection)
    assert [r.value for r in Rejection if r.transient] == ["slow_down", "not_confirmed"]
    assert str(Rejected(Rejection.CONFLICT, "Why.")) == "conflict: Why."
    sent = pickle.loads(pickle.dumps(Rejected(Rejection.CONFLICT, "Why.")))  # noqa: S301  # as a process pool does
    assert (sent.rejection, sent.detail) == (Rejection.CONFLICT, "Why.")


def test_largest_vote_fits_a_request() -> None:
    """A vote on the largest legal ballot is within the request limit, with the margin claimed there."""
    small = orjson.loads(make.HERE.joinpath("vote.json").read_bytes())["request"]
    other = len(small) - len(orjson.loads(small)["sealed"])

    assert other <= limits.VOTE_OTHER_BYTES
    assert suite.SEAL_OVERHEAD_BYTES + limits.PADDED_BYTES_MAX == limits.SEALED_BYTES_MAX
