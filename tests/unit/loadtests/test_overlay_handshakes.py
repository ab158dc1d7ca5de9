"""The flood of new TLS connections is understood and answered as an honest client is."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtests.overlays import bare_tls
from loadtests.overlays.handshakes import HELLO, RATE, REQUEST, Flood
from loadtests.overlays.terms import Context
from loadtests.overlays.wire import Target
from loadtests.overlays.work import Work
from loadtests.published import scenario
from loadtests.voting.door import verifying
from tests.certificates import Issued, issue

BODY = b"x" * 100_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
SOURCE = "127.9.1.2"
FLOODED = 40


@asynccontextmanager
async def edge(issued: Issued, answer: bytes = ANSWER) -> AsyncIterator[Target]:
    """Answers one request with that and ends; who says nothing is waited for."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.certificate, issued.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=FLOODED)
    async with server:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1], verifying(issued.authority))


@pytest.mark.parametrize(
    ("answer", "status", "length"),
    [
        (ANSWER, 200, len(BODY)),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 503, 0),
        (ANSWER[:500], 0, 0),
        (b"", 0, 0),
        (b"no HTTP at all\r\n\r\n", 0, 0),
    ],
    ids=["whole", "refused", "torn", "closed", "nonsense"],
)
async def test_a_request_on_a_new_connection_is_answered(
    tmp_path: Path, answer: bytes, status: int, length: int
) -> None:
    """The whole answer is read; what is broken off or no answer is none, and never waits for more."""
    async with edge(issue(tmp_path), answer) as target:
        page = target.request("GET", "/")
        reply = await bare_tls.once(target, page, source=SOURCE, tls=bare_tls.careless())
    assert (reply.status, len(reply.body), reply.sent) == (status, length, True)


async def test_a_flood_says_hello_and_asks(tmp_path: Path) -> None:
    """Half of it stops after its first words, and is answered; half gets its page."""
    async with edge(issue(tmp_path)) as target:
        context = Context(target.url, "b", tmp_path, tmp_path, 1, 1.0, knobs={"hold_seconds": 0.5})
        knobs = frozenset({"addresses", "hold_seconds"})
        work = Work("handshakes", context, knobs=knobs)
        assert target.tls is not None
        flood = Flood(work, target, target.tls)
        await asyncio.gather(*(flood.one(number) for number in range(FLOODED)))
    assert work.got == Counter({f"{HELLO} answered, left": FLOODED // 2, f"{REQUEST} 200": FLOODED // 2})


def test_the_siege_asks_for_a_flood_that_two_cores_can_begin() -> None:
    """Whoever reads the scenario sees the dose, and beside it the one of which it is a part."""
    siege = "close-of-poll-siege"
    for variant in scenario.variants(siege):
        overlays = scenario.load(f"{siege}:{variant}").overlays
        (handshakes,) = [call for call in overlays if call.name == "handshakes"]
        assert 0 < float(handshakes.parameters["rate"]) < RATE
    assert f"{RATE:,.0f}" in Path(scenario.load(siege).file).read_text(encoding="utf-8")
