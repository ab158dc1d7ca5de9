"""A TCP relay between edge and queue that cuts, delays or swallows the queue's replies.

What the edge sends always arrives: a reply that is lost here was given, so its command was carried out.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Loss = Literal["nothing", "swallow", "cut"]
LOSSES: tuple[Loss, ...] = ("cut", "swallow")
CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """One relay; what is done holds for every connection at once, `delay_s` for every reply that passes."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._open: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loss: Loss = "nothing"
        self._spared = 0
        self.delay_s = 0.0
        self.port = 0

    def lose(self, loss: Loss, *, after: int = 0) -> None:
        """From here on lose replies in that way, but for the next `after` of them."""
        self._loss, self._spared = loss, after

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):  # cancelled by `end` only
                queue_reader, queue_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
                self._open.add(queue_writer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._requests(reader, queue_writer))
                    both.create_task(self._replies(queue_reader, writer))
        finally:
            self._relays.discard(task)
            self._open.discard(writer)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self._loss == "nothing" or self._spared:
                    self._spared -= self._loss != "nothing"
                    writer.write(data)
                    await writer.drain()
                elif self._loss == "cut":
                    _reset(writer)
        writer.close()

    def cut(self) -> None:
        """Reset every connection that is open."""
        for writer in self._open.copy():
            _reset(writer)

    async def end(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._relays.copy():
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with a reset, as when a machine on the way forgets the connection."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(to_port: int) -> AsyncIterator[CuttingProxy]:
    """A relay to that port of loopback while the block runs."""
    proxy = CuttingProxy(to_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.end()
