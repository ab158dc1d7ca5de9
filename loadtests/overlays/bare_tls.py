"""One request on a new TLS connection, as cheaply as this side can: a flood is to cost the server more.

No streams, no transports, and nobody looks at the certificate: it takes three quarters of the processor that
an honest client needs, and the server sees the same.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, TypeVar

from loadtests.overlays.wire import (
    ANSWER_SECONDS_MAX,
    BODY_BYTES_MAX,
    LENGTH,
    NO_ANSWER,
    Reply,
    Target,
    ours,
)

READ_BYTES: Final = 65_536
ENDED: Final = b"\r\n\r\n"
T = TypeVar("T")


def careless() -> ssl.SSLContext:
    """TLS that believes any certificate: this process lets floods loose, and is told nothing worth hiding."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


async def connected(target: Target, source: str) -> socket.socket:
    """A connection from `source`; OSError or TimeoutError when there is none."""
    line = socket.socket()
    try:
        line.setblocking(False)  # noqa: FBT003  # it takes no name
        line.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(line, (target.host, target.port))
    except BaseException:
        line.close()
        raise
    return line


async def once(target: Target, request: bytes, *, source: str, tls: ssl.SSLContext) -> Reply:
    """Connect, shake hands, ask, and read the whole answer; the time includes all of it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            with await connected(target, source) as line:
                status, body = await _Exchange(line, tls, target.host).ask(request)
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        return Reply(NO_ANSWER, b"", (time.monotonic() - began) * 1000, sent=not ours(error))
    return Reply(status, body, (time.monotonic() - began) * 1000)


class _Exchange:
    """TLS over one socket, by hand."""

    def __init__(self, line: socket.socket, tls: ssl.SSLContext, host: str) -> None:
        self._line = line
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._coming, self._going, server_hostname=host)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to `request`."""
        await self._over(self._tls.do_handshake)
        self._tls.write(request)
        told = b""
        while ENDED not in told and len(told) < READ_BYTES:
            told += await self._some()
        head, _, body = told.partition(ENDED)
        status, *fields = head.lower().split(b"\r\n")
        length = next((int(each[len(LENGTH) :]) for each in fields if each.startswith(LENGTH)), 0)
        while len(body) < min(length, BODY_BYTES_MAX):
            body += await self._some()
        return int(status.split(b" ", 2)[1]), body

    async def _some(self) -> bytes:
        some = await self._over(lambda: self._tls.read(READ_BYTES))
        if not some:
            raise ConnectionResetError("the other side said that it was done")
        return some

    async def _say(self) -> None:
        if self._going.pending:
            await asyncio.get_running_loop().sock_sendall(self._line, self._going.read())

    async def _over(self, do: Callable[[], T]) -> T:
        """What `do` gives, once enough has come for it; what it has to say is sent."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                done = do()
            except ssl.SSLWantReadError:
                await self._say()
            else:
                await self._say()
                return done
            came = await loop.sock_recv(self._line, READ_BYTES)
            if came:
                self._coming.write(came)
            else:
                self._coming.write_eof()
