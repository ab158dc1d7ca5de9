"""What the code under test takes from outside by name: clocks, randomness, the log, connections.

Put in place once a process; the world of the present seed is looked up at each use.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import intake.batch
import runtime.nodes
import scrutineer.closing
import scrutineer.lifecycle
import scrutineer.replicated
import workers.attempts
import workers.checking
import workers.published
import workers.queue
import workers.reading
import workers.service
from runtime import logs
from runtime.nodes import Nodes, Place
from tests.simulation import client_library
from tests.simulation.database import connect
from tests.simulation.kernel import Loop, ProcessClock, SimulationError
from tests.simulation.material import material
from tests.simulation.network import pooled
from workers.reading import ConsumerSettings
from workers.verification import Claim, Verifier, signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redis.asyncio import Redis

    from runtime.lifecycle import Stop
    from tests.simulation.world import World

BUGS: Final = frozenset({"batch failed", "answer failed", "look failed", "bug", "fatal"})
"""What a process logs only when its own code is at fault."""

TICK_S: Final = 0.1
BLOCK_MS: Final = 300
POLL_S: Final = 0.25
"""Pauses of who looks whether there is anything to do, up to two and a half times as long as the product's:
what ends them early (a vote, an entry, an answer, a lost connection) does so here too."""

_worlds: list[World] = []


def present() -> World:
    """The world of the seed that runs."""
    if not _worlds:
        raise SimulationError("no seed runs")
    return _worlds[-1]


def enter(world: World) -> None:
    """Make this the present world."""
    _install()
    _worlds[:] = [world]


def inside() -> Loop:
    """The loop whose callback runs now."""
    loop = present().kernel.current
    if loop is None:
        raise SimulationError("no process runs")
    return loop


class QueueNodes(Nodes):
    """The product's own, over the simulated network."""

    def _client(self, place: Place) -> Redis:
        if place not in self._clients:
            world = present()
            self._clients[place] = pooled(world.network, inside(), place[0], timeout_s=self._timeout_s)
        return self._clients[place]


class RememberingVerifier(Verifier):
    """Checks each signature for real, once a process: the same few votes come again in every seed."""

    async def signed(self, claims: Sequence[Claim]) -> list[bool]:
        """Whether each claim holds."""
        return [
            _holds(c.ballot, c.definition_sha256, c.credential, c.nonce, c.sealed, c.signature)
            for c in claims
        ]


@cache
def _holds(*claim: Any) -> bool:
    (holds,) = signed([Claim(*claim)])
    return holds


def _log(self: logs.Log, level: logs.Level, action: str, fields: dict[str, object]) -> None:
    world = present()
    if world.kernel.current is None:
        return  # a process that was killed says nothing while it is broken off
    who = world.kernel.current.name
    if action in BUGS:
        world.kernel.bugs.append(f"{who}: {action} {fields}")
    if level != "info" or world.kernel.history.keep:
        world.kernel.tell(who, f"logs {level} {action!r}", *(f"{k}={v}" for k, v in fields.items()))


async def _pause(_stop: Stop, _done: Stop, seconds: float) -> None:
    """A worker's pause without the two tasks that would end it early: here nobody asks a worker to stop."""
    await asyncio.sleep(seconds)


def _drawn(count: int) -> bytes:
    """Random bytes of the seed."""
    return present().kernel.random.randbytes(count)


@cache
def _install() -> None:
    """Put everything in place."""
    drawn: Any = SimpleNamespace(
        token_bytes=_drawn,
        token_hex=lambda count: _drawn(count).hex(),
        compare_digest=secrets.compare_digest,
    )
    for module in (workers.attempts, workers.checking, workers.queue, workers.reading):
        module.secrets = drawn  # type: ignore[attr-defined]  # replaced on purpose
    clock: Any = SimpleNamespace(monotonic=lambda: present().kernel.now_s)
    timed: tuple[Any, ...] = (workers.queue, scrutineer.lifecycle, scrutineer.closing, scrutineer.replicated)
    for module in timed:
        module.time = clock
    client_library.install()
    logs.Log._write = _log  # type: ignore[method-assign]  # replaced on purpose
    _install_worker()
    _install_desk()


def _install_worker() -> None:
    service: Any = workers.service
    service.Nodes = QueueNodes
    service._first_of = _pause
    service.ConsumerSettings = partial(ConsumerSettings, block_ms=BLOCK_MS)
    batch: Any = intake.batch
    batch.TICK_S = TICK_S
    nodes: Any = runtime.nodes
    nodes.key_slot = cache(nodes.key_slot)  # always the same
    service.postgres = SimpleNamespace(connect=lambda *_: connect(present(), inside()))
    service.SystemClock = lambda: ProcessClock(present().kernel, present().plan.worker_clock_us)
    service.Verifier = RememberingVerifier
    service.Keys = SimpleNamespace(of=lambda _: material().keys)
    service.socket = SimpleNamespace(gethostname=lambda: "host")
    service.os = SimpleNamespace(getpid=lambda: inside().number, path=os.path)
    published: Any = workers.published
    published.read = cache(published.read)


def _install_desk() -> None:
    """The desk's closing is its own, but for what it does in the voter database, and the worker it starts."""
    life: Any = scrutineer.lifecycle

    @asynccontextmanager
    async def changing(*_: object) -> AsyncIterator[None]:
        yield

    async def load(desk: Any, _: str) -> Any:
        return desk.stored

    async def armed(*_: object) -> bool:
        return True

    async def record(
        desk: Any, _: str, kind: str, *, opens_us: int, closes_us: int, earlier: Mapping[int, int]
    ) -> None:
        await desk.record(kind, opens_us, closes_us, earlier)

    life.ballots = SimpleNamespace(load=load, armed=armed)
    life.changing = changing
    life._record = record
    closing: Any = scrutineer.closing
    closing.POLL_S = POLL_S
    closing._start_worker = lambda _: SimpleNamespace(poll=lambda: None)
    closing._stop = lambda _: None


def servers() -> Any:
    """What a worker is given of the servers' addresses, and its home."""
    key_file = SimpleNamespace(read_bytes=lambda: material().pinned)
    return SimpleNamespace(
        home=SimpleNamespace(public_key_file=key_file),
        valkey=SimpleNamespace(host="queue", port=6379, cluster=False),
    )
