"""Sealed votes: what is written is read, anything else gets one sentence, no vote verifies elsewhere."""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import limits, sealing, vote
from ballot.code import Code
from ballot.encoding import Malformed, b64decode, b64encode
from ballot.rejection import Rejected, Rejection
from ballot.suite import SEAL_OVERHEAD_BYTES, SUITE
from tests.vectors import make

DEFINITION = make.DEFINITION
SIZE = DEFINITION.padded_size
SEALED = SEAL_OVERHEAD_BYTES + SIZE
KEY = make.code("voter 1").signing_key(DEFINITION.id)
CAST = sealing.seal(make.DOCUMENT, KEY, {"strike": ["yes"]}, random=os.urandom)

Change = Callable[[dict[str, Any]], object]


def fields() -> dict[str, Any]:
    """The request of CAST as a dictionary to spoil."""
    value = orjson.loads(CAST.to_json())
    assert isinstance(value, dict)
    return value


def rejected(body: bytes) -> Rejected:
    """How `body` is turned away."""
    with pytest.raises(Rejected) as caught:
        vote.parse(body, padded_size=SIZE)
    return caught.value


def verify(cast: vote.CastVote, **changes: Any) -> None:
    """Verify `cast` on its ballot, with some fields changed."""
    given_fields = {
        "ballot_id": DEFINITION.id,
        "definition_sha256": DEFINITION.sha256,
        "credential": cast.credential,
        "nonce": cast.nonce,
        "sealed": cast.sealed,
        "signature": cast.signature,
    }
    vote.verify(**(given_fields | changes))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.data())
def test_what_is_written_is_read(credential: bytes, nonce: bytes, data: st.DataObject) -> None:
    """Every vote of the one shape survives its request."""
    sealed = data.draw(st.binary(min_size=1, max_size=8)) * (SEAL_OVERHEAD_BYTES + SIZE)
    cast = vote.CastVote(credential, SUITE, nonce, sealed[: SEAL_OVERHEAD_BYTES + SIZE], bytes(64))

    read = vote.parse(cast.to_json(), padded_size=SIZE)

    assert read == cast
    assert (read.identity, read.sealed_sha256) == (cast.identity, cast.sealed_sha256)


def read(how: Callable[[], vote.CastVote | None]) -> tuple[object, ...] | None:
    """What `how` reads: the vote with its digests, or nothing."""
    try:
        cast = how()
    except Rejected:
        return None
    return None if cast is None else (cast, cast.identity, cast.sealed_sha256, cast.credential_sha256)


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([1, 2, 64, 127, 128]),
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(b'AQgwBE=+/-_ "\\\n\0\xff{'), st.booleans()), max_size=2
    ),
)
@settings(max_examples=300, deadline=None)
def test_the_short_way_reads_what_the_long_way_reads(
    random: Random, size: int, spoilt: list[tuple[float, int, bool]]
) -> None:
    """Good or spoilt in a place or two, a body in the usual form is the same vote both ways, or none."""
    draw = random.randbytes
    sealed_bytes = SEAL_OVERHEAD_BYTES + size
    body = bytearray(vote.CastVote(draw(32), SUITE, draw(16), draw(sealed_bytes), draw(64)).to_json())
    ends = [at for at, symbol in enumerate(body) if symbol == ord('"')]
    for where, symbol, instead in spoilt:
        # Half of them just before a quote: the last symbol of a value is where bits are loose.
        at = int(where * (len(body) - 1)) if random.random() < 0.5 else random.choice(ends) - 1
        body[at : at + instead] = bytes([symbol])

    long = read(lambda: vote._any_form(bytes(body), sealed_bytes))
    short = read(lambda: vote._usual(bytes(body), vote._layout(sealed_bytes)))

    assert short in (None, long)
    if not spoilt:
        assert short == long is not None


