"""Server processes by proven identity, pid and start time: no other process is ever signalled."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_S = 0.01
KILL_WAIT_S = 10.0
PROC = Path("/proc")
STATE_FIELD = 0
START_FIELD = 19

# Children of this process, kept so that they are reaped when they end and not warned about when they do not.
_children: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _let_go() -> None:
    """Servers that another command still uses outlive us on purpose: Python need not warn of them."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


@dataclass(frozen=True, slots=True)
class Process:
    """A process we started, now or in an earlier life: its pid counts only together with its start time."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            _children.pop(self.pid, None)
        return started_at(self.pid) == self.started

    @property
    def ours(self) -> bool:
        """Whether it is a child of this process."""
        return self.pid in _children and self.alive


def packaged(package: str, pattern: str) -> Path:
    """Return the one file of an installed wheel that matches, without importing the wheel's Python layer."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or []:
        for path in sorted(Path(place).resolve().glob(pattern)):
            return path
    raise click.ClickException(f"The package {package} is not installed here, or not for this machine.")


def spawn(
    command: Sequence[str], *, log: Path, directory: Path, as_user: int | None = None, nice: int = 0
) -> Process:
    """Start a server in its own session (Ctrl-C does not reach it) with its output added to `log`."""
    with log.open("ab") as output:
        log.chmod(0o600)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            start_new_session=True,
            user=as_user,
            group=as_user,
            extra_groups=None if as_user is None else [],
        )
    if nice:
        with suppress(ProcessLookupError):  # gone already, which its caller is about to see
            os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(os.PRIO_PROCESS, 0) + nice)
    _children[child.pid] = child
    return Process(child.pid, started_at(child.pid) or "gone")


def started_at(pid: int) -> str | None:
    """Return a text that no other process of this pid ever has, or nothing when it is gone or a zombie."""
    if not PROC.joinpath("self").exists():
        return _started_at_by_ps(pid)
    try:
        stat = PROC.joinpath(str(pid), "stat").read_text("utf-8", "replace")
        boot = PROC.joinpath("sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[STATE_FIELD] in {"Z", "X"}:
        return None
    return f"{boot}:{fields[START_FIELD]}"


def _started_at_by_ps(pid: int) -> str | None:
    asked = subprocess.run(  # the system's own ps, from the PATH
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607  # where it lives differs by system
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = asked.stdout.strip().partition(" ")
    return started.strip() or None if asked.returncode == 0 and not state.startswith("Z") else None


def in_directory(directory: Path, *, executable: Path) -> list[Process]:
    """Return the processes that run `executable` in `directory`, such as a killed postmaster's children.

    Both together prove a process to be ours: nobody else runs this program in this home.
    """
    found = []
    for entry in PROC.glob("[0-9]*"):
        try:
            here = entry.joinpath("cwd").readlink() == directory.resolve()
            ours = here and entry.joinpath("exe").readlink() == executable.resolve()
        except OSError:
            continue
        started = started_at(int(entry.name)) if ours else None
        if started is not None:
            found.append(Process(int(entry.name), started))
    return found


def send(process: Process, number: signal.Signals) -> None:
    """Signal this very process, or nobody."""
    if not hasattr(os, "pidfd_open"):
        if process.alive:
            os.kill(process.pid, number)
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor holds on to whoever had the pid when it was opened: check, then signal that one.
        if process.alive:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def stop(process: Process, number: signal.Signals, *, wait_s: float) -> None:
    """Ask it to stop, wait `wait_s`, then kill it; return when it is gone."""
    send(process, number)
    if wait_gone(process, wait_s):
        return
    send(process, signal.SIGKILL)
    wait_gone(process, KILL_WAIT_S)


def wait_gone(process: Process, wait_s: float) -> bool:
    """Wait until the process has ended, at most `wait_s`; say whether it has."""
    deadline = time.monotonic() + wait_s
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
