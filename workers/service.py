"""One worker process: storing, turnout, trust and watching, each a task that retries by itself."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runtime import logs, postgres
from runtime.clock import SystemClock
from runtime.durability import replicas_awaited
from runtime.environment import Environment
from runtime.lifecycle import Fatal, Retry, Stop
from runtime.nodes import Nodes
from workers import attempts, backlog, turnout
from workers.attempts import AttemptsReader
from workers.checking import Checks
from workers.consumer import Consumer, ConsumerSettings
from workers.guard import Guard
from workers.link import NoStreamError
from workers.metrics import WorkerMetrics
from workers.opening import Keys
from workers.published import Catalogue
from workers.queue import Queue
from workers.restored import Restored
from workers.store import Store
from workers.trust import Trust
from workers.turnout import TurnoutReader
from workers.verification import Verifier

if TYPE_CHECKING:
    from runtime.servers import Servers

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
LOOK_S: Final = 1.0
SILENT_LOOK_S: Final = 0.25
TURNOUT_WAIT_S: Final = 0.25
GATHER_S: Final = 0.1
GATHER_ENTRIES: Final = 64
"""After a round of fewer entries the next waits so long: storing one vote takes as long as storing fifty."""
FORGET_S: Final = 300.0

EXIT_FATAL: Final = 1
EXIT_BUG: Final = 70

_log = logs.get("worker")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`processes` check signatures (0: the worker does); others' entries are taken over after `claim_idle_s`.

    Only what is on the disks of `replicas` replicas is stored.
    """

    processes: int
    claim_idle_s: float
    replicas: int = 0

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "WorkerSettings":
        """The settings in the environment; one ClickException for all that is wrong with them."""
        settings = Environment(env)
        found = cls(
            processes=settings.integer("BALLOT_WORKER_PROCESSES", 0, 0, 64),
            claim_idle_s=settings.seconds("BALLOT_WORKER_CLAIM_IDLE", 5.0, 0.5, 600.0),
            replicas=replicas_awaited(settings),
        )
        settings.done()
        return found


