"""What lies between the processes: bytes in order and late, or a connection that is reset.

A partition holds bytes back and delivers them when it heals, also those of a connection that its client has
long given up: what was sent may still be done. Redis-py's own connection class runs on top, cut where it
would open a socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

from tests.simulation.client_library import ONE_TRY, packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.kernel import Kernel, Loop

LATENCY_S: Final = (0.000_05, 0.000_5)
"""Between two processes on a good day."""


class Server(Protocol):
    """The far end of a connection."""

    @property
    def name(self) -> str:
        """What it is called."""

    def opened(self, connection: Connection) -> bool:
        """A client connects; false when nobody listens."""

    def receive(self, connection: Connection, data: Any) -> None:
        """What a client has sent arrives."""

    def closed(self, connection: Connection) -> None:
        """A client is gone."""


class Weather:
    """How bad the network is now; the faults of a seed change it."""

    def __init__(self) -> None:
        self.slow = 1.0
        """Every delay is so many times as long."""

        self.slow_disk = 1.0
        """Every fsync takes so many times as long."""

        self.lose_request = 0.0
        """How likely a message to a server breaks its connection and is not done."""

        self.lose_answer = 0.0
        """How likely an answer breaks its connection, so that what was done is not known."""

        self.held_until_s: dict[tuple[str, str], float] = {}
        """Partitions by the two ends' names."""

    def clear(self) -> None:
        """Good weather from now on."""
        self.slow = self.slow_disk = 1.0
        self.lose_request = self.lose_answer = 0.0
        self.held_until_s.clear()


class Network:
    """Addresses, delays and connections."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.weather = Weather()
        self.servers: dict[str, Server] = {}
        self.sent: dict[str, int] = {}
        """Messages by sender: a crash can be timed by what a process was doing."""

        self.watch: Callable[[str], None] = lambda _: None
        """Told of every message by its sender's name."""

    def delay_s(self) -> float:
        """How long one message takes."""
        low, high = LATENCY_S
        return (low + (high - low) * self.kernel.random.random()) * self.weather.slow

    def held_s(self, one: str, other: str) -> float:
        """Until when nothing goes between the two; 0 when it does."""
        held = self.weather.held_until_s
        until_s = max(held.get((one, other), 0.0), held.get((other, one), 0.0)) if held else 0.0
        return until_s if until_s > self.kernel.now_s else 0.0

    async def connect(self, loop: Loop, address: str, deliver: Callable[[Any], None]) -> Connection:
        """A connection from `loop` to the server at `address`; ConnectionRefusedError when there is none."""
        await asyncio.sleep(self.delay_s())
        while held_s := self.held_s(loop.name, address):  # noqa: ASYNC110  # simulated time
            await asyncio.sleep(held_s - self.kernel.now_s)
        server = self.servers.get(address)
        if server is None:
            raise ConnectionRefusedError(address)
        connection = Connection(self, loop, address, server, deliver)
        if not server.opened(connection):
            raise ConnectionRefusedError(address)
        loop.connections[connection] = None
        return connection


