"""One clock, one seeded random and one choice of who runs next, for any number of simulated processes.

A process is an asyncio event loop of its own whose callbacks keep their order; which process runs next is
drawn. Nothing here waits: time jumps to the next timer. Whoever asks such a loop for a thread, a socket or a
signal is refused loudly, because what it would do then could not be repeated.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import weakref
from asyncio import events
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

START_US: Final = 1_750_000_000_000_000
"""The simulated world begins here: a time like any other, far from the edges of every format."""

STEP_S: Final = 0.000_004
"""What running one callback takes: time goes on while processes work."""

LOOK_S: Final = 0.1
"""How often it is asked whether all is over."""

STEPS_MAX: Final = 3_000_000
"""So many callbacks are more than any seed needs: who comes so far goes round in circles."""

TASKS_KEPT: Final = 64
"""A loop that remembers twice as many tasks as live there, and more than this, looks which are over."""

CLOSE_TRIES: Final = 20
"""A coroutine that is broken off may wait again in a `finally`, but not for ever."""


class SimulationError(Exception):
    """The simulation itself, or code under test that asks for what cannot be simulated, is at fault."""


class Handle:
    """A callback that will run, unless it is cancelled before."""

    __slots__ = ("args", "callback", "context", "loop", "when_s")

    def __init__(
        self,
        loop: Loop,
        callback: Callable[..., Any] | None,
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when_s: float,
    ) -> None:
        self.loop = loop
        self.callback = callback
        self.args = args
        self.context = context
        self.when_s = when_s

    def cancel(self) -> None:
        """Never run it."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled, or has run."""
        return self.callback is None

    def when(self) -> float:
        """The time it is due."""
        return self.when_s


class Kernel:
    """The world of one seed. What happens is told to `history`, whose digest two runs of a seed agree on."""

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.steps = 0
        self.history = History(keep=keep)
        self.bugs: list[str] = []
        self.current: Loop | None = None
        self._timers: list[tuple[float, int, Handle | Callable[..., Any], tuple[Any, ...]]] = []
        self._number = 0
        self._ready: list[Loop] = []

    @property
    def now_us(self) -> int:
        """The true time; a process's own clock may differ."""
        return START_US + round(self.now_s * 1_000_000)

    def tell(self, who: str, what: str, *details: object) -> None:
        """Write one line of the history."""
        self.history.tell(self.now_s, who, what, details)

    def at(self, when_s: float, work: Callable[..., Any], *args: Any) -> None:
        """Do `work` then: for servers, the network and the weather, which are not asyncio's."""
        self._number += 1
        heapq.heappush(self._timers, (when_s, self._number, work, args))

    def after(self, seconds: float, work: Callable[..., Any], *args: Any) -> None:
        """Do `work` so many seconds from now."""
        self.at(self.now_s + seconds, work, *args)

    def timer(self, handle: Handle) -> None:
        """Make a callback ready when it is due."""
        self._number += 1
        heapq.heappush(self._timers, (handle.when_s, self._number, handle, ()))

    def wake(self, loop: Loop) -> None:
        """A loop has something to run."""
        self._ready.append(loop)

    def run(self, until: Callable[[], bool], *, limit_s: float) -> bool:
        """Go on until `until` says so; False when `limit_s` comes first. `until` is asked now and then."""
        timers, ready, random = self._timers, self._ready, self.random.random
        look_at_s = 0.0
        while True:
            while timers and timers[0][0] <= self.now_s:
                self._due()
            if ready:
                place = int(random() * len(ready)) if len(ready) > 1 else 0
                if not ready[place].step():
                    ready[place] = ready[-1]
                    ready.pop()
                self.steps += 1
                if self.steps > STEPS_MAX:
                    raise SimulationError("the seed runs for ever")
                self.now_s += STEP_S
                continue
            if self.now_s >= look_at_s:
                look_at_s = self.now_s + LOOK_S
                if until():
                    return True
            if not timers or timers[0][0] > limit_s:
                return until()
            self.now_s = timers[0][0]

    def _due(self) -> None:
        _, _, work, args = heapq.heappop(self._timers)
        if not isinstance(work, Handle):
            work(*args)
        elif work.callback is not None:
            work.loop.push(work)


