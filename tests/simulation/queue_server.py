"""A queue server on the simulated network: cycles of reading, executing, one fsync, and then the answers.

What it executes is the model's (queue_model.py, with the real gate); when is decided here. A cycle takes some
of what has arrived, so that a pipeline may be cut in two; a server can be killed between any two steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import ResponseError

from tests.simulation.queue_model import STILL, Pending, QueueModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.network import Connection
    from tests.simulation.world import World

EXECUTE_S: Final = 0.000_02
FSYNC_S: Final = (0.000_1, 0.001)
EVERY_S: Final = 1.0
"""How often a queue that is set to `everysec` syncs."""

NOT_FOR_ENTRIES: Final = -1

CUT: Final = 0.1
"""How likely a cycle takes only some of a connection's commands."""

_CODES: Final = {
    kind: code
    for code, kind in BaseParser.EXCEPTION_CLASSES.items()
    if isinstance(kind, type) and code != "ERR"
}


class Client:
    """One connection as the server has it."""

    __slots__ = ("connection", "out", "reader", "session", "waiting", "waits", "waits_for_entries")

    def __init__(self, connection: Connection, session: Any) -> None:
        self.connection = connection
        self.session = session
        self.reader = hiredis.Reader()
        self.waiting: deque[list[bytes]] = deque()
        self.out: list[bytes] = []
        self.waits: Pending | None = None
        self.waits_for_entries = NOT_FOR_ENTRIES
        """What the server's count of appends was when it last looked for entries."""

    def wants(self, appends: int) -> bool:
        """Whether there may be something to do for it, after so many appends."""
        return bool(self.waiting) if self.waits is None else self.waits_for_entries != appends


class QueueServer:
    """One server process and its disk; `seen` is told of every command that was done."""

    def __init__(
        self, world: World, name: str, seen: Callable[[QueueServer, list[bytes], Any], None]
    ) -> None:
        self.world = world
        self.kernel = world.kernel
        self.name = name
        self.ahead_us = 0
        self.runs = 0
        self.model = QueueModel(self._clock_us, run_id=self._run_id(), source=world.gate_source)
        self.model.changed = self._stir
        self.synced: Callable[[], None] = lambda: None
        self._seen = seen
        self._clients: dict[Connection, Client] = {}
        self._busy = False
        self._again = False
        self._appends = 0
        self._life = 0

    def _clock_us(self) -> int:
        return self.kernel.now_us + self.ahead_us

    def _run_id(self) -> str:
        self.runs += 1
        return f"{self.name}-{self.runs}".ljust(40, "0")

    # What the network does with it.

    def opened(self, connection: Connection) -> bool:
        """A client connects."""
        if not self.model.up:
            return False
        self._clients[connection] = Client(connection, self.model.session())
        return True

    def receive(self, connection: Connection, data: bytes) -> None:
        """Bytes arrive."""
        client = self._clients.get(connection)
        if client is None:
            connection.reset()  # of an earlier run, or this one is down
            return
        client.reader.feed(data)
        while (command := client.reader.gets()) is not False:
            client.waiting.append(command)
        self._stir()

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self._clients.pop(connection, None)

    # What happens to it.

    def kill(self, *, keep: int | None = None) -> None:
        """End as by SIGKILL or a power cut; of what was not synced, up to `keep` reached the disk."""
        self.kernel.tell(self.name, "is killed", "on disk", self.model.durable, "of", self.model.position)
        self.model.crash(keep=keep)
        self._cut()

    def start(self) -> None:
        """Start with what is on its disk."""
        self._cut()
        self.model.restart(self._run_id())
        self.kernel.tell(self.name, "starts with", self.model.position)

    def promote(self) -> None:
        """Take the primary's place with what is here."""
        self.runs += 1
        self.model.promote(f"{self.name}-history-{self.runs}".ljust(40, "0"))
        self.kernel.tell(self.name, "is promoted with", self.model.position)
        self._cut()

    def at_once(self, *command: Any) -> Any:
        """Do a command past the network and have it on disk: for setting up, before anything goes wrong."""
        reply = self.model.execute(self.model.session(), command)
        if isinstance(reply, Exception):
            raise reply
        self.model.sync()
        return reply

    def _cut(self) -> None:
        self._life += 1
        self._busy = False
        clients, self._clients = list(self._clients), {}
        for connection in clients:
            connection.reset()

    # A cycle.

    def _stir(self) -> None:
        """Something may have to be done."""
        if self._busy:
            self._again = True
        elif self.model.up and (self.model.position > self.model.durable or self._wanted()):
            self._busy, self._again = True, False
            self.kernel.after(EXECUTE_S, self._cycle, self._life)

    def _wanted(self) -> bool:
        appends = self._appends
        for each in self._clients.values():  # noqa: SIM110  # several times as fast as `any`, and asked often
            if each.wants(appends):
                return True
        return False

    def _cycle(self, life: int) -> None:
        if life != self._life:
            return
        appends = self._appends
        clients = [each for each in self._clients.values() if each.wants(appends)]
        if len(clients) > 1:
            self.kernel.random.shuffle(clients)
        answered = [client for client in clients if self._work(client)]
        model = self.model
        if model.position > model.durable and model.settings["appendfsync"] == "always":
            low, high = FSYNC_S
            seconds = (
                low + (high - low) * self.kernel.random.random()
            ) * self.world.network.weather.slow_disk
            self.kernel.after(seconds, self._flushed, life, answered)
        else:
            self._release(answered)

    def _flushed(self, life: int, answered: list[Client]) -> None:
        if life == self._life:
            self.model.sync()
            self._release(answered)
            self.synced()

    def _release(self, answered: list[Client]) -> None:
        self._busy = False
        for client in answered:
            data, client.out = b"".join(client.out), []
            client.connection.answer(data)
        if self._again or any(each.waiting and not each.waits for each in self._clients.values()):
            self._stir()

    def _work(self, client: Client) -> bool:
        """Do what a connection has sent; whether there is an answer."""
        if client.waits is not None and self._still_waits(client, client.waits):
            return False
        budget = len(client.waiting)
        random = self.kernel.random.random
        if budget > 1 and random() < CUT:
            budget = 1 + int(random() * (budget - 1))
        while budget and client.waiting:
            budget -= 1
            command = client.waiting.popleft()
            queued = client.session.queued
            try:
                reply = self.model.execute(client.session, command)
            except ConnectionLostError:
                client.connection.reset()
                self._clients.pop(client.connection, None)
                return False
            if type(reply) is Pending:
                client.waits = reply
                reads = command[0].upper() == b"XREADGROUP"
                client.waits_for_entries = self._appends if reads else NOT_FOR_ENTRIES
                if reply.timeout_us is not None:
                    self.kernel.after(reply.timeout_us / 1e6, self._expire, self._life, client, reply)
                break
            self._tell(client, command, queued, reply)
            client.out.append(written(reply))
        return bool(client.out)

    def _still_waits(self, client: Client, waits: Pending) -> bool:
        """Whether what a connection waits for has not come; its answer otherwise."""
        if client.waits_for_entries == self._appends:
            return True
        client.waits_for_entries = self._appends if client.waits_for_entries >= 0 else NOT_FOR_ENTRIES
        reply = waits.poll()
        if reply is STILL:
            return True
        client.waits = None
        client.out.append(written(reply))
        return False

    def _tell(
        self, client: Client, command: list[bytes], queued: list[list[bytes]] | None, reply: Any
    ) -> None:
        """Let what was done be seen: of a transaction, each of its commands."""
        if command[0] == b"FCALL":
            self._appends += 1
        if queued and type(reply) is list:
            for each, answer in zip(queued, reply, strict=True):
                self._seen(self, each, answer)
        elif client.session.queued is None:
            self._seen(self, command, reply)

    def _expire(self, life: int, client: Client, pending: Pending) -> None:
        if life == self._life and client.waits is pending:
            # Answered in a cycle, as everything: what was written before it is synced first.
            client.waits = Pending(pending.expire, pending.expire, None)
            client.waits_for_entries = NOT_FOR_ENTRIES
            self._stir()


