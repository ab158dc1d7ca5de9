"""Requests that are nearly good, and some that never were: lines, headers, framings, bodies, splits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from tests.fuzz.ground import MARKER

if TYPE_CHECKING:
    from tests.fuzz.ground import Ground

REQUESTS_MAX: Final = 4
PIECES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Script:
    """What one client sends, in pieces, and whether it then closes its half."""

    pieces: tuple[bytes, ...]
    closes: bool
    heads: bool
    """Whether one of the requests may be a HEAD, whose answer has no body."""


METHODS: Final = (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"G\x00T", b"")
VERSIONS: Final = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.1 ",
    b"http/1.1",
    b"HTTP/11",
    b"",
)
ENDS: Final = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\x0b")
TYPES: Final = (
    b"application/json",
    b"application/json; charset=utf-8",
    b"text/plain",
    b"application/json\x00",
    b"multipart/form-data; boundary=x",
)
FIELDS: Final = (
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Connection: close",
    b"Connection: keep-alive, upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"Host: a\r\nHost: b",
    b"X-Forwarded-For: 198.51.100.1, " + MARKER.encode(),
    b"Transfer-Encoding: gzip",
    b"Trailer: Content-Length",
    b"Cookie: " + b"a=b; " * 1_000,
    b"Range: bytes=0-1",
    b": no name",
    b"no colon",
    b" folded: before",
    b"Name : space",
    b"Null: a\x00b",
    b"Latin: \xe9\xff",
)


def _mostly(good: st.SearchStrategy[bytes], bad: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Good eleven times out of twelve, so that most requests reach what lies behind the parser."""
    return st.integers(0, 11).flatmap(lambda number: bad if number == 11 else good)


def targets(ground: Ground) -> st.SearchStrategy[bytes]:
    """Paths of the API, those of nothing, and what is no path."""
    base = f"/api/v1/ballots/{ground.ballot}"
    good = [base, f"{base}/document", f"{base}/access", f"{base}/votes", f"{base}/votes"]
    good += [
        f"{base}/receipts/0123-4567-89AB-CDEF",
        "/api/v1/keys",
        "/livez",
        "/readyz",
        "/api/v1/openapi.json",
        f"/b/{ground.ballot}",
        f"/b/{ground.ballot}/about?lang=cy",
    ]
    bad = st.one_of(
        st.sampled_from(
            [b"*", b"", b"//", b"http://vote.example/livez", b"vote.example:443", b"/%00", b"/%ff%fe"]
        ),
        st.sampled_from(
            [
                f"{base}/../{MARKER}",
                f"{base}/receipts/{MARKER}",
                f"{base}/votes?{MARKER}",
                f"/b/{MARKER}?lang={MARKER}",
            ]
        ).map(str.encode),
        st.integers(1, 9_000).map(lambda length: b"/" + b"a" * length),
        st.binary(max_size=30).map(lambda tail: b"/" + tail),
    )
    return _mostly(st.sampled_from(good).map(str.encode), bad)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.just(MARKER),
    st.sampled_from(["", "A" * 43, "A" * 42 + "B", "=" * 43, "\x00" * 43, '"', "\\u0000", "\ud7ff"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)


@st.composite
def _changed(draw: st.DrawFn, good: dict[str, str]) -> bytes:
    """A good object with one or two things wrong, or none."""
    value: dict[str, Any] = dict(good)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(good)))
        match draw(st.sampled_from(["value", "missing", "more", "longer", "shorter", "symbol"])):
            case "value":
                value[name] = draw(values)
            case "missing":
                value.pop(name, None)
            case "more":
                value[draw(st.text(max_size=10))] = draw(values)
            case "longer":
                value[name] = good[name] * draw(st.integers(2, 40))
            case "shorter":
                value[name] = good[name][: draw(st.integers(0, len(good[name]) - 1))]
            case _:
                place = draw(st.integers(0, len(good[name]) - 1))
                value[name] = (
                    good[name][:place] + draw(st.characters(codec="utf-8")) + good[name][place + 1 :]
                )
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode()


@st.composite
def _damaged(draw: st.DrawFn, good: dict[str, str]) -> bytes:
    """A good body with its bytes damaged: cut, doubled, overwritten."""
    body = draw(_changed(good))
    place = draw(st.integers(0, len(body)))
    middle = draw(
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from(
                [b'"' + MARKER.encode() + b'":1,', b"\x00", b"1e999", b"[" * 200, b"\xff\xfe", b"\\ud800"]
            ),
        )
    )
    return body[:place] + middle + body[place + draw(st.integers(0, 8)) :]