@pytest.mark.parametrize("left_over", [0, 1, 2])
def test_no_single_change_makes_the_short_way_differ(left_over: int) -> None:
    """Each byte left out, replaced or joined by another: read as the long way reads it, or refused."""
    size = next(size for size in range(1, 4) if (SEAL_OVERHEAD_BYTES + size) % 3 == left_over)
    sealed_bytes = SEAL_OVERHEAD_BYTES + size
    sealed = Random(left_over).randbytes(sealed_bytes)
    good = vote.CastVote(KEY.public, SUITE, b"n" * 16, sealed, b"s" * 64).to_json()
    layout = vote._layout(sealed_bytes)

    for at in range(len(good) + 1):
        for put in (b"", b"=", b"A", b"-", b"+", b'"', b"\\", b"\0", b"\xff"):
            for taken in (0, 1):
                body = good[:at] + put + good[at + taken :]
                short = read(lambda body=body: vote._usual(body, layout))  # type: ignore[misc]
                if short is not None:
                    assert short == read(lambda body=body: vote._any_form(body, sealed_bytes))  # type: ignore[misc]
                elif len(body) == len(good):
                    read(lambda body=body: vote.parse(body, padded_size=size))  # type: ignore[misc]


@pytest.mark.parametrize("size", range(1, 4))
@pytest.mark.parametrize("padding", [b"=", b"==", b"==="])
def test_padding_in_place_of_symbols_is_malformed(size: int, padding: bytes) -> None:
    """Also where whole groups of four would decode, to fewer bytes than the value has."""
    sealed = bytes(SEAL_OVERHEAD_BYTES + size)
    body = vote.CastVote(KEY.public, SUITE, b"n" * 16, sealed, b"s" * 64).to_json()
    end = body.index(b'","signature"')

    with pytest.raises(Rejected) as caught:
        vote.parse(body[: end - len(padding)] + padding + body[end:], padded_size=size)

    assert caught.value.detail == 'The field "sealed" is not canonical base64url without padding.'


def test_every_vote_of_a_ballot_has_one_length() -> None:
    """Blank or full, requests are equally long, and the answer opens padded."""
    choices: list[dict[str, list[str]]] = [
        {},
        {"strike": ["no"]},
        {"strike": ["yes"], "short-of-strike": ["yes"]},
    ]
    bodies = [sealing.seal(make.DOCUMENT, KEY, choice, random=os.urandom).to_json() for choice in choices]

    assert len({len(body) for body in bodies}) == 1


def test_seal_opens_to_the_answers() -> None:
    """The tally's side of the vector reads what was sealed, with the info that binds it."""
    info = sealing.hpke_info(DEFINITION.id, DEFINITION.sha256, sealing.bind(CAST.nonce, CAST.credential))

    opened = make.open_sealed(CAST.sealed, info)

    assert opened.rstrip(b"\x00") == b'{"v":1,"answers":{"strike":["yes"],"short-of-strike":[]}}'
    assert len(opened) == SIZE


def test_vote_does_not_open_under_another_credential() -> None:
    """A ciphertext copied under another voter's credential does not open."""
    other = make.code("voter 2").credential(DEFINITION.id)
    info = sealing.hpke_info(DEFINITION.id, DEFINITION.sha256, sealing.bind(CAST.nonce, other))

    with pytest.raises(InvalidTag):
        make.open_sealed(CAST.sealed, info)


def drop(name: str) -> Change:
    """Leave out a field."""
    return lambda value: value.pop(name)


def put(name: str, content: object) -> Change:
    """Set a field."""
    return lambda value: value.update({name: content})