class Replication:
    """Keeps a replica in step with its primary, a little behind; the faults of a seed hold it up."""

    def __init__(self, world: World, primary: QueueServer, replica: QueueServer) -> None:
        self.world = world
        self.primary = primary
        self.replica = replica
        self.held_until_s = 0.0
        self.ended = False
        self._running = False
        replica.model.follow(primary.model)
        primary.synced = self.stir
        self.stir()

    def end(self) -> None:
        """No more goes from the one to the other."""
        self.ended = True
        self.primary.synced = lambda: None

    def stir(self) -> None:
        """There may be something to send."""
        if self._running or self.ended:
            return
        self._running = True
        kernel = self.world.kernel
        seconds = self.world.network.delay_s()
        kernel.at(max(kernel.now_s + seconds, self.held_until_s), self._receive)

    def _receive(self) -> None:
        if self.ended or not self.replica.model.up:
            self._running = False
            return
        random = self.world.kernel.random.random
        missing = self.primary.model.durable - self.replica.model.position
        some = 1 + int(random() * missing) if missing > 1 and random() < CUT else None
        self.replica.model.receive(some)
        low, high = FSYNC_S
        self.world.kernel.after(low + (high - low) * random(), self._synced)

    def _synced(self) -> None:
        self._running = False
        model = self.replica.model
        if self.ended or not model.up:
            return
        model.sync()
        model.acknowledge()
        if model.position < self.primary.model.durable:
            self.stir()


def written(reply: Any) -> bytes:
    """An answer as it goes over the network, in RESP2."""
    parts: list[bytes] = []
    _write(reply, parts)
    return b"".join(parts)


def _write(reply: Any, parts: list[bytes]) -> None:
    kind = type(reply)
    if kind is bytes:
        parts.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
    elif kind is int:
        parts.append(b":%d\r\n" % reply)
    elif reply is None:
        parts.append(b"$-1\r\n")
    elif kind is list or kind is tuple:
        parts.append(b"*%d\r\n" % len(reply))
        for part in reply:
            if type(part) is bytes:
                parts.append(b"$%d\r\n%b\r\n" % (len(part), part))
            else:
                _write(part, parts)
    elif isinstance(reply, Exception):
        parts.append(b"-%b\r\n" % _text(reply).encode())
    else:
        raise NotImplementedError(f"an answer of kind {kind.__name__}")


def _text(error: Exception) -> str:
    """The error's text with the code that redis-py takes off."""
    text = str(error)
    code = _CODES.get(type(error))
    if code is not None:
        return f"{code} {text}"
    first = text.split(" ", 1)[0]
    return text if type(error) is ResponseError and first.isupper() and len(first) > 1 else f"ERR {text}"
