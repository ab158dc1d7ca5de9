"""A complaint's forms: what is sealed, its number, its request and the key that it is sealed to."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from ballot import complaint, handoff
from ballot.complaint import Complaint, Lodged
from ballot.encoding import Malformed, b64decode, b64encode
from ballot.limits import COMPLAINT_BYTES_MAX, ID_CHARS_MAX, REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from ballot.suite import SignatureInvalid
from tests.vectors import make

VECTOR = orjson.loads((make.HERE / "complaint.json").read_bytes())
SEALED = b64decode(VECTOR["sealed"])
GOOD = VECTOR["request"].encode()
ROOM = COMPLAINT_BYTES_MAX - len('{"v":1,"text":""}')


def test_every_text_is_sealed_at_one_length() -> None:
    """Short, long and with a contact: the plaintext is 4,096 bytes, and what is read is what was written."""
    for written in (Complaint("a"), Complaint("x" * ROOM), Complaint("é\n\0\\", "c@example.org")):
        padded = complaint.plaintext(written)
        assert len(padded) == COMPLAINT_BYTES_MAX
        assert complaint.parse_plaintext(padded) == written
    assert len(SEALED) == complaint.SEALED_BYTES == 5_232


@pytest.mark.parametrize("text", ["x" * (ROOM + 1), "é" * (ROOM // 2 + 1), "\0" * (ROOM // 6 + 1), "\ud800"])
def test_what_does_not_fit_is_refused(text: str) -> None:
    """Counted in bytes as written in JSON; half a character has no bytes at all."""
    with pytest.raises(Malformed):
        complaint.plaintext(Complaint(text))


@pytest.mark.parametrize(
    "opened",
    [b"", b"{}", b"[1]", b'{"v":2,"text":"a"}', b'{"v":1,"text":1}', b'{"v":1,"text":"a","contact":[]}'],
)
def test_what_is_no_complaint_inside_is_said_to_be_none(opened: bytes) -> None:
    """Anybody can seal anything to the key."""
    with pytest.raises(Malformed):
        complaint.parse_plaintext(opened.ljust(COMPLAINT_BYTES_MAX, b"\0"))


def test_the_number_follows_from_the_sealed_bytes() -> None:
    """As the vector has it; a person's spelling of it is read."""
    assert Lodged(None, SEALED).number == VECTOR["number"]
    assert complaint.number(SEALED[:-1] + b"\0") != VECTOR["number"]
    assert complaint.parse_number(f" {VECTOR['number'].lower().replace('0', 'o')} ") == VECTOR["number"]
    for text in ("", VECTOR["number"] + "A", "U" * 12):
        with pytest.raises(Malformed):
            complaint.parse_number(text)


def test_requests_are_read_as_they_are_written() -> None:
    """With a ballot and without one; whether there is such a ballot is not asked."""
    assert complaint.parse_request(GOOD) == Lodged("tube-2025", SEALED)
    assert complaint.parse_request(VECTOR["request_without_ballot"].encode()) == Lodged(None, SEALED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        orjson.dumps({"sealed": 1}),
        orjson.dumps({"sealed": None}),
        orjson.dumps({"sealed": VECTOR["sealed"], "ballot": None}),
        orjson.dumps({"sealed": VECTOR["sealed"], "ballot": ""}),
        orjson.dumps({"sealed": VECTOR["sealed"], "ballot": "Tube 2025"}),
        orjson.dumps({"sealed": VECTOR["sealed"], "ballot": "a" * 41}),
        orjson.dumps({"sealed": VECTOR["sealed"], "ballot": "a\n"}),
        orjson.dumps({"sealed": VECTOR["sealed"], "code": "x"}),
        orjson.dumps({"sealed": VECTOR["sealed"] + "="}),
        orjson.dumps({"sealed": VECTOR["sealed"][:-4]}),
        orjson.dumps({"sealed": VECTOR["sealed"] + "AAAA"}),
        GOOD[:-1] + b',"ballot":"other"}',
        GOOD[:-1] + b',"\\u0062allot":"other"}',
    ],
)
def test_any_other_request_is_malformed(body: bytes) -> None:
    """Refused with one sentence that holds nothing of what was sent."""
    with pytest.raises(Rejected) as refused:
        complaint.parse_request(body)
    assert refused.value.rejection is Rejection.MALFORMED
    assert VECTOR["sealed"][:8] not in refused.value.detail


def test_a_request_that_is_too_long_is_said_to_be() -> None:
    """As every other request of ours."""
    with pytest.raises(Rejected) as refused:
        complaint.parse_request(b" " * (REQUEST_BYTES_MAX + 1))
    assert refused.value.rejection is Rejection.TOO_LARGE


def test_the_published_key_is_vouched_for_by_the_desk() -> None:
    """Its public half comes back; of another desk, key or use, or with a member more, nothing does."""
    entry = VECTOR["key"]
    assert b64encode(complaint.verify_key(entry, make.DESK.public)) == entry["public_key"]
    with pytest.raises(SignatureInvalid):
        complaint.verify_key(entry, make.RECEIPTS.public)
    for name, value in (
        ("public_key", b64encode(make.PUBLIC_KEY)),
        ("id", "0" * 16),
        ("use", "result"),
        ("alg", "none"),
        ("signature", b64encode(b"\0" * 64)),
    ):
        with pytest.raises(SignatureInvalid):
            complaint.verify_key(entry | {name: value}, make.DESK.public)
    other: object
    for other in (None, [], {}, entry | {"more": ""}, entry | {"id": 1}, entry | {"public_key": "AA"}):
        with pytest.raises(Malformed):
            complaint.verify_key(other, make.DESK.public)


def test_the_function_has_the_same_numbers() -> None:
    """What the queue's function repeats is what stands here."""
    source = (Path(__file__).parents[3] / "ops" / "valkey" / "complaints.lua").read_text()
    constants = dict(re.findall(r"^local ([A-Z_]+) = (\d+)", source, re.MULTILINE))
    assert int(constants["BUDGET_BYTES"]) == handoff.COMPLAINTS_BYTES
    assert int(constants["SEALED_BYTES"]) == complaint.SEALED_BYTES
    assert int(constants["BALLOT_BYTES_MAX"]) == ID_CHARS_MAX
    assert f"'{handoff.COMPLAIN}'" in source


def test_nothing_of_a_complaint_shows_in_its_repr() -> None:
    """Text, contact and sealed bytes stay out of logs and tracebacks."""
    assert "secret" not in repr(Complaint("secret", "secret"))
    assert "\\x" not in repr(Lodged(None, SEALED))