class History:
    """What happened, in order: always as a digest, and as lines for a person when asked to keep them."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.lines: list[str] = []
        self._digest = hashlib.sha256()

    def tell(self, now_s: float, who: str, what: str, details: tuple[object, ...]) -> None:
        """Add one line."""
        line = f"{now_s:11.6f} {who} {what} {' '.join(map(str, details))}"
        self._digest.update(line.encode())
        if self.keep:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        """The same for two runs that did the same."""
        return self._digest.hexdigest()


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one simulated process: asyncio's own tasks and futures run on it."""

    def __init__(self, kernel: Kernel, name: str, number: int = 1) -> None:
        self.kernel = kernel
        self.name = name
        self.number = number
        """Its process id."""

        self.dead = False
        self._context = contextvars.copy_context()
        self._queue: deque[Handle] = deque()
        self.connections: dict[Any, None] = {}
        """Its open connections, in the order they were made."""

        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self._look_at = TASKS_KEPT

    # What asyncio's tasks, futures, timeouts and locks ask of a loop.
    def time(self) -> float:
        """Simulated seconds."""
        return self.kernel.now_s

    def call_soon(  # type: ignore[override]  # our handle is not asyncio's
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        """Run after what is ready already."""
        handle = Handle(self, callback, args, context or self._context, self.kernel.now_s)
        self.push(handle)
        return handle

    def call_later(  # type: ignore[override]  # as above
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run in `delay` seconds."""
        return self.call_at(self.kernel.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run at that time of this loop."""
        handle = Handle(self, callback, args, context or self._context, when)
        if not self.dead:
            self.kernel.timer(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """Asyncio's own."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # no eager tasks here
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """Asyncio's own, remembered so that it can be broken off."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(weakref.ref(task))
        if len(self._tasks) > self._look_at:
            self._tasks = [each for each in self._tasks if (known := each()) is not None and not known.done()]
            self._look_at = max(TASKS_KEPT, 2 * len(self._tasks))
        return task

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # at once
        """Done at once: a thread of its own could not be repeated."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is the future's
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether it lives."""
        return not self.dead

    def is_closed(self) -> bool:
        """Whether its process has died."""
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would only log is a bug here, unless it is about a process that was killed."""
        if not self.dead:
            self.kernel.bugs.append(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    # What the kernel asks of it.
    def push(self, handle: Handle) -> None:
        """Add to what is ready."""
        if self.dead:
            return
        if not self._queue:
            self.kernel.wake(self)
        self._queue.append(handle)

    def step(self) -> bool:
        """Run one callback; whether there is more to run."""
        queue = self._queue
        if queue:
            handle = queue[0]
            callback = handle.callback
            if callback is not None and handle.context is not None:
                handle.callback = None
                self.kernel.current = self
                events._set_running_loop(self)
                try:
                    handle.context.run(callback, *handle.args)
                except Exception as error:  # noqa: BLE001  # as asyncio does, but never overlooked
                    self.kernel.bugs.append(f"{self.name}: a callback raised {error!r}")
                finally:
                    events._set_running_loop(None)
                    self.kernel.current = None
            if queue:  # a process can be killed by what it does
                queue.popleft()
        return bool(queue)

    def run_inside(self, work: Callable[..., Any], *args: Any) -> None:
        """Run `work` in this process, after what is ready there already."""
        self.call_soon(work, *args)

    def kill(self) -> None:
        """End as by SIGKILL: nothing of it runs any more, and what its `finally` blocks do reaches nobody."""
        self.dead = True
        for connection in list(self.connections):
            connection.close()
        tasks, self._tasks = [task for each in self._tasks if (task := each()) is not None], []
        events._set_running_loop(self)
        try:
            self._break_off(tasks)
        finally:
            events._set_running_loop(None)

    def _break_off(self, tasks: list[asyncio.Task[Any]]) -> None:
        for handle in self._queue:
            handle.cancel()
        self._queue.clear()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # what was killed leaves tasks behind
            coroutine = task.get_coro()
            for _ in range(CLOSE_TRIES):
                try:
                    coroutine.close()
                except (RuntimeError, SimulationError):
                    continue
                except BaseException:  # noqa: BLE001, S110  # the dead say nothing
                    pass
                break


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise SimulationError(f"{name} is not simulated: sockets, processes, threads and signals are real")

    return refuse


for _name in (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "call_soon_threadsafe",
    "connect_accepted_socket",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_sendall",
    "subprocess_exec",
    "subprocess_shell",
):
    setattr(Loop, _name, _refused(_name))


class ProcessClock:
    """A `runtime.clock.Clock` of one process, `ahead_us` off the true time."""

    def __init__(self, kernel: Kernel, ahead_us: int = 0) -> None:
        self._kernel = kernel
        self.ahead_us = ahead_us

    def now_us(self) -> int:
        """Return microseconds since the epoch as this process has them."""
        return self._kernel.now_us + self.ahead_us

    def monotonic(self) -> float:
        """Return simulated seconds."""
        return self._kernel.now_s

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
