"""The parent of the edge processes: binds once, replaces whoever dies, adds up their numbers.

The children inherit the bound socket: connections that wait when one dies are taken by the others, not reset.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from intake.server import BACKLOG
from runtime import logs, metrics
from runtime.clock import Clock
from runtime.lifecycle import Stop

log = logs.get("parent")

BACKOFF_S: Final = (0.1, 5.0)
STEADY_S: Final = 10.0
"""A child that lived this long did not die of its start; the next one is started without delay."""

STOP_S: Final = 15.0
METRICS_PREFIX: Final = "intake-metrics-"


@dataclass(frozen=True, slots=True)
class Children:
    """What every child is started with."""

    command: Sequence[str]
    env: Mapping[str, str]
    listening: socket.socket
    metrics_directory: Path
    clock: Clock

    async def keep_one(self, stop: Stop) -> None:
        """Keep one child running until asked to stop; then stop it, kindly first."""
        backoff_s = BACKOFF_S[0]
        while not stop.requested:
            started_s = self.clock.monotonic()
            child = await self._start()
            ended = asyncio.create_task(child.wait())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _stop_child(child)
            stopping.cancel()
            code = await ended
            # Its counters stay in the sum; what described it alone (ready, in flight) goes.
            mark_process_dead(child.pid, str(self.metrics_directory))  # type: ignore[no-untyped-call]
            if stop.requested:
                return
            if self.clock.monotonic() - started_s >= STEADY_S:
                backoff_s = BACKOFF_S[0]
            log.error("edge process died", child=child.pid, code=code, restart_s=backoff_s)
            await stop.wait(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    async def _start(self) -> asyncio.subprocess.Process:
        descriptor = self.listening.fileno()
        child = await asyncio.create_subprocess_exec(
            *self.command,
            str(descriptor),
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(descriptor,),
        )
        log.info("edge process started", child=child.pid)
        return child


async def _stop_child(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), STOP_S)
        except TimeoutError:
            log.warning("edge process killed: it did not stop", child=child.pid)
            child.kill()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: any), or one plain sentence why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise click.ClickException(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    return listening


def ballot_command() -> str:
    """The installed `ballot`, as we were called if that was it."""
    called = Path(sys.argv[0])
    return str(called if called.name == "ballot" else Path(sysconfig.get_path("scripts")) / "ballot")


def metrics_directory(run: Path) -> Path:
    """A new directory for the children's numbers; those of parents that are gone are removed."""
    for left in run.glob(f"{METRICS_PREFIX}*"):
        pid = left.name.removeprefix(METRICS_PREFIX)
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    directory = run / f"{METRICS_PREFIX}{os.getpid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


async def keep(
    listening: socket.socket,
    *,
    scheme: str,
    processes: int,
    metrics_port: int,
    run: Path,
    clock: Clock,
    stop: Stop,
) -> int:
    """Keep `processes` children and the metrics port until asked to stop. The exit code is always 0."""
    directory = metrics_directory(run)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    numbers = metrics.serve(metrics_port, registry=registry)
    command = (sys.executable, ballot_command(), "intake")
    children = Children(
        command=(*command, "--processes", str(processes), "--inherit-socket"),
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(directory),
            "BALLOT_PARENT_PID": str(os.getpid()),
        },
        listening=listening,
        metrics_directory=directory,
        clock=clock,
    )
    try:
        host, port, *_ = listening.getsockname()
        click.echo(f"intake on {scheme}://{host}:{port}, metrics on port {numbers.port}")
        await asyncio.gather(*(children.keep_one(stop) for _ in range(processes)))
    finally:
        numbers.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0
