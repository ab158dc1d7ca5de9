"""A worker process: the product's own `Worker`, whole, as `ballot worker` runs it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from runtime.lifecycle import Stop
from tests.simulation import patches
from tests.simulation.kernel import Loop
from workers.metrics import WorkerMetrics
from workers.service import Worker, WorkerSettings

if TYPE_CHECKING:
    from tests.simulation.world import World


NEVER_S: Final = 3600.0


@cache
def _metrics() -> WorkerMetrics:
    """One for all: nobody looks at them here."""
    return WorkerMetrics(CollectorRegistry())


class _Worker(Worker):
    """The product's, but for what only shows numbers to a person: a third of what it asks the queue."""

    async def _watch(self) -> float:
        return NEVER_S


class Storer:
    """One worker process, and those that take its place when it dies."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop: Loop | None = None
        self._started = 0

    def start(self) -> None:
        """Begin, unless it runs."""
        if self.loop is not None:
            return
        self.world.kernel.tell(self.name, "starts")
        self._started += 1
        loop = self.loop = Loop(self.world.kernel, self.name, self._started)  # type: ignore[abstract]  # what it lacks is refused
        loop.create_task(self._run()).add_done_callback(self._ended)

    def kill(self) -> None:
        """End as by SIGKILL."""
        if self.loop is not None:
            self.world.kernel.tell(self.name, "is killed")
            loop, self.loop = self.loop, None
            loop.kill()

    async def _run(self) -> int:
        settings = WorkerSettings(
            processes=0, claim_idle_s=self.world.plan.claim_idle_s, replicas=self.world.plan.replicas
        )
        servers: Any = patches.servers()
        return await _Worker(servers, settings, _metrics()).run(Stop())

    def _ended(self, task: Any) -> None:
        if self.loop is not None and not self.loop.dead:
            error = None if task.cancelled() else task.exception()
            self.world.kernel.bugs.append(f"{self.name} has ended by itself: {error!r}")
