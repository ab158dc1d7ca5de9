"""A process stops when asked, cleans up first, and does not outlive its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from runtime.lifecycle import Stop, end, honour_cancellation, run_async, run_service

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 20

COMMAND = """
import asyncio, sys
from runtime.lifecycle import run_async
async def main():
    try:
        print("up", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaned", flush=True)
run_async(main)
"""

SERVICE = """
import asyncio, sys
from runtime.lifecycle import Fatal, run_service
async def main(stop):
    print("up", flush=True)
    await stop.wait()
    print("cleaned", flush=True)
    return 0
sys.exit(run_service(main))
"""

PARENT = """
import subprocess, sys, os
env = {**os.environ, "BALLOT_PARENT_PID": str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=env, stdout=sys.stdout)
print(child.pid, flush=True)
child.wait()
"""


def started(program: str, *args: str) -> subprocess.Popen[str]:
    """Start a Python program whose output is read by the test."""
    command = [sys.executable, "-c", program, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool]) -> bool:
    """Poll until `condition` holds, at most WAIT_S; say whether it does."""
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    ("program", "number", "code"),
    [
        (COMMAND, signal.SIGINT, 130),
        (COMMAND, signal.SIGTERM, 143),
        (SERVICE, signal.SIGINT, 0),
        (SERVICE, signal.SIGTERM, 0),
    ],
    ids=["command-int", "command-term", "service-int", "service-term"],
)
def test_a_signal_ends_it_after_it_cleaned_up(program: str, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM let the coroutine finish its `finally`, without a traceback."""
    process = started(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)
    output, errors = process.communicate(timeout=WAIT_S)

    assert (process.returncode, output, errors) == (code, "cleaned\n", "")


def test_a_service_ends_with_its_parent() -> None:
    """When the parent is killed, its service gets SIGTERM and stops in order."""
    parent = started(PARENT, SERVICE)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    lines.remove("up")

    parent.kill()
    output, _ = parent.communicate(timeout=WAIT_S)

    assert output == "cleaned\n"
    assert until(lambda: not _runs(int(lines.pop())) if lines else True)


def test_optimised_python_is_refused() -> None:
    """A service does not start under `python -O`, which would delete our own checks."""
    done = subprocess.run([sys.executable, "-O", "-c", SERVICE], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "python -O" in done.stderr


def test_a_fatal_fault_is_an_alarm_and_exit_1() -> None:
    """Fatal ends a service with one line, and code 1."""
    program = SERVICE.replace("await stop.wait()", "raise Fatal('the queue is gone')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert '"level":"alarm"' in done.stderr
    assert "the queue is gone" in done.stderr
    assert "Traceback" not in done.stderr


async def _keeps(cancellations: int) -> None:
    """Like `asyncio.wait_for` of Python 3.11: what it is told to end by is kept to itself so often."""
    for _ in range(cancellations):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def test_a_cancellation_that_was_kept_is_honoured() -> None:
    """The task ends where it asks; one that nobody cancelled goes on, also after its own deadline."""

    async def loop() -> None:
        await _keeps(1)
        honour_cancellation()
        await asyncio.sleep(60)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=WAIT_S)
    assert task.cancelled()

    with suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)
    honour_cancellation()


async def test_tasks_are_ended_however_often_they_keep_it() -> None:
    """Each is cancelled until it ends; what fails is not raised, and what never ends is named."""

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError("x")

    tasks = [asyncio.create_task(each) for each in (_keeps(2), fails(), asyncio.sleep(60))]
    await asyncio.sleep(0)
    assert not await end(tasks)
    assert all(task.done() for task in tasks)

    stubborn = asyncio.create_task(_keeps(1_000))
    await asyncio.sleep(0)
    assert await end([stubborn], within_s=0.3) == {stubborn}
    while not stubborn.done():
        stubborn.cancel()
        await asyncio.sleep(0)


def test_values_and_exceptions_pass_through() -> None:
    """run_async returns what the coroutine returns and raises what it raises; run_service its code."""

    async def seven() -> int:
        return 7

    async def broken() -> int:
        raise LookupError("x")

    async def waits(stop: Stop) -> int:
        assert await stop.wait(timeout_s=0.01) is False
        stop.request()
        assert stop.requested
        return 3 if await stop.wait() else 4

    assert run_async(seven) == 7
    with pytest.raises(LookupError):
        run_async(broken)
    assert run_service(waits) == 3


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
