"""The bytes of an answer, by the request's method and version."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from intake.answer import Answer


async def lines_of(
    method: str = "GET",
    version: HttpVersion = HttpVersion11,
    *,
    closes: bool = False,
    last: bool = False,
    whole: bool = True,
) -> list[bytes]:
    """Return the lines of an answer to a request after which the client `closes` or not; the body is last."""
    body_sent = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    if whole:
        body_sent.feed_eof()
    request = make_mocked_request(method, "/", version=version, payload=body_sent)
    request._message = request._message._replace(should_close=closes)
    answer = Answer(b"{}", status=405)
    answer.headers["Allow"] = "GET"
    if last:
        answer.force_close()
    await answer.prepare(request)
    head, _, body = answer.rendered(request).partition(b"\r\n\r\n")
    return [*head.split(b"\r\n"), body]


async def test_an_answer_s_lines() -> None:
    """Status, the headers of all answers, its own, the date, the length, and the body."""
    lines = await lines_of()

    assert lines[0] == b"HTTP/1.1 405 Method Not Allowed"
    assert lines[1:7] == [
        b"Content-Type: application/json",
        b"Cache-Control: no-store",
        b"X-Content-Type-Options: nosniff",
        b"Server: ballot",
        b"Allow: GET",
        lines[6],
    ]
    assert lines[6].startswith(b"Date: ")
    assert lines[7:] == [b"Content-Length: 2", b"{}"]


async def test_head_has_no_body() -> None:
    """The same head, and nothing after it."""
    assert (await lines_of("HEAD"))[7:] == [b"Content-Length: 2", b""]


@pytest.mark.parametrize(
    ("version", "closes", "last", "said"),
    [
        (HttpVersion11, False, False, None),
        (HttpVersion11, True, False, b"Connection: close"),
        (HttpVersion11, False, True, b"Connection: close"),
        (HttpVersion10, True, False, None),
        (HttpVersion10, False, False, b"Connection: keep-alive"),
        (HttpVersion10, False, True, None),
    ],
)
async def test_whether_the_connection_goes_on(
    version: HttpVersion, *, closes: bool, last: bool, said: bytes | None
) -> None:
    """Said only where the version does not say it already; our own wish to end it wins."""
    lines = await lines_of("GET", version, closes=closes, last=last)

    assert [line for line in lines if line.startswith(b"Connection")] == ([] if said is None else [said])


async def test_an_answer_before_the_whole_request_is_the_last() -> None:
    """Whatever came next on that connection would be taken for the rest of the body."""
    assert b"Connection: close" in await lines_of("POST", whole=False)
