"""How a process runs on uvloop and how it stops: asked once, in order, never outliving its parent."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click
import uvloop

from runtime import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

T = TypeVar("T")
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
PARENT_POLL_S = 0.25
CANCEL_AGAIN_S = 0.25
END_S = 10.0


class Fatal(Exception):  # noqa: N818  # the design's two failures are named Fatal and Retry
    """This process must end; the next start repairs what is left, as every start does."""


class Retry(Exception):  # noqa: N818  # see Fatal
    """Leave the work where it is; it is delivered again."""


class Stop:
    """A wish to stop, made once and seen by everyone in the loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask everyone to finish what they have begun and return."""
        self._event.set()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until asked, at most `timeout_s`; say whether it was asked."""
        if timeout_s is None:
            await self._event.wait()
            return True
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


def honour_cancellation() -> None:
    """Raise CancelledError if this task was told to end and what it awaited has kept that to itself.

    `asyncio.wait_for` of Python 3.11 does so when it is done at that very moment, and the queue's client
    sends with it: a task that loops would then never end. Call it after such an await, outside of any
    `asyncio.timeout`, whose own cancellation looks the same.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def end(
    tasks: Collection[asyncio.Task[Any]], *, within_s: float = END_S
) -> Collection[asyncio.Task[Any]]:
    """Cancel `tasks`, again while they go on (see `honour_cancellation`); those that never end.

    They have `within_s`. How they ended is theirs to have said: nothing of it is raised here. Being told to
    end meanwhile does not keep us from it: CancelledError comes afterwards.
    """
    going, until_s, told = set(tasks), time.monotonic() + within_s, False
    while going and time.monotonic() < until_s:
        for task in going:
            task.cancel()
        try:
            await asyncio.wait(going, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError:
            told = True
        going = {task for task in going if not task.done()}
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # taken note of: it would else be said to have been lost
    if told:
        raise asyncio.CancelledError
    return going


def run_async(main: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine on uvloop; Ctrl-C and SIGTERM cancel it, and it exits 130 or 143."""
    terminated = False

    async def body() -> T:
        nonlocal terminated
        task = asyncio.current_task()

        def on_term() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_term)
        return await main()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(body())
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(TERMINATED) from None
        raise


def run_service(main: Callable[[Stop], Awaitable[int]]) -> int:
    """Run a service until SIGTERM or SIGINT asks it to stop; return the exit code its main returns."""
    refuse_optimised()
    child_of_parent()

    async def body() -> int:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.request)
        return await main(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(body())
    except Fatal as error:
        logs.get("lifecycle").alarm("fatal", error=error)
        return 1


def refuse_optimised() -> None:
    """Refuse `python -O`: it deletes the assertions that guard what we promise ourselves."""
    if not __debug__:
        raise click.ClickException("This must not run under python -O: it would remove our own checks.")


def child_of_parent(parent: int | None = None) -> None:
    """Send ourselves SIGTERM when `parent` dies, however it dies (default: BALLOT_PARENT_PID, else none).

    The variable is about this process alone, so it is taken out of what our own children inherit.
    """
    if parent is None:
        named = os.environ.pop("BALLOT_PARENT_PID", "")
        if not named.isdecimal():
            return
        parent = int(named)
    threading.Thread(target=_outlive, args=(parent,), name="parent-watch", daemon=True).start()


def _outlive(parent: int) -> None:
    if os.getppid() == parent and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(parent)
        except OSError:
            descriptor = -1
        if descriptor >= 0 and os.getppid() == parent:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
