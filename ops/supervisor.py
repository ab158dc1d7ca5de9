"""Keeps a fixed set of processes and the servers below them running, and stops them in order.

One loop looks at every child and starts again what died; a thread beside it does the same for the servers,
because waiting for a database to recover must not keep an edge down. Children have a session of their own,
so Ctrl-C reaches only the supervisor, and end when it ends (`tether.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from ops.backoff import POLL_SECONDS, Backoff
from ops.private import private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TETHER = Path(__file__).with_name("tether.py")
SERVER_CHECK_SECONDS = 0.25
STOP_SECONDS = 30.0


class Restartable(Protocol):
    """The servers, as the supervisor sees them."""

    def ensure_running(self) -> object:
        """Start again what died; return when that is done."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep: its name in messages, its command, where its output goes, and its niceness."""

    name: str
    command: tuple[str, ...]
    output: Path
    nice: int = 0


def ballot_command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of `ballot …` in this environment, naming the script so that `ps` shows it."""
    return (sys.executable, str(Path(sys.executable).with_name("ballot")), *arguments)


def tethered(command: Sequence[str]) -> tuple[str, ...]:
    """Return `command` tied to this process: it is told to end when this process ends, however it ends."""
    return (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command)


@dataclass(slots=True)
class Child:
    """One kept process. `due` is the monotonic time from which it may be started again."""

    spec: ChildSpec
    backoff: Backoff = field(default_factory=Backoff)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0

    def start(self) -> None:
        """Start it, tied to this process; output is appended to its file."""
        with os.fdopen(private(self.spec.output, os.O_APPEND), "ab") as output:
            self.process = subprocess.Popen(
                tethered(self.spec.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if self.spec.nice:
            with suppress(ProcessLookupError):  # gone already: the next look starts it again
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self.process.pid, own + self.spec.nice)
        self.started = time.monotonic()

    def tend(self) -> None:
        """Notice a death, and start again when that is due."""
        now = time.monotonic()
        if self.process is not None:
            status = self.process.poll()
            if status is None:
                return
            wait_s = self.backoff.after_death(now - self.started)
            self.process, self.due = None, now + wait_s
            click.echo(
                f"{self.spec.name} ended ({ending(status)}); starting it again in {wait_s:.1f} s", err=True
            )
        if now >= self.due:
            self.start()

    def stop(self) -> None:
        """Ask it to end, wait for its drain, and insist only after STOP_SECONDS."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            click.echo(f"{self.spec.name} did not stop within {STOP_SECONDS:.0f} s and was killed", err=True)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ending(status: int) -> str:
    """Say how a process ended."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


class Supervisor:
    """Runs `specs` above `servers`, stopping them in the order given."""

    def __init__(self, specs: Sequence[ChildSpec], servers: Restartable) -> None:
        self._children = [Child(spec) for spec in specs]
        self._servers = servers

    def run(
        self,
        stop: threading.Event,
        *,
        each_round: Callable[[], None],
        stopping: Callable[[bool], None] | None = None,
    ) -> None:
        """Keep everything running until `stop`; `each_round` is called ten times a second.

        `stopping` is called before the first child is stopped, and told whether `stop` was why.
        """
        tending = threading.Thread(target=self._tend_servers, args=(stop,), name="servers")
        tending.start()
        try:
            while not stop.is_set():
                for child in self._children:
                    child.tend()
                each_round()
                stop.wait(POLL_SECONDS)
        finally:
            asked = stop.is_set()
            stop.set()
            if stopping is not None:
                stopping(asked)
            for child in self._children:
                child.stop()
            tending.join()

    def _tend_servers(self, stop: threading.Event) -> None:
        backoff = Backoff()
        wait_s = SERVER_CHECK_SECONDS
        while not stop.wait(wait_s):
            try:
                self._servers.ensure_running()
            except (OSError, click.ClickException, subprocess.SubprocessError) as error:
                wait_s = backoff.after_death(0.0)
                message = error.message if isinstance(error, click.ClickException) else str(error)
                click.echo(f"a server does not start: {message}; trying again in {wait_s:.1f} s", err=True)
            except Exception:  # noqa: BLE001  # loud; but nobody else would ever start a server again
                wait_s = backoff.after_death(0.0)
                click.echo(f"{traceback.format_exc()}trying again in {wait_s:.1f} s", err=True)
            else:
                backoff, wait_s = Backoff(), SERVER_CHECK_SECONDS
