"""Start one embedded server until it serves, and stop it: what Valkey and PostgreSQL have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import click

from runtime import processes

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from pathlib import Path

    from runtime.home import Home
    from runtime.processes import Process

START_WAIT_S = 60.0  # a queue of a national ballot's size loads within this
START_ATTEMPTS = 3
LINGER_WAIT_S = 3.0
STOP_WAIT_S = 20.0
POLL_S = 0.01
LOG_TAIL_BYTES = 4_000
QUEUE = "valkey"


class Server(Protocol):
    """What one kind of server knows about itself."""

    @property
    def name(self) -> str:
        """Name of its data directory, log and records."""

    @property
    def data(self) -> Path:
        """Its data directory, which is its working directory too."""

    @property
    def executable(self) -> Path:
        """The program its processes run."""

    @property
    def user(self) -> int | None:
        """The user it must run as, if not ours."""

    @property
    def nice(self) -> int:
        """How far it gives way to other processes of this machine."""

    @property
    def stop_signal(self) -> signal.Signals:
        """The signal that stops it in good order."""

    def holds_data(self) -> bool:
        """Whether its data directory was ever filled."""

    def prepare(self, port: int) -> None:
        """Make what it needs before it starts."""

    def command(self, port: int) -> list[str]:
        """How to start it in the foreground."""

    def ready(self, process: Process, port: int) -> bool:
        """Whether this process of it serves."""

    def answers(self, port: int) -> bool:
        """Whether it answers to our own password."""

    def note(self, port: int) -> None:
        """Note, while it runs, how far its data is written."""

    def lost(self) -> str:
        """In what its data falls short of that; empty if in nothing."""

    def mend(self) -> None:
        """After a start that failed: mend what a kill may leave; ClickException for anything else."""


def start(
    server: Server, port: int, *, home: Home, record: Callable[[str, Process], None]
) -> click.ClickException | None:
    """Start one server and wait until it serves; a fault is returned, for the others go on starting.

    Each process is recorded the moment it exists, so that whoever comes after us finds it.
    """
    log = home.logs / f"{server.name}.log"
    generation = _generation(server, home)
    if lost := lost_data(server, home):
        return click.ClickException(lost)
    try:
        for _ in range(START_ATTEMPTS):
            _wait_for_lingering(server)
            server.prepare(port)
            command = server.command(port)
            process = processes.spawn(
                command, log=log, directory=server.data, as_user=server.user, nice=server.nice
            )
            record(server.name, process)
            if _wait_ready(server, process, port):
                generation.touch(0o600)
                server.note(port)
                return None
            stop(server, process)
            server.mend()
    except click.ClickException as fault:
        return fault
    except OSError as error:
        return click.ClickException(f"{server.name} could not be started: {error}.")
    hint = "; `ballot recover` says what can be done" if server.name == QUEUE else ""
    return click.ClickException(f"{server.name} could not be started: {_reason(log)}{hint}")


def stop(server: Server, process: Process) -> None:
    """Stop a process of `server` in good order, or kill it when that takes too long."""
    processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)


def lost_data(server: Server, home: Home) -> str:
    """Say that a directory that held data is empty or holds less: no promise made on it could be kept."""
    mended = (
        "`ballot recover` rebuilds it" if server.name == QUEUE else "`ballot backup restore` brings it back"
    )
    if server.holds_data():
        less = server.lost()
        return f"{server.name} has lost data: {less}, so it was not started; {mended}." if less else ""
    if not _generation(server, home).exists():
        return ""
    return f"{server.name} has held data but {server.data} is empty, so it was not started; {mended}."


def why_not_started(server: Server, home: Home) -> str:
    """Return the line of a server's log that most likely says why it did not start."""
    return _reason(home.logs / f"{server.name}.log")


def _generation(server: Server, home: Home) -> Path:
    """The file, kept elsewhere, that says that a server has held data."""
    return home.run / f"{server.name}.generation"


def _wait_for_lingering(server: Server) -> None:
    """Wait for the children that a killed server leaves behind for a moment.

    What does not go by itself is a server whose starter was killed before it wrote the record: stop it.
    """
    deadline = time.monotonic() + LINGER_WAIT_S
    while lingering := processes.in_directory(server.data, executable=server.executable):
        if time.monotonic() > deadline:
            for process in lingering:
                stop(server, process)
            return
        time.sleep(POLL_S)


def _wait_ready(server: Server, process: Process, port: int) -> bool:
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if not process.alive:
            return False
        if server.ready(process, port):
            return True
        time.sleep(POLL_S)
    return False


def _reason(log: Path) -> str:
    """Return the line of the server's log that most likely says why it did not start."""
    try:
        text = log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = text.strip().splitlines()
    faults = [line for line in lines if "FATAL" in line or "# " in line]
    return (faults or lines or ["its log is empty"])[-1]