def bodies(ground: Ground) -> st.SearchStrategy[bytes]:
    """Bodies close to a really sealed vote or a real question, and random ones."""
    close = st.sampled_from([ground.spare, ground.access]).flatmap(
        lambda good: st.one_of(_changed(good), _damaged(good))
    )
    random = st.one_of(
        st.binary(max_size=200),
        values.map(lambda value: json.dumps(value).encode()),
        st.integers(0, 70_000).map(lambda length: b"[" * length),
        st.just(MARKER.encode() * 9_000),
    )
    return _mostly(close, random)


@st.composite
def _framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes]:
    """The framing's header lines, and the body as it goes over the wire."""
    length = len(body)
    match draw(st.sampled_from(["length"] * 8 + ["chunks"] * 4 + ["wrong", "both", "none"])):
        case "length":
            return b"Content-Length: %d" % length, body
        case "chunks":
            return b"Transfer-Encoding: chunked", draw(_chunked(body))
        case "wrong":
            wrong = draw(
                st.sampled_from(
                    [b"%d" % (length + 1), b"%d" % max(0, length - 1), b"-1", b"+5", b"0x10", b"", b" 5 5"]
                )
                | st.sampled_from([b"5, 5", b"5\r\nContent-Length: 6", b"9" * 30, b"1e3", b"\xb2", b"5\x00"])
            )
            return b"Content-Length: " + wrong, body
        case "both":
            order = [b"Content-Length: %d" % length, b"Transfer-Encoding: " + draw(st.sampled_from(CODINGS))]
            return b"\r\n".join(draw(st.permutations(order))), draw(st.sampled_from([body, b"0\r\n\r\n"]))
        case _:
            return b"X-None: 1", body


CODINGS: Final = (
    b"chunked",
    b"Chunked",
    b"xchunked",
    b"chunked, identity",
    b"identity, chunked",
    b"\x0bchunked",
)
SIZES: Final = (
    b"%x",
    b"0x%x",
    b"+%x",
    b"-%x",
    b"%x;ext=" + MARKER.encode(),
    b"%x ",
    b"00000000000000000%x",
    b"f%015x",
)


@st.composite
def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in a few chunks, of which one may be spoilt."""
    size = max(1, len(body) // draw(st.integers(1, 4)))
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    form = draw(st.sampled_from((b"%x",) * 8 + SIZES))
    end = draw(st.sampled_from((b"\r\n",) * 6 + ENDS))
    sent = b"".join((form % len(chunk)) + b"\r\n" + chunk + end for chunk in chunks)
    last = draw(st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\n", b"", b"0\n\n"]))
    return sent + last


@st.composite
def _request(draw: st.DrawFn, ground: Ground) -> bytes:
    """One request."""
    target = draw(targets(ground))
    posts = target.endswith((b"/votes", b"/access"))
    method = draw(
        _mostly(st.just(b"POST" if posts else b"GET"), st.sampled_from(METHODS) | st.binary(max_size=12))
    )
    version = draw(_mostly(st.just(b"HTTP/1.1"), st.sampled_from(VERSIONS)))
    lines = [b" ".join((method, target, version)), b"Host: vote.example"]
    body = b""
    if posts or draw(st.integers(0, 5)) == 5:
        framing, body = draw(_framed(draw(bodies(ground))))
        lines += [b"Content-Type: " + draw(_mostly(st.just(TYPES[0]), st.sampled_from(TYPES))), framing]
    lines += draw(st.lists(st.sampled_from(FIELDS), max_size=2)) if draw(st.integers(0, 3)) == 3 else []
    if draw(st.integers(0, 20)) == 20:
        lines += [b"X-%d: y" % number for number in range(draw(st.integers(60, 300)))]
    end = draw(_mostly(st.just(b"\r\n"), st.sampled_from(ENDS)))
    return end.join(lines) + end + end + body


@st.composite
def scripts(draw: st.DrawFn, ground: Ground) -> Script:
    """One connection's worth of requests, cut at any places, or bytes of another protocol."""
    sent = b"".join(draw(st.lists(_request(ground), min_size=1, max_size=REQUESTS_MAX)))
    if draw(st.integers(0, 15)) == 15:
        others = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\r\n\r\n\x00\r\nQUIT\n",
        ]
        sent = draw(st.binary(max_size=300) | st.sampled_from(others)) + sent[: draw(st.integers(0, 50))]
    if draw(st.integers(0, 9)) == 9:
        sent = sent[: draw(st.integers(0, len(sent)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=PIECES_MAX - 1)))
    ends = [0, *cuts, len(sent)]
    pieces = tuple(sent[start:stop] for start, stop in pairwise(ends))
    return Script(pieces, closes=draw(st.integers(0, 30)) != 30, heads=b"HEAD" in sent)
