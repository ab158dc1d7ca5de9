"""One of the edge processes as its parent sees it: kept running, and replaced without anyone noticing.

The children inherit the bound socket: connections that wait when one ends are taken by the others, not reset.
A replacement says on a pipe that it would take a vote now; only then the one before it is asked to stop. It
finishes what it has begun and takes no new connection, so both serve for a moment.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from runtime import logs
from runtime.clock import Clock
from runtime.lifecycle import Stop

log = logs.get("parent")

BACKOFF_S: Final = (0.1, 5.0)
STEADY_S: Final = 10.0
"""A child that lived this long did not die of its start; the next one is started without delay."""

READY_S: Final = 30.0
"""A replacement that would take no vote by then is given up, and the one before it stays."""

READY: Final = b"ready"


@dataclass(frozen=True, slots=True)
class Making:
    """What every child is started with."""

    command: Sequence[str]
    env: Mapping[str, str]
    listening: socket.socket
    metrics_directory: Path
    clock: Clock
    stop_s: float
    """How long a process may take to answer what is under way; then it is killed."""

    page: Callable[[], str]
    """The version of the voter's page that a process started now serves; '' for none."""


class Child:
    """One place among the edge processes, with whichever process has it now."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self._process: asyncio.subprocess.Process | None = None
        self._changing = asyncio.Lock()

    async def keep(self, stop: Stop) -> None:
        """Keep a process in this place until asked to stop; then stop it, kindly first."""
        backoff_s = BACKOFF_S[0]
        while not stop.requested:
            async with self._changing:
                if self._process is None or self._process.returncode is not None:
                    self._process = await self._start()
            process, since_s = self._process, self._making.clock.monotonic()
            await _either(process, stop)
            if stop.requested:
                break
            if self._process is not process:
                continue  # it was replaced, and ended as it was asked to
            self._forget(process)
            if self._making.clock.monotonic() - since_s >= STEADY_S:
                backoff_s = BACKOFF_S[0]
            log.error("edge process died", child=process.pid, code=process.returncode, restart_s=backoff_s)
            await stop.wait(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])
        if self._process is not None:
            await self._end(self._process)

    async def replace(self) -> bool:
        """Put a new process in this place, then end the one before it; False when the new one is no use."""
        async with self._changing:
            reading, writing = os.pipe()
            try:
                fresh = await self._start(say_ready=writing)
            finally:
                os.close(writing)
            ready = False
            try:
                ready = await _says_ready(reading)
            finally:
                if not ready:
                    await self._end(fresh)
            if not ready:
                log.error("edge process not replaced: the new one does not get ready", child=fresh.pid)
                return False
            before, self._process = self._process, fresh
            if before is not None:
                await self._end(before)
            return True

    async def _start(self, *, say_ready: int | None = None) -> asyncio.subprocess.Process:
        descriptors = [self._making.listening.fileno(), *([] if say_ready is None else [say_ready])]
        arguments = [str(descriptors[0])]
        if say_ready is not None:
            arguments += ["--say-ready", str(say_ready)]
        process = await asyncio.create_subprocess_exec(
            *self._making.command,
            *arguments,
            env=self._making.env,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=descriptors,
        )
        log.info("edge process started", child=process.pid, page=self._making.page())
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            await _stop(process, self._making.stop_s)
        self._forget(process)

    def _forget(self, process: asyncio.subprocess.Process) -> None:
        # Its counters stay in the sum; what described it alone (ready, in flight) goes.
        mark_process_dead(process.pid, str(self._making.metrics_directory))  # type: ignore[no-untyped-call]


async def replace_all(children: Sequence[Child], stop: Stop) -> None:
    """Replace one after the other, until all are or one cannot be."""
    for number, child in enumerate(children):
        if stop.requested:
            return
        if not await child.replace():
            log.error("edge processes not replaced", replaced=number, kept=len(children) - number)
            return
    log.info("edge processes replaced", replaced=len(children))


async def _either(process: asyncio.subprocess.Process, stop: Stop) -> None:
    """Return when the process has ended or we are asked to stop."""
    waits = {asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _says_ready(reading: int) -> bool:
    """Whether the other end of the pipe says so in time; it closes when its process ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(READY_S):
            return await reader.read() == READY
    except TimeoutError:
        return False
    finally:
        transport.close()


async def _stop(process: asyncio.subprocess.Process, seconds: float) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.warning("edge process killed: it did not stop", child=process.pid)
            process.kill()
            await process.wait()
