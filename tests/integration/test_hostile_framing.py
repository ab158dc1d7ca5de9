"""Requests whose end can be read in two ways: one refusal, the connection ends, nothing hidden is heard."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Stack


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process."""
    with edge(stack.env, settings={"BALLOT_HEAD_SECONDS": "1", "BALLOT_BODY_SECONDS": "1"}) as running:
        yield running


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, edges: EdgeProcess) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""

    async def served() -> bool:
        async with (
            aiohttp.ClientSession(edges.url) as web,
            web.get("/readyz") as ready,
            web.get(found.path("document")) as document,
        ):
            return ready.status == 200 and document.status == 200

    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        await found.publish()
        await until(served)
        yield found


async def said(edges: EdgeProcess, sent: bytes) -> list[int]:
    """Send bytes, close our half, and return the statuses of the answers until the edge closes."""
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    writer.write_eof()
    answers = b""
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            answers = await reader.read()
    writer.close()
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


HIDDEN_IN_BODY = {
    # framing lines, and what stands before the hidden request
    "both, length first": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "both, chunked first": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 0", b"{}"),
    "a list of lengths": (b"Content-Length: 2, 2", b"{}"),
    "a signed length": (b"Content-Length: +2", b"{}"),
    "a negative length": (b"Content-Length: -2", b"{}"),
    "a length in another base": (b"Content-Length: 0x2", b"{}"),
    "a length with an underscore": (b"Content-Length: 1_0", b"{}"),
    "a length of other digits": ("Content-Length: \u0662".encode(), b"{}"),
    "a length of spaces": (b"Content-Length: 2 2", b"{}"),
    "a space before the colon": (b"Content-Length : 2", b"{}"),
    "a folded length": (b"Content-Length:\r\n 2", b"{}"),
    "a misspelt coding": (b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    "another coding after": (b"Transfer-Encoding: chunked, identity", b"0\r\n\r\n"),
    "another coding before": (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "a control before the coding": (b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"),
    "two codings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"0\r\n\r\n"),
    "a zero byte in a name": (b"Content-Length\x00: 2", b"{}"),
    "a bare line end": (b"X: y\nContent-Length: 2", b"{}"),
    "a signed chunk": (b"Transfer-Encoding: chunked", b"+0\r\n\r\n"),
    "a chunk in another base": (b"Transfer-Encoding: chunked", b"0x0\r\n\r\n"),
    "a chunk without its end": (b"Transfer-Encoding: chunked", b"2\r\n{}0\r\n\r\n"),
    "a chunk beyond all bounds": (b"Transfer-Encoding: chunked", b"fffffffffffffffff\r\n{}"),
    "a chunk that wraps round": (b"Transfer-Encoding: chunked", b"10000000000000000\r\n\r\n"),
    "chunks ended by line feeds": (b"Transfer-Encoding: chunked", b"0\n\n"),
}


@pytest.mark.parametrize("name", HIDDEN_IN_BODY)
async def test_what_ends_in_two_ways_hides_nothing(edges: EdgeProcess, poll: Booth, name: str) -> None:
    """At most one answer, a refusal; the vote behind it is not cast, and can still be."""
    framing, before = HIDDEN_IN_BODY[name]
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document).to_json()
    head = f"POST {poll.path('votes')} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n".encode()
    hidden = head + b"Content-Length: %d\r\n\r\n" % len(vote) + vote

    statuses = await said(edges, head + framing + b"\r\n\r\n" + before + hidden)

    assert statuses in ([400], [411], [413])
    assert not await poll.stored()
    assert await said(edges, hidden) == [201]


async def test_pipelined_requests_are_answered_in_order(edges: EdgeProcess, poll: Booth) -> None:
    """Votes between reads, all in one packet, the sender's half closed: all answers, in their order."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document).to_json()
    head = f"POST {poll.path('votes')} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n".encode()
    cast = head + b"Content-Length: %d\r\n\r\n" % len(vote) + vote
    live, none = (f"GET {path} HTTP/1.1\r\nHost: vote\r\n\r\n".encode() for path in ("/livez", "/none"))

    assert await said(edges, live + cast + none + cast) == [200, 201, 404, 200]
