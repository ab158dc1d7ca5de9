"""Listens, and keeps the connections: how many, how long each may take, how they end when we stop."""

import asyncio
import resource
import socket
import ssl
from collections import OrderedDict
from contextlib import suppress
from typing import Final, Protocol

from ballot.rejection import Rejected
from intake.answer import Answer
from intake.connection import Connection
from intake.entrance import ENTERING_MAX, Entrance
from intake.faults import place
from intake.framing import READ_BYTES
from intake.request import Request
from intake.settings import DRAIN_GRACE_S
from runtime import logs

log = logs.get("http")

BACKLOG: Final = 4_096
SWEEP_S: Final = 1.0
DRAIN_SWEEP_S: Final = 0.05
EVICTED_MAX: Final = 64
"""How many busy connections are passed over in search of one to close."""

ENTERING_SHARE: Final = 4
"""At most a quarter of the room is for connections that are still on their way in."""

ENTERING_GRACE_S: Final = 1.0
"""Handshakes that were on their way when we began to stop are still finished."""

DESCRIPTORS_KEPT: Final = 64
"""For the queue's connections, logs and metrics."""


class Application(Protocol):
    """What answers; each request that it is given gets exactly one `reply`, at once or later."""

    def admit(self, request: Request) -> bool:
        """Look at the head alone: True to be handed the body, False when it is being answered already."""

    def handle(self, request: Request) -> None:
        """Answer a whole request."""

    def refuse(self, rejected: Rejected, request: Request | None) -> Answer:
        """The answer to what went wrong before a request was whole."""


class Server:
    """All connections of this process, least recently answered first; made inside the running loop."""

    def __init__(
        self, application: Application, *, head_s: float, body_s: float, connections_max: int
    ) -> None:
        self.application = application
        self.head_s = head_s
        self.body_s = body_s
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.incoming = memoryview(bytearray(READ_BYTES))
        self._room = min(connections_max, _descriptors() - DESCRIPTORS_KEPT)
        self._connections: OrderedDict[Connection, None] = OrderedDict()
        self._listening: asyncio.Server | None = None
        self._entrance: Entrance | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._tick_s = self.now_s()
        self._full = False

    def now_s(self) -> float:
        """The loop's clock."""
        return self.loop.time()

    async def listen(
        self, listening: socket.socket, *, tls: ssl.SSLContext | None = None, proxied: bool = False
    ) -> None:
        """Take connections from an already bound socket, which may be shared with other processes."""
        if tls is None and not proxied:
            self._listening = await self.loop.create_server(self.connection, sock=listening, backlog=BACKLOG)
        else:
            entering_max = min(ENTERING_MAX, self._room // ENTERING_SHARE)
            self._room -= entering_max
            self._entrance = Entrance(
                listening,
                self.connection,
                tls=tls,
                proxied=proxied,
                seconds=self.head_s,
                entering_max=entering_max,
            )
            self._entrance.open()
        self._sweeper = asyncio.create_task(self._sweep_forever())

    async def stop(self, drain_s: float) -> None:
        """Take no more connections, answer what is under way within `drain_s`, and close all of them."""
        self.draining = True
        until_s = self.now_s() + drain_s
        if self._listening is not None:
            self._listening.close()
        if self._entrance is not None:
            await self._entrance.close(min(ENTERING_GRACE_S, drain_s))
        await asyncio.sleep(DRAIN_SWEEP_S)
        quiet_s = min(self.now_s() + DRAIN_GRACE_S, until_s)
        while self._connections and self.now_s() < quiet_s:
            await asyncio.sleep(DRAIN_SWEEP_S)
            self.sweep()
        for connection in list(self._connections):
            connection.drain()
        while self._connections and self.now_s() < until_s:
            await asyncio.sleep(DRAIN_SWEEP_S)
            self.sweep()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    def sweep(self) -> None:
        """End what has had its time."""
        self._tick_s = now_s = self.now_s()
        for connection in [each for each in self._connections if each.deadline_s <= now_s]:
            try:
                connection.expired()
            except Exception as error:  # noqa: BLE001  # a bug costs one connection, not the watch over all
                log.alarm("sweep failed", error=type(error).__name__, place=place(error))
                connection.abort()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    # What connections tell.

    def joined(self, connection: Connection) -> None:
        """One more; when there is no room, the one that has been without an answer longest makes it."""
        if len(self._connections) >= self._room:
            if not self._full:
                log.warning("connections at their bound", room=self._room)
            self._full = True
            if not self._evict():
                connection.abort()
        elif self._full and len(self._connections) < self._room // 2:
            log.info("connections have room again")
            self._full = False
        self._connections[connection] = None

    def connection(self, peer: str | None = None) -> Connection:
        """The protocol of a new connection; `peer` is given by whoever knows the client better than TCP."""
        return Connection(self, peer)

    def left(self, connection: Connection) -> None:
        """One less."""
        self._connections.pop(connection, None)

    def rested(self, connection: Connection) -> float:
        """It has its answer and may wait for the next request; returns when that was, to a second."""
        if connection in self._connections:
            self._connections.move_to_end(connection)
        return self._tick_s

    def _evict(self) -> bool:
        for _ in range(min(EVICTED_MAX, len(self._connections))):
            connection = next(iter(self._connections))
            self._connections.move_to_end(connection)
            if connection.yields():
                return True
        return False


def _descriptors() -> int:
    """How many files this process may have open; what it is allowed to raise is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
