"""Real connections to a server of this process, on both event loops: how many, and how they end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import uvloop

from intake import replies
from intake.answer import Answer
from intake.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from ballot.rejection import Rejected
    from intake.request import Request

    Run = Callable[[Coroutine[None, None, None]], None]

LIVE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
ROOM = 16
both = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Request] = []
        self.arrived = asyncio.Event()
        self.at_once = True

    def admit(self, request: Request) -> bool:
        """Take what needs no body."""
        self.handle(request)
        return False

    def handle(self, request: Request) -> None:
        """Answer, or wait."""
        self.waiting.append(request)
        self.arrived.set()
        if self.at_once:
            self.finish()

    def refuse(self, rejected: Rejected, _request: Request | None) -> Answer:
        """Return the one form."""
        return replies.refusal(rejected)

    def finish(self) -> None:
        """Answer what waits."""
        self.waiting.pop().reply(Answer(b"{}"))


@asynccontextmanager
async def served(application: Slow) -> AsyncIterator[tuple[Server, int]]:
    """Listen on a free port until the block ends."""
    server = Server(application, head_s=5.0, body_s=5.0, connections_max=ROOM)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        await server.listen(listening)
        try:
            yield server, listening.getsockname()[1]
        finally:
            await server.stop(1.0)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask and return the answer."""
    writer.write(LIVE)
    return await reader.readuntil(b"{}")


@both
def test_a_flood_of_idle_connections_makes_room(run: Run) -> None:
    """Whoever comes when all places are taken gets that of the one longest without an answer."""

    async def body() -> None:
        async with served(Slow()) as (_, port), asyncio.timeout(10):
            first = await asyncio.open_connection("127.0.0.1", port)
            await asked(*first)
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(ROOM - 1)]
            await asked(*first)
            late = [await asyncio.open_connection("127.0.0.1", port) for _ in range(ROOM // 2)]
            for each in late:
                assert (await asked(*each)).startswith(b"HTTP/1.1 200 ")
            assert (await asked(*first)).startswith(b"HTTP/1.1 200 ")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asked(*idle[0])
            for _, writer in [first, *idle, *late]:
                writer.close()

    run(body())


@both
def test_a_client_that_shuts_its_side_first_is_answered(run: Run) -> None:
    """Also when the answer takes its time."""

    async def body() -> None:
        application = Slow()
        application.at_once = False
        async with served(application) as (_, port), asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(LIVE)
            writer.write_eof()
            await application.arrived.wait()
            await asyncio.sleep(0.05)  # the end of what it sends has arrived by then, or comes a little later
            application.finish()
            assert (await reader.read()).endswith(b"{}")
            writer.close()

    run(body())


@both
def test_stopping_resets_nobody(run: Run) -> None:
    """An idle client sees the end, one that waits its answer and then the end; nobody new gets in."""

    async def body() -> None:
        application = Slow()
        async with served(application) as (server, port), asyncio.timeout(10):
            idle = await asyncio.open_connection("127.0.0.1", port)
            await asked(*idle)
            application.at_once = False
            application.arrived.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(LIVE)
            await application.arrived.wait()

            stopping = asyncio.create_task(server.stop(5.0))
            assert await idle[0].read() == b""
            assert not stopping.done()
            application.finish()
            answer = await reader.read()
            for each in (idle[1], writer):
                each.close()
            await stopping

            assert b"\r\nConnection: close\r\n" in answer
            assert answer.endswith(b"{}")

    run(body())
