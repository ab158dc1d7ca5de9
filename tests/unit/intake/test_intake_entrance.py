"""The way in: header, then handshake, each bounded in time and number, and nothing of it leaks."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, cast

import pytest
import uvloop

from intake import tls
from intake.entrance import Entrance
from tests.certificates import issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

HEADER = b"PROXY TCP4 203.0.113.9 127.0.0.1 56324 443\r\n"


P = ParamSpec("P")


def on_uvloop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on the loop that edges run on."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


class Echo(asyncio.Protocol):
    """Says first for whom the connection is, then what it is sent."""

    def __init__(self, named: str | None) -> None:
        self._named = named

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say for whom it is."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._transport.write(f"{self._named}\n".encode())

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


@asynccontextmanager
async def way_in(
    *,
    context: ssl.SSLContext | None = None,
    proxied: bool = False,
    seconds: float = 5.0,
    entering_max: int = 100,
) -> AsyncIterator[tuple[Entrance, int]]:
    """Open an entrance on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        found = Entrance(
            listening, Echo, tls=context, proxied=proxied, seconds=seconds, entering_max=entering_max
        )
        found.open()
        try:
            yield found, listening.getsockname()[1]
        finally:
            await found.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the entrance tells nobody
            await asyncio.sleep(0.01)


@on_uvloop
async def test_a_header_is_taken_off_wherever_it_is_split() -> None:
    """The address it names arrives, and of the bytes behind it not one is lost."""
    async with way_in(proxied=True) as (_, port):
        for at in (0, 1, 7, len(HEADER) - 1, len(HEADER), len(HEADER) + 3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            sent = HEADER + b"hello"
            writer.write(sent[:at])
            await asyncio.sleep(0.01)
            writer.write(sent[at:])
            async with asyncio.timeout(5):
                assert await reader.readexactly(len("203.0.113.9\nhello")) == b"203.0.113.9\nhello"
            writer.close()


@on_uvloop
async def test_a_health_check_speaks_for_itself() -> None:
    """A proxy's own connection has no other address than its own."""
    async with way_in(proxied=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PROXY UNKNOWN\r\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"None\n"
        writer.close()


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY nonsense\r\n", b"\x16\x03\x01\x00"])
@on_uvloop
async def test_what_has_no_header_is_closed_at_once(sent: bytes) -> None:
    """Not a byte is answered."""
    async with way_in(proxied=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(2):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


@on_uvloop
async def test_header_and_handshake_may_come_in_one_packet(tmp_path: Path) -> None:
    """TLS begins behind the header, whatever arrived together with it."""
    files = issue(tmp_path)
    client = ssl.create_default_context(cafile=str(files.authority))
    client.set_alpn_protocols(["h2", "http/1.1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    async with way_in(context=tls.load(files.certificate, files.key).context, proxied=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ssl.SSLWantReadError):
            wrapped.do_handshake()
        writer.write(HEADER + to_server.read())
        seen = b""
        async with asyncio.timeout(5):
            while b"\n" not in seen:
                to_client.write(await reader.read(65_536))
                with suppress(ssl.SSLWantReadError):
                    wrapped.do_handshake()
                    seen += wrapped.read()
                writer.write(to_server.read())
        writer.close()
    assert seen == b"203.0.113.9\n"
    assert wrapped.version() == "TLSv1.3"
    assert wrapped.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("proxied", [False, True])
@on_uvloop
async def test_who_stalls_is_let_go(tmp_path: Path, *, proxied: bool) -> None:
    """Neither half a header nor half a handshake holds anything for longer than the bound."""
    files = issue(tmp_path)
    context = tls.load(files.certificate, files.key).context
    open_before: list[int] = []
    for _ in range(2):  # the first round opens what the loop itself keeps
        async with way_in(context=context, proxied=proxied, seconds=0.3) as (found, port):
            streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            for _, writer in streams:
                writer.write(HEADER[:20] if proxied else b"\x16\x03\x01\x02\x00\x01")
            await until(lambda: found.entering == 20)
            async with asyncio.timeout(5):
                for reader, writer in streams:
                    with suppress(ConnectionError):
                        await reader.read()
                    writer.close()
            await until(lambda: found.entering == 0)
        await asyncio.sleep(0.05)
        open_before.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  # proc
    assert open_before[1] <= open_before[0]


@on_uvloop
async def test_a_flood_pushes_out_its_own(tmp_path: Path) -> None:
    """With every place taken by handshakes that never go on, a voter still gets in at once."""
    files = issue(tmp_path)
    client = ssl.create_default_context(cafile=str(files.authority))
    context = tls.load(files.certificate, files.key).context
    async with way_in(context=context, entering_max=8) as (found, port):
        stalled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        await until(lambda: found.entering == 8)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        async with asyncio.timeout(5):
            assert await reader.readline() == b"None\n"
            for gone, other in stalled[:12]:
                with suppress(ConnectionError):
                    assert await gone.read() == b""
                other.close()
        assert found.entering < 8
        writer.close()


class Exhausted(socket.socket):
    """A listening socket for whose connections there are no descriptors at first."""

    refused = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail once as when there is none left."""
        if not self.refused:
            self.refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@on_uvloop
async def test_without_descriptors_it_waits_and_goes_on() -> None:
    """Nothing spins, nothing fails: connections wait their turn until some are free again."""
    with Exhausted(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        found = Entrance(listening, Echo, tls=None, proxied=True, seconds=5.0)
        found.open()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(HEADER)
        async with asyncio.timeout(5):
            assert await reader.readline() == b"203.0.113.9\n"
        writer.close()
        await found.close()
    assert listening.refused == 1


@on_uvloop
async def test_closing_lets_those_on_the_way_finish() -> None:
    """A voter whose handshake had begun gets in all the same, within the grace."""
    async with way_in(proxied=True, seconds=60) as (found, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEADER[:9])
        await until(lambda: found.entering == 1)
        closing = asyncio.create_task(found.close(5.0))
        await asyncio.sleep(0.05)
        writer.write(HEADER[9:])
        async with asyncio.timeout(2):
            assert await reader.readline() == b"203.0.113.9\n"
            await closing
        writer.close()


@on_uvloop
async def test_closing_lets_go_of_who_is_on_the_way() -> None:
    """A process that stops waits for nobody who has not asked for anything yet."""
    async with way_in(proxied=True, seconds=60) as (found, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: found.entering == 1)
        await found.close()
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()