BAD: dict[str, tuple[Change, str]] = {
    "field missing": (drop("nonce"), 'The field "nonce" is missing.'),
    "field too many": (
        put("answers", "x"),
        "A vote has only the fields credential, suite, nonce, sealed, signature.",
    ),
    "number": (put("nonce", 5), 'The field "nonce" must be text.'),
    "null": (put("sealed", None), 'The field "sealed" must be text.'),
    "list": (put("credential", ["x"]), 'The field "credential" must be text.'),
    "quote": (put("nonce", 'a"b'), 'The field "nonce" holds a character that it never has.'),
    "other suite": (put("suite", "rot13"), "This ballot does not take votes sealed with that suite."),
    "padding": (
        put("nonce", "A" * 22 + "=="),
        'The field "nonce" is not canonical base64url without padding.',
    ),
    "unused bits": (
        put("nonce", "A" * 21 + "B"),
        'The field "nonce" is not canonical base64url without padding.',
    ),
    "standard alphabet": (
        put("credential", "+/" * 21 + "A"),
        'The field "credential" is not canonical base64url without padding.',
    ),
    "short credential": (put("credential", "AAAA"), 'The field "credential" must be 32 bytes, not 3.'),
    "long signature": (
        put("signature", b64encode(bytes(65))),
        'The field "signature" must be 64 bytes, not 65.',
    ),
    "short sealed": (
        put("sealed", b64encode(CAST.sealed[:-1])),
        f'The field "sealed" must be {SEALED} bytes, not {SEALED - 1}.',
    ),
    "empty sealed": (
        put("sealed", ""),
        f'The field "sealed" must be {SEALED} bytes, not 0.',
    ),
    "deep": (put("nonce", [[[[[[[[[1]]]]]]]]]), "This JSON is nested too deeply: at most 8 levels are read."),
}


@pytest.mark.parametrize(("change", "sentence"), BAD.values(), ids=BAD.keys())
def test_each_bad_field_gets_its_sentence(change: Change, sentence: str) -> None:
    """Wrong names, types, base64, lengths and suites are each told plainly."""
    value = fields()
    change(value)

    caught = rejected(orjson.dumps(value))

    assert (caught.rejection, caught.detail) == (Rejection.MALFORMED, sentence)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "This is not JSON."),
        (b"vote=yes", "This is not JSON."),
        (b"\xff\xfe", "This is not JSON."),
        (b'{"credential":' * 3000, "This is not JSON."),
        (b"[1]", "This is JSON, but not an object."),
        (b'"text"', "This is JSON, but not an object."),
        (b"{}", 'The field "credential" is missing.'),
    ],
)
def test_each_bad_body_gets_its_sentence(body: bytes, sentence: str) -> None:
    """What is not a JSON object at all is told plainly."""
    caught = rejected(body)

    assert (caught.rejection, caught.detail) == (Rejection.MALFORMED, sentence)


@pytest.mark.parametrize(
    "extra",
    [b'"nonce":"x",', b'"nonce":1,', b'"\\u006eonce":"x",', b'"suite":{"a":1},'],
    ids=["text", "number", "escaped", "object"],
)
def test_a_field_given_twice_is_refused(extra: bytes) -> None:
    """A repeated name could be read differently by another reader, so it is refused however it is spelt."""
    caught = rejected(b"{" + extra + CAST.to_json()[1:])

    assert caught.detail == "A vote has each field only once."


def test_too_large_is_its_own_reason() -> None:
    """A body over the limit is not even parsed."""
    assert rejected(b" " * (limits.REQUEST_BYTES_MAX + 1)).rejection is Rejection.TOO_LARGE


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(orjson.dumps))
def test_no_body_crashes(body: bytes) -> None:
    """Any bytes are a vote or a Rejected."""
    with pytest.raises(Rejected):
        vote.parse(body, padded_size=SIZE)
    with pytest.raises(Rejected):
        vote.parse_access(body)


@given(st.sampled_from(["credential", "nonce", "sealed", "signature"]), st.text(max_size=60))
def test_no_sentence_repeats_a_value(name: str, secret: str) -> None:
    """What was sent in a field never comes back in the message."""
    value = fields() | {name: "zq7" + secret + "zq7"}

    assert "zq7" not in rejected(orjson.dumps(value)).detail