class Connection:
    """One connection; both ends see what the other sent in order, or its end."""

    def __init__(
        self, network: Network, loop: Loop, address: str, server: Server, deliver: Callable[[Any], None]
    ) -> None:
        self.network = network
        self.loop = loop
        self.address = address
        self.server = server
        self.session: Any = None
        """Whatever the server keeps for it."""

        self.broken = False
        """It was reset: nothing more arrives at either end."""

        self.left = False
        """The client has closed it, or died."""

        self._deliver = deliver
        self._there_s = 0.0
        self._back_s = 0.0

    def send(self, data: Any) -> None:
        """From the client."""
        if self.left or self.broken:
            return
        network, kernel = self.network, self.network.kernel
        network.watch(self.loop.name)
        if network.weather.lose_request and kernel.random.random() < network.weather.lose_request:
            kernel.tell(self.loop.name, "request lost to", self.address)
            self.reset()
            return
        self._there_s = max(self._there_s, kernel.now_s + network.delay_s())
        kernel.at(self._there_s, self._arrive, data)

    def answer(self, data: Any) -> None:
        """From the server."""
        if self.broken:
            return
        network, kernel = self.network, self.network.kernel
        network.watch(self.server.name)
        if network.weather.lose_answer and kernel.random.random() < network.weather.lose_answer:
            kernel.tell(self.address, "answer lost to", self.loop.name)
            self.reset()
            return
        self._back_s = max(self._back_s, kernel.now_s + network.delay_s())
        kernel.at(self._back_s, self._come_back, data)

    def reset(self) -> None:
        """Both ends lose it, each a little later; what is on its way is lost."""
        if self.broken:
            return
        self.broken = True
        kernel = self.network.kernel
        kernel.after(self.network.delay_s(), self._end_at_server)
        if not self.left:
            kernel.after(self.network.delay_s(), self._end_at_client)

    def close(self) -> None:
        """The client closes it, or is dead: what it sent before still arrives."""
        if self.left:
            return
        self.left = True
        self.loop.connections.pop(self, None)
        kernel = self.network.kernel
        self._there_s = max(self._there_s, kernel.now_s + self.network.delay_s())
        kernel.at(self._there_s, self._end_at_server)

    def _arrive(self, data: Any) -> None:
        held_s = self.network.held_s(self.loop.name, self.address)
        if held_s:
            self._there_s = max(self._there_s, held_s)
            self.network.kernel.at(held_s, self._arrive, data)
        elif not self.broken:
            self.server.receive(self, data)

    def _come_back(self, data: Any) -> None:
        held_s = self.network.held_s(self.loop.name, self.address)
        if held_s:
            self._back_s = max(self._back_s, held_s)
            self.network.kernel.at(held_s, self._come_back, data)
        elif not self.broken and not self.left:
            self._deliver(data)

    def _end_at_server(self) -> None:
        held_s = self.network.held_s(self.loop.name, self.address)
        if held_s and not self.broken:
            self.network.kernel.at(held_s, self._end_at_server)
        else:
            self.server.closed(self)

    def _end_at_client(self) -> None:
        if not self.left:
            self.loop.connections.pop(self, None)
            self.left = True
            self._deliver(None)


class Writer:
    """What redis-py writes to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def writelines(self, parts: Any) -> None:
        """Send them as one piece."""
        self._connection.send(b"".join(parts))

    async def drain(self) -> None:
        """Never waits: the other end takes everything."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def wait_closed(self) -> None:
        """It is."""

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""


class QueueConnection(AbstractConnection):
    """Redis-py's connection over the simulated network; everything above the socket is the library's own."""

    def __init__(self, *, network: Network, loop: Loop, address: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._network = network
        self._loop = loop
        self._address = address

    def repr_pieces(self) -> list[tuple[str, Any]]:
        """Where it leads."""
        return [("address", self._address)]

    def _host_error(self) -> str:
        return self._address

    def __del__(self, _warnings: Any = None) -> None:
        """Nothing is left open when a process is killed."""

    def pack_command(self, *words: Any) -> list[bytes]:
        """The library's own packing; the same words are packed once."""
        try:
            return packed(*words)
        except TypeError:  # a word that cannot be looked up
            return super().pack_command(*words)

    async def _connect(self) -> None:
        reader = asyncio.StreamReader(loop=self._loop)

        def deliver(data: bytes | None) -> None:
            if data is None:
                reader.set_exception(ConnectionResetError())
                reader.feed_eof()
            else:
                reader.feed_data(data)

        async with asyncio.timeout(self.socket_connect_timeout):
            connection = await self._network.connect(self._loop, self._address, deliver)
        self._reader = reader
        self._writer = Writer(connection)  # type: ignore[assignment]  # all of it that is used


class Pool(ConnectionPool):
    """The library's pool without its bound, its locks and its records of itself, which cost most."""

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """A connection that is good for a command, as the library's pool makes sure."""
        connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]  # untyped there
        try:
            if not connection.is_connected or await connection.can_read():
                await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection  # type: ignore[no-any-return]  # as above

    def release(self, connection: AbstractConnection) -> asyncio.Future[None]:  # type: ignore[override]  # as awaitable
        """It may be used again, at once: whoever shields this from being cancelled needs no task for it."""
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def dedicated(network: Network, loop: Loop, address: str, *, timeout_s: float) -> Redis:
    """What `runtime.valkey.node` gives, over the simulated network."""
    pool = Pool(connection_class=QueueConnection, **_settings(network, loop, address, timeout_s))
    return Redis(connection_pool=pool, single_connection_client=True)


def pooled(network: Network, loop: Loop, address: str, *, timeout_s: float) -> Redis:
    """What `runtime.valkey.pooled` gives, over the simulated network."""
    return Redis.from_pool(
        Pool(connection_class=QueueConnection, **_settings(network, loop, address, timeout_s))
    )


def _settings(network: Network, loop: Loop, address: str, timeout_s: float) -> dict[str, Any]:
    return {
        "network": network,
        "loop": loop,
        "address": address,
        "protocol": 2,
        "decode_responses": False,
        "driver_info": None,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": ONE_TRY,
    }