class Worker:
    """Composes the parts of one worker process on its own connections."""

    def __init__(
        self, servers: "Servers", settings: WorkerSettings, metrics: WorkerMetrics, *, overruled: bool = False
    ) -> None:
        self._metrics = metrics
        self._clock = SystemClock()
        self._catalogue = Catalogue(servers.home.public_key_file)
        self._queue = Queue(Nodes(servers, "worker"), replicas=settings.replicas)
        self._store = Store(lambda: postgres.connect(servers, "voterdb", "ballot_worker"))
        self._turnout_store = Store(lambda: postgres.connect(servers, "voterdb", "ballot_worker"))
        self._trust_store = Store(lambda: postgres.connect(servers, "voterdb", "ballot_worker"))
        self._verifier = Verifier(settings.processes)
        keys = Keys.of(servers.home)
        self._guard = Guard(store=self._store, metrics=metrics, clock=self._clock, overruled=overruled)
        self._consumer = Consumer(
            name=f"{socket.gethostname()}-{os.getpid()}",
            queue=self._queue,
            store=self._store,
            checks=Checks(keys=keys, verifier=self._verifier),
            guard=self._guard,
            catalogue=self._catalogue,
            metrics=metrics,
            clock=self._clock,
            settings=ConsumerSettings(claim_idle_s=settings.claim_idle_s),
        )
        self._attempts = AttemptsReader(
            queue=self._queue,
            store=self._store,
            keys=keys,
            catalogue=self._catalogue,
            metrics=metrics,
            clock=self._clock,
        )
        self._trust = Trust(queue=self._queue, store=self._trust_store, metrics=metrics)
        self._turnout = TurnoutReader(
            queue=self._queue,
            store=self._turnout_store,
            catalogue=self._catalogue,
            metrics=metrics,
            clock=self._clock,
        )
        self._restored = Restored(
            queue=self._queue, store=self._store, catalogue=self._catalogue, clock=self._clock
        )
        self._forgot_s = self._clock.monotonic() - FORGET_S
        self._attempted = 0

    async def run(self, stop: Stop, *, until_drained: bool = False) -> int:
        """Work until asked to stop, or with `until_drained` until nothing is left; the exit code."""
        done = Stop()

        async def store_votes() -> float:
            handled = await self._store_round()
            if until_drained and not handled and self._attempted < attempts.ENTRIES_MAX:
                self._fail_if_nothing_moves()
                if await self._drained():
                    done.request()
            return GATHER_S if 0 < handled < GATHER_ENTRIES and not until_drained else 0.0

        async def count_turnout() -> float:
            return 0.0 if await self._turnout.run_once() >= turnout.ENTRIES_MAX else TURNOUT_WAIT_S

        tasks = [
            asyncio.create_task(self._repeat("store", store_votes, stop, done)),
            asyncio.create_task(self._repeat("turnout", count_turnout, stop, done)),
            asyncio.create_task(self._repeat("trust", self._judge_queue, stop, done)),
            asyncio.create_task(self._repeat("watch", self._watch, stop, done)),
        ]
        try:
            return max(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _store_round(self) -> int:
        """One round of everything that is stored; how many votes and returns were handled or came back."""
        handled = await self._consumer.run_once()
        handled += len(await self._restored.check())
        self._attempted = 0
        if self._guard.why is None:
            # While entries are held, attempts with an address under another key wait with them.
            self._attempted = await self._attempts.run_once(
                self._consumer.name, leave_foreign=self._guard.held > 0
            )
        if not self._catalogue.ballots:
            await self._clock.sleep(TURNOUT_WAIT_S)
        return handled

    async def _watch(self) -> float:
        """Show what waits, and now and then forget consumers that are long gone."""
        try:
            waiting = await backlog.measure(self._queue, self._catalogue)
        except NoStreamError:
            return (
                TURNOUT_WAIT_S  # a ballot published this instant: the consumer is about to join its streams
            )
        waiting.show(self._metrics, now_us=self._clock.now_us())
        now_s = self._clock.monotonic()
        if now_s - self._forgot_s >= FORGET_S:
            self._forgot_s = now_s
            ballots = self._catalogue.ballots.values()
            streams = [stream for ballot in ballots for stream in (*ballot.votes, *ballot.attempts)]
            await self._queue.forget_dead(streams, but=self._consumer.name)
        return LOOK_S

    def _fail_if_nothing_moves(self) -> None:
        """Whoever waits for the end is told at once that it will not come."""
        if self._guard.why is not None:
            raise Fatal(f"nothing is stored: {self._guard.why}")
        if self._guard.held:
            raise Fatal(f"{self._guard.held} entries are encrypted with another queue key")

    async def _drained(self) -> bool:
        if self._catalogue.unpinned:
            return False
        return await backlog.drained(await backlog.measure(self._queue, self._catalogue), self._store)

    async def _repeat(self, name: str, once: Callable[[], Awaitable[float]], stop: Stop, done: Stop) -> int:
        """Run `once` again after the pause it asks for; back off after Retry, end all after worse."""
        backoff_s = BACKOFF_FIRST_S
        while not (stop.requested or done.requested):
            try:
                pause_s = await once()
                backoff_s = BACKOFF_FIRST_S
            except Retry as error:
                self._metrics.retries.labels(task=name).inc()
                say = _log.warning if backoff_s < BACKOFF_MAX_S else _log.alarm
                say("retry", task=name, error=error, wait_s=backoff_s)
                pause_s, backoff_s = backoff_s, min(BACKOFF_MAX_S, backoff_s * 2)
            except Fatal as error:
                _log.alarm("fatal", task=name, error=error)
                done.request()
                return EXIT_FATAL
            except Exception as error:  # noqa: BLE001  # the one net: a bug ends us, loudly
                _log.alarm("bug", task=name, error=type(error).__name__, where=_where(error))
                done.request()
                return EXIT_BUG
            if pause_s:
                await _first_of(stop, done, pause_s)
        return 0

    async def _judge_queue(self) -> float:
        return LOOK_S if await self._trust.check() else SILENT_LOOK_S

    async def _close(self) -> None:
        self._verifier.close()
        for store in (self._store, self._turnout_store, self._trust_store):
            await store.close()
        await self._queue.close()


async def _first_of(stop: Stop, done: Stop, seconds: float) -> None:
    """Wait `seconds`, or less if asked to stop or done."""
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(done.wait())]
    _, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def _where(error: BaseException) -> str:
    """The innermost place of a failure: enough to find a bug, and no value of any variable."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} {code.co_name}"  # noqa: PTH119  # a name, not a file
        trace = trace.tb_next
    return place
