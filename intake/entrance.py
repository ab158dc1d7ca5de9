"""Between a listening socket and HTTP: the proxy's header, then the TLS handshake, both bounded.

Used only where one of the two is asked for. A connection that is still on its way in holds a place; with all
places taken, a new one takes the place of the one that has been at it longest: a flood of handshakes that are
never finished pushes out its own, and a voter's needs two round trips.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from intake import metrics
from intake.proxy_protocol import HEADER_BYTES_MAX, Prologue, ProxyRefused
from runtime import logs

log = logs.get("entrance")

Factory = Callable[[str | None], asyncio.BaseProtocol]
"""Makes the protocol of a connection, given the address that a proxy named for it."""

ENTERING_MAX: Final = 1_000
"""Connections on their way in, in one process; a handshake holds about 60 kB."""

ACCEPTED_AT_ONCE: Final = 16
"""Then those who are in already have their turn: a flood of new connections does not starve them."""

EXHAUSTED_S: Final = 0.5
SHUTDOWN_S: Final = 2.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Entrance:
    """Takes connections from `listening` until closed; each that gets in is `factory`'s."""

    def __init__(
        self,
        listening: socket.socket,
        factory: Factory,
        *,
        tls: ssl.SSLContext | None,
        proxied: bool,
        seconds: float,
        entering_max: int = ENTERING_MAX,
    ) -> None:
        self._listening = listening
        self._factory = factory
        self._tls = tls
        self._proxied = proxied
        self._seconds = seconds
        self._entering_max = entering_max
        self._loop = asyncio.get_running_loop()
        self._entering: dict[asyncio.Task[None], None] = {}
        self._again: asyncio.TimerHandle | None = None

    @property
    def entering(self) -> int:
        """How many connections are on their way in."""
        return len(self._entering)

    def open(self) -> None:
        """Take connections from now on."""
        self._again = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def close(self, grace_s: float = 0.0) -> None:
        """Take no more; those on their way in have `grace_s`, and are let go then: they asked nothing yet."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening.fileno())
        left = list(self._entering)
        if left and grace_s:
            _, unfinished = await asyncio.wait(left, timeout=grace_s)
            left = list(unfinished)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.warning("no connection can be taken", error=errno.errorcode[error.errno])
                self._loop.remove_reader(self._listening.fileno())
                self._again = self._loop.call_later(EXHAUSTED_S, self.open)
                return
            connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        if len(self._entering) >= self._entering_max:
            oldest = next(iter(self._entering))
            del self._entering[oldest]
            oldest.cancel()
            metrics.ENTRANCE.count("displaced")
        task = self._loop.create_task(self._enter(connection))
        self._entering[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._entering.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.alarm("entrance failed", error=type(task.exception()).__name__)

    async def _enter(self, connection: socket.socket) -> None:
        """One connection, from accepted to its protocol's; whatever it sent is in no log."""
        wrapping: dict[str, Any] = {}
        if self._tls is not None:
            wrapping = {
                "ssl": self._tls,
                "ssl_handshake_timeout": self._seconds,
                "ssl_shutdown_timeout": SHUTDOWN_S,
            }
        outcome = "failed"
        try:
            async with asyncio.timeout(self._seconds):
                named = await self._prologue(connection) if self._proxied else None
                outcome = "handshake"
                await self._loop.connect_accepted_socket(lambda: self._factory(named), connection, **wrapping)
            outcome = "entered"
        except ProxyRefused:
            outcome = "no_header"
            connection.close()
        except TimeoutError:
            outcome = "late"
            connection.close()
        except OSError:  # the client left or sent no TLS: ssl.SSLError is one
            connection.close()
        except BaseException:
            outcome = ""
            connection.close()
            raise
        finally:
            if outcome:
                metrics.ENTRANCE.count(outcome)

    async def _prologue(self, connection: socket.socket) -> str | None:
        """The address in the proxy's header, of which not one byte more is taken from the socket."""
        prologue = Prologue()
        while True:
            await self._readable(connection)
            try:
                seen = connection.recv(HEADER_BYTES_MAX, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                continue
            if not seen:
                raise ConnectionError("closed before the header")
            header = prologue.feed(seen)
            connection.recv(len(seen) - (len(header.rest) if header else 0))
            if header is not None:
                return header.address

    async def _readable(self, connection: socket.socket) -> None:
        waiting = self._loop.create_future()

        def wake() -> None:
            if not waiting.done():
                waiting.set_result(None)

        self._loop.add_reader(connection.fileno(), wake)
        try:
            await waiting
        finally:
            self._loop.remove_reader(connection.fileno())
