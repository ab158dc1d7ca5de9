"""A relay between browser and edge that keeps every byte of both directions, and makes the weather.

It reads whole requests and answers, so that a fault can be aimed at one request; what it keeps are the bytes
as they came from either side's socket. It has a thread of its own: the tests' belongs to the browser.
"""

import asyncio
import re
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from tests.browser.weather import Link, Weather

T = TypeVar("T")
Fault = Literal["refuse", "swallow", "lose", "cut", "mute"]
"""What becomes of a request: `refuse` resets before it got through; `swallow` keeps it and says nothing. One
that got through: `lose` resets instead of the answer, `cut` in the middle of it, `mute` never gives it."""

HEAD_END: Final = b"\r\n\r\n"
STREAM_BYTES_MAX: Final = 1 << 22
RESET: Final = struct.pack("ii", 1, 0)
START_SECONDS_MAX: Final = 10.0
NO_BODY: Final = (204, 304)


@dataclass
class Exchange:
    """One request as it came, and as much of its answer as the browser was given; times are the clock's."""

    connection: int
    request: bytes
    sent_at: float
    fault: Fault | None = None
    arrived: bool = False
    """Whether the edge was given it."""
    answer: bytes = b""
    answered_at: float | None = None
    """When the browser had been given the whole answer."""

    @property
    def method(self) -> str:
        """Its method."""
        return self.request.split(b" ", 1)[0].decode()

    @property
    def path(self) -> str:
        """Path and query, as sent."""
        return self.request.split(b" ", 2)[1].decode()

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self.request.partition(HEAD_END)[2]

    @property
    def status(self) -> int:
        """The answer's status; 0 where none came."""
        return int(self.answer.split(b" ", 2)[1]) if self.answer else 0

    @property
    def answer_body(self) -> bytes:
        """The answer's body, as encoded for the way."""
        return self.answer.partition(HEAD_END)[2]

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return _header(self.answer.partition(HEAD_END)[0], name)


@dataclass
class _Plan:
    ending: str
    fault: Fault | None
    times: int
    delay_s: float


