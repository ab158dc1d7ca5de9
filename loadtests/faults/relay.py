"""Small TCP relays between any two parts, which can delay, hold, swallow, reset and refuse.

They run on a loop of their own in a thread; every relay begins, and ends, as if it were not there.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

CHUNK = 65_536
CONNECT_SECONDS_MAX = 5.0
CALL_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 2_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
Address = tuple[str, int]


class _Pair:
    """One connection through a relay; `torn` once bytes of it were lost, so that it must not go on."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.ends = (near, far)
        self.torn = False

    def reset(self) -> None:
        """End it at once, as when a machine on the way forgets the connection."""
        for end in self.ends:
            _reset(end)


class Relay:
    """One link. Everything here but `port` is called on the relays' loop."""

    def __init__(self, target: Callable[[], Address]) -> None:
        self._target = target
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._swallows: frozenset[int] = frozenset()
        self.delay_s = 0.0
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def end(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        await self.reset(1.0, 0.0)
        for task in self._tasks.copy():
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def slow(self, delay_s: float) -> None:
        """Let every message be late by so much from here on."""
        self.delay_s = delay_s

    async def hold(self) -> None:
        """Let nothing pass, and lose nothing."""
        self._flows.clear()

    async def swallow(self, *, both: bool) -> None:
        """Lose what is answered from here on, with `both` also what is asked; say nothing to anybody."""
        self._swallows = frozenset({0, 1} if both else {1})

    async def reset(self, share: float, choice: float) -> None:
        """Reset that share of the connections, at least one; `choice` draws which."""
        pairs = list(self._pairs)
        count = min(len(pairs), max(1, round(share * len(pairs))))
        for pair in random.Random(choice).sample(pairs, count):
            pair.reset()

    async def calm(self) -> None:
        """Let everything pass again; connections that lost bytes are ended."""
        self.delay_s, self._swallows = 0.0, frozenset()
        self._flows.set()
        for pair in self._pairs.copy():
            if pair.torn:
                pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS_MAX:
            _reset(writer)
            return
        self._tasks.add(task)
        try:
            with suppress(OSError, TimeoutError, asyncio.CancelledError):  # cancelled by `end` only
                await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)
            _reset(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways, until either side is done; who cannot be reached is a reset for who asked."""
        host, port = self._target()
        await self._flows.wait()
        connecting = asyncio.open_connection(host, port, limit=CHUNK)
        far_reader, far_writer = await asyncio.wait_for(connecting, CONNECT_SECONDS_MAX)
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        ways = [
            asyncio.ensure_future(self._pass_on(0, pair, reader, far_writer)),
            asyncio.ensure_future(self._pass_on(1, pair, far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.ALL_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pass_on(
        self, way: int, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Everything that comes one way; its end is passed on too."""
        try:
            while data := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                if way in self._swallows:
                    pair.torn = True
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pair.reset()
            return
        with suppress(OSError):
            writer.close()


class Relays:
    """The loop that relays run on, in a thread; a context manager. Calls come from any one other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._relays: dict[str, Relay] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        for relay in self._relays.values():
            with suppress(TimeoutError):
                self._call(relay.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS_MAX)

    def add(self, name: str, target: Callable[[], Address]) -> int:
        """Make the relay `name` to wherever `target` says when somebody connects; the port it listens on."""
        relay = Relay(target)
        self._call(relay.start())
        self._relays[name] = relay
        return relay.port

    def slow(self, name: str, delay_s: float) -> None:
        """As `Relay.slow`."""
        self._call(self._relays[name].slow(delay_s))

    def hold(self, name: str) -> None:
        """As `Relay.hold`."""
        self._call(self._relays[name].hold())

    def swallow(self, name: str, *, both: bool) -> None:
        """As `Relay.swallow`."""
        self._call(self._relays[name].swallow(both=both))

    def reset(self, name: str, *, share: float, choice: float) -> None:
        """As `Relay.reset`."""
        self._call(self._relays[name].reset(share, choice))

    def calm(self) -> None:
        """Let everything pass everywhere."""
        for relay in self._relays.values():
            self._call(relay.calm())

    def _call(self, doing: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(CALL_SECONDS_MAX)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
