"""Encodings: exactly one spelling of each value is accepted."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.encoding import (
    Malformed,
    b64decode,
    b64encode,
    canonical_json,
    canonical_object,
    format_time,
    hex_decode,
    parse_time,
    strict_json,
)

URL_TEXT = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \n\u00e9", max_size=12
)


@given(st.binary(max_size=100))
def test_base64_reads_back(data: bytes) -> None:
    """Whatever is written is read, and has no padding."""
    text = b64encode(data)

    assert b64decode(text, length=len(data)) == data
    assert "=" not in text


@given(URL_TEXT)
def test_base64_has_one_spelling(text: str) -> None:
    """A text is accepted only if it is the one that encoding its bytes gives."""
    try:
        data = b64decode(text)
    except Malformed:
        return

    assert base64.urlsafe_b64encode(data).decode().rstrip("=") == text


@pytest.mark.parametrize("text", ["AA==", "AB", "A", "+/+/", "AA AA", "AAAA\n", "\u00e9\u00e9\u00e9\u00e9"])
def test_other_base64_is_refused(text: str) -> None:
    """Padding, unused bits, lost symbols, the other alphabet, spaces and other letters are all refused."""
    with pytest.raises(Malformed, match="canonical base64url"):
        b64decode(text)


def test_wrong_length_is_named() -> None:
    """The lengths are said; the value is not."""
    with pytest.raises(Malformed, match="must be 32 bytes in base64url, not 3"):
        b64decode("AAAA", length=32)


@pytest.mark.parametrize("text", ["ABCD", "abc", "abcde", "zzzz", "ab\nd"])
def test_other_hex_is_refused(text: str) -> None:
    """Only lower-case hexadecimal of the one length is read."""
    with pytest.raises(Malformed, match="4 lower-case"):
        hex_decode(text, length=2)


@given(st.integers(946_684_800_000_000, 4_102_444_800_000_000))
def test_time_reads_back(us: int) -> None:
    """Six decimals keep a time to the microsecond; none keeps it to the second, rounded down."""
    assert parse_time(format_time(us, decimals=6)) == us
    assert parse_time(format_time(us)) == us // 1_000_000 * 1_000_000


def test_time_shapes() -> None:
    """Offsets are applied, and the two forms look as published."""
    assert parse_time("2025-07-01T09:00:00+01:00") == parse_time("2025-07-01T08:00:00Z")
    assert parse_time("2025-07-01t08:00:00.5z") == parse_time("2025-07-01T08:00:00.500000Z")
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(1, decimals=6) == "1970-01-01T00:00:00.000001Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-07-01",
        "2025-07-01T09:00:00",
        "2025-13-01T09:00:00Z",
        "2025-07-01T25:00:00Z",
        "2025-07-01 09:00:00Z",
        "2025-07-01T09:00:00.1234567Z",
        "2025-07-01T09:00:00Z\n",
        "2025-07-01T09:00:00+99:00",
        "\u0662025-07-01T09:00:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """A time without an offset, out of the calendar or in another form is refused."""
    with pytest.raises(Malformed, match="not a time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b"[]", "not an object"),
        (b"1", "not an object"),
        (b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", "nested too deeply"),
        (b'{"a":' + b'{"a":' * 100_000, "too long"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "JSON"),
        (b" " * 20_000 + b"{}", "too long"),
    ],
    ids=["empty", "cut", "bytes", "nan", "surrogate", "list", "number", "deep", "bomb", "deeper", "long"],
)
def test_bad_json_gets_one_sentence(data: bytes, sentence: str) -> None:
    """JSON that is not JSON, not an object, too deep or too long is told apart."""
    with pytest.raises(Malformed, match=sentence):
        strict_json(data, bytes_max=16_000)


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":1}\n']
)
def test_only_canonical_json_is_canonical(data: bytes) -> None:
    """Another order, a space, a name given twice or another number form is not canonical."""
    with pytest.raises(Malformed, match="canonical form"):
        canonical_object(data, bytes_max=100)


def test_canonical_json_refuses_what_json_cannot_hold() -> None:
    """Numbers beyond 2^53, infinities and foreign objects have no canonical form."""
    for value in (2**60, float("inf"), {1: 2}, b"x", "\ud800"):
        with pytest.raises(Malformed, match="no canonical JSON form"):
            canonical_json(value)