@dataclass
class Wire:
    """One relay; what is told to it holds for every connection at once."""

    to_port: int
    exchanges: list[Exchange] = field(default_factory=list)
    """Every request that came whole, in the order in which they came."""
    sent: list[bytearray] = field(default_factory=list)
    """Everything the browser sent, a connection each."""
    got: list[bytearray] = field(default_factory=list)
    """Everything it was given, a connection each."""
    port: int = 0

    def __post_init__(self) -> None:
        self._plans: list[_Plan] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self.weather(Weather())

    @property
    def url(self) -> str:
        """Where the browser goes."""
        return f"http://127.0.0.1:{self.port}"

    def through(self, address: str) -> str:
        """The same address, by way of this relay."""
        return re.sub(r"^https?://[^/]+", self.url, address)

    def weather(self, weather: Weather) -> None:
        """From here on the network is like this."""
        self._up, self._down = Link(weather), Link(weather)
        self._weather = weather

    def fail(self, ending: str, fault: Fault, *, times: int = 1) -> None:
        """Do that to the next `times` requests whose path has this ending."""
        self._plans.append(_Plan(ending, fault, times, 0.0))

    def delay(self, ending: str, seconds: float, *, times: int = 1) -> None:
        """Hold the answers to the next `times` requests whose path has this ending."""
        self._plans.append(_Plan(ending, None, times, seconds))

    def heal(self) -> None:
        """Forget what was planned."""
        self._plans = []

    def to(self, ending: str) -> list[Exchange]:
        """The exchanges whose path has this ending."""
        return [one for one in self.exchanges if one.path.partition("?")[0].endswith(ending)]

    def forget(self) -> None:
        """Begin to keep anew."""
        self.exchanges = []
        self.sent = [bytearray() for _ in self.sent]
        self.got = [bytearray() for _ in self.got]

    # In the thread of the relay.

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=STREAM_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        self._open.add(writer)
        number = len(self.sent)
        self.sent.append(bytearray())
        self.got.append(bytearray())
        try:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                if self._weather.gone:
                    return _reset(writer)
                await asyncio.sleep(self._weather.handshakes * self._weather.round_trip_s)
                await self._relay(number, reader, writer)
        finally:
            self._relays.discard(task)
            self._open.discard(writer)
            writer.close()

    async def _relay(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        edge_reader, edge = await asyncio.open_connection("127.0.0.1", self.to_port, limit=STREAM_BYTES_MAX)
        try:
            while await self._exchange(number, reader, writer, edge_reader, edge):
                pass
        finally:
            edge.close()

    async def _exchange(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        edge_reader: asyncio.StreamReader,
        edge: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request and its answer on, as planned; whether the connection is good for another."""
        request = await _message(reader, self.sent[number])
        exchange = Exchange(number, request, time.time())
        plan = self._planned(exchange)
        self.exchanges.append(exchange)
        if exchange.fault == "refuse":
            _reset(writer)
            return False
        if exchange.fault != "swallow":
            await self._up.carry(request, edge)
            exchange.arrived = True
            answer = await _message(edge_reader, bytearray(), bodiless=exchange.method == "HEAD")
            await asyncio.sleep(plan.delay_s if plan else 0.0)
            if exchange.fault in {None, "cut"}:
                await self._give(exchange, answer, writer)
                if exchange.fault is None:
                    return not _closes(answer)
        if exchange.fault in {"swallow", "mute"}:
            await reader.read()  # until the browser gives up
        else:
            _reset(writer)
        return False

    async def _give(self, exchange: Exchange, answer: bytes, writer: asyncio.StreamWriter) -> None:
        part = answer[: -(len(answer) - answer.index(HEAD_END)) // 2] if exchange.fault == "cut" else answer
        await self._down.carry(part, writer)
        self.got[exchange.connection] += part
        exchange.answer = part
        if part == answer:
            exchange.answered_at = time.time()

    def _planned(self, exchange: Exchange) -> _Plan | None:
        path = exchange.path.partition("?")[0]
        for plan in self._plans:
            if plan.times and path.endswith(plan.ending):
                plan.times -= 1
                exchange.fault = plan.fault
                return plan
        return None

    def cut(self) -> None:
        """Reset every connection that is open."""

        async def reset() -> None:
            for writer in self._open.copy():
                _reset(writer)

        self._do(reset())

    async def _end(self) -> None:
        self._server.close()
        for task in self._relays.copy():
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS_MAX)

    @contextmanager
    def running(self) -> Iterator["Wire"]:
        """Listen on a free port of loopback while the block runs."""
        thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        thread.start()
        try:
            self._do(self._listen())
            yield self
        finally:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(START_SECONDS_MAX)
            self._loop.close()


async def _message(reader: asyncio.StreamReader, kept: bytearray, *, bodiless: bool = False) -> bytes:
    """One whole request or answer, framed by its length; the edge frames in no other way."""
    try:
        head = await reader.readuntil(HEAD_END)
        kept += head
    except asyncio.IncompleteReadError as end:
        kept += end.partial
        raise
    assert _header(head, "Transfer-Encoding") is None, head
    length = int(_header(head, "Content-Length") or 0)
    if bodiless or (head.startswith(b"HTTP/") and int(head.split(b" ", 2)[1]) in NO_BODY):
        length = 0
    body = await reader.readexactly(length)
    kept += body
    return head + body


def _header(head: bytes, name: str) -> str | None:
    found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)", head, re.IGNORECASE)
    return found[1].decode("latin-1") if found else None


def _closes(answer: bytes) -> bool:
    return (_header(answer.partition(HEAD_END)[0] + b"\r\n", "Connection") or "").lower() == "close"


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with a reset, as when a machine on the way forgets the connection."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
