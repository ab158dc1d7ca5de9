"""HTTP as an attacker writes it: plain bytes from a chosen address, and whatever comes back."""

import asyncio
import errno
import ipaddress
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from loadtests.overlays.terms import Context
from loadtests.voting.door import verifying
from loadtests.voting.voter import (
    CREATED,
    FORBIDDEN,
    MALFORMED,
    OK,
    SLOW_DOWN,
    TRANSIENT,
    UNAVAILABLE,
    Answer,
)

NO_ANSWER: Final = 0
HEAD_BYTES_MAX: Final = 32_768
BODY_BYTES_MAX: Final = 8 << 20
CONNECT_SECONDS_MAX: Final = 10.0
ANSWER_SECONDS_MAX: Final = 15.0
LENGTH: Final = b"content-length:"
LATE: Final = "too slow"
SAFE: Final = b'"retry":true'
NOT_SENT: Final = "not sent"
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
"""Why a connection fails that never got as far as the server."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: status 0 when none came; how long it took, from the first byte sent or the connecting.

    `sent` is False when it was this side that had no file handle, port or memory for it; `unsure` is True
    when the same request had been sent before and nobody knows what came of that.
    """

    status: int
    body: bytes
    ms: float
    sent: bool = True
    unsure: bool = False

    @property
    def came(self) -> str:
        """How it is counted; who is told to come later must be told that it is safe."""
        if not self.sent:
            return NOT_SENT
        if self.status in {SLOW_DOWN, UNAVAILABLE} and self.body[:1] == b"{" and SAFE not in self.body:
            return f"{self.status} that does not say it is safe to try again"
        if self.status == MALFORMED and SAFE in self.body:
            return LATE  # the request came too slowly
        return str(self.status) if self.status else "none"

    @property
    def settles(self) -> bool:
        """Whether it is final: what else came is to be asked again, with the identical request."""
        return Answer(self.status, self.body).as_counted().status not in TRANSIENT

    @property
    def refuses(self) -> bool:
        """Whether a vote that was answered so is certainly not counted.

        A code that is used up keeps its vote's own answer; a ballot that has closed may have taken it before.
        """
        accepted = self.status in {OK, CREATED}
        return self.settles and not accepted and not (self.unsure and self.status != FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Target:
    """A server of the run: where it listens, and with what it is verified if it speaks TLS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    @classmethod
    def of(cls, context: Context, url: str | None = None) -> Self:
        """The server at `url`, by default the voters' one; only ever this machine's loopback."""
        parts = urlsplit(url or context.url)
        host = parts.hostname or ""
        if not loopback(host):
            raise ValueError(f"{host or 'no host'} is not this machine's loopback: overlays go nowhere else.")
        secure = parts.scheme == "https"
        return cls(host, parts.port or (443 if secure else 80), verifying(context.ca) if secure else None)

    def request(self, method: str, path: str, body: bytes | None = None, *, keep: bool = False) -> bytes:
        """A whole request as bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


def loopback(host: str) -> bool:
    """Whether that is this machine itself, and nothing that a name server would have to be asked about."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ours(error: Exception) -> bool:
    """Whether a connection failed for want of something on this side."""
    return isinstance(error, OSError) and error.errno in OURS


class Line:
    """One connection, kept alive if the server does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(
        cls, target: Target, *, source: str | None = None, tls: ssl.SSLContext | None = None
    ) -> "Line":
        """Connect, from the loopback address `source` if one is given; OSError when that fails."""
        local: Any = None if source is None else (source, 0)
        secure = tls or target.tls
        async with asyncio.timeout(CONNECT_SECONDS_MAX):  # `wait_for` may swallow a cancellation
            return cls(
                *await asyncio.open_connection(
                    target.host,
                    target.port,
                    local_addr=local,
                    ssl=secure,
                    server_hostname=target.host if secure else None,
                    limit=HEAD_BYTES_MAX,
                )
            )

    def send(self, some: bytes) -> None:
        """Write what the other side takes; OSError when the connection has ended."""
        try:
            self.writer.write(some)
        except (AttributeError, RuntimeError) as error:  # how asyncio says so of TLS that was just closed
            raise ConnectionResetError("the connection has ended") from error

    async def ask(self, request: bytes, *, seconds: float = ANSWER_SECONDS_MAX) -> Reply:
        """Send `request` and read the answer to it."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                self.send(request)
                await self.writer.drain()
                status, body = await self._read()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.close()
            return Reply(NO_ANSWER, b"", (time.monotonic() - began) * 1000)
        return Reply(status, body, (time.monotonic() - began) * 1000)

    async def _read(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *fields = head.split(b"\r\n")
        status = int(first.split(b" ", 2)[1])
        length = next((int(line.split(b":")[1]) for line in fields if line.lower().startswith(LENGTH)), 0)
        if length > BODY_BYTES_MAX:
            raise ValueError("The answer is longer than any of ours.")
        return status, await self.reader.readexactly(length)

    def close(self) -> None:
        """End it."""
        with suppress(OSError, RuntimeError):
            self.writer.close()

    @property
    def closed(self) -> bool:
        """Whether either side has ended it."""
        return self.writer.is_closing() or self.reader.at_eof()


async def once(target: Target, request: bytes, *, source: str | None = None) -> Reply:
    """One request on a connection of its own; the time includes the connecting."""
    began = time.monotonic()
    try:
        line = await Line.open(target, source=source)
    except (OSError, TimeoutError) as error:
        return Reply(NO_ANSWER, b"", (time.monotonic() - began) * 1000, sent=not ours(error))
    try:
        reply = await line.ask(request)
    finally:
        line.close()
    return Reply(reply.status, reply.body, (time.monotonic() - began) * 1000)