def test_access_reads_a_digest() -> None:
    """The digest comes back as bytes; upper case, other lengths and other fields do not."""
    digest = CAST.credential_sha256

    assert vote.parse_access(orjson.dumps({"credential_sha256": digest.hex()})) == digest
    for bad in (
        {"credential_sha256": digest.hex().upper()},
        {"credential_sha256": digest.hex()[:-2]},
        {"credential_sha256": 7},
        {"credential": b64encode(CAST.credential)},
        {"credential_sha256": digest.hex(), "code": "x"},
    ):
        with pytest.raises(Rejected) as caught:
            vote.parse_access(orjson.dumps(bad))
        assert caught.value.rejection is Rejection.MALFORMED


def test_vote_verifies_here_and_nowhere_else() -> None:
    """Another ballot, definition, credential, nonce, sealed vote or signature does not verify."""
    verify(CAST)
    other = make.code("voter 2").credential(DEFINITION.id)
    changes: list[dict[str, Any]] = [
        {"ballot_id": "another-ballot"},
        {"definition_sha256": bytes(32)},
        {"credential": other},
        {"nonce": bytes(16)},
        {"sealed": CAST.sealed[:-1] + bytes([CAST.sealed[-1] ^ 1])},
        {"signature": CAST.signature[:-1] + bytes([CAST.signature[-1] ^ 1])},
        {"signature": b""},
        {"credential": b""},
    ]
    for change in changes:
        with pytest.raises(Rejected) as caught:
            verify(CAST, **change)
        assert caught.value.rejection is Rejection.BAD_SIGNATURE


@given(st.integers(0, 511))
@settings(max_examples=60, deadline=None)
def test_every_flipped_bit_of_a_signature_is_caught(bit: int) -> None:
    """No second signature over the same vote is a bit away."""
    flipped = bytearray(CAST.signature)
    flipped[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Rejected):
        verify(CAST, signature=bytes(flipped))


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"lockout": ["yes"]}, "a question that is not on this ballot"),
        ({"strike": ["perhaps"]}, "an option that is not on this ballot"),
        ({"strike": ["yes", "no"]}, "more options than the 1 allowed"),
        ({"strike": ["yes", "yes"]}, "an option twice"),
        ({"strike": "yes"}, "an option that is not on this ballot"),
    ],
)
def test_an_honest_client_cannot_spoil_by_mistake(answers: dict[str, list[str]], sentence: str) -> None:
    """Answers that would be spoilt are refused before sealing."""
    with pytest.raises(Malformed, match=sentence):
        sealing.answers_plaintext(DEFINITION, answers)


def test_a_hostile_client_can_seal_anything_that_fits() -> None:
    """Tests can send any plaintext, but never one that betrays itself by its length."""
    cast = sealing.seal_plaintext(make.DOCUMENT, KEY, b"not answers", random=os.urandom)

    verify(cast)
    with pytest.raises(Malformed, match="longer than any legal answer"):
        sealing.seal_plaintext(make.DOCUMENT, KEY, bytes(SIZE + 1), random=os.urandom)


def test_votes_do_not_print_what_they_hold() -> None:
    """Logging a vote by accident shows none of its bytes."""
    assert repr(CAST) == f"CastVote(suite={SUITE!r})"


def test_codes_seal_for_their_own_ballot() -> None:
    """A vote signed with the key of another ballot does not verify here."""
    stray = Code.parse("0123456789ABCDEFGHJ4").signing_key("another-ballot")
    cast = sealing.seal(make.DOCUMENT, stray, {}, random=os.urandom)

    verify(cast)  # its own credential signed it; only the register knows that it was never issued here
    with pytest.raises(Rejected):
        verify(cast, credential=Code.parse("0123456789ABCDEFGHJ4").credential(DEFINITION.id))
    assert b64decode(orjson.loads(cast.to_json())["credential"]) == stray.public
