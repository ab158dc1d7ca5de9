"""A deployment of its own for one run: a fresh BALLOT_HOME, free ports, `ballot up`, commands as typed.

Whatever it starts, it stops: on success, on a fault and on Ctrl-C.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

COMMAND_SECONDS_MAX = 180.0
READY_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
METRICS_PORTS = 4
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PORTS = range(21_000, 32_000, 7)
# Neighbouring processes begin this many places apart: one with several stages never meets another's.
APART = 97
SETTINGS = "BALLOT_"


class StageFault(Exception):  # noqa: N818  # named for what it means to the tester
    """A command or a process did not do what the run needs, in one sentence."""


def ballot_command() -> list[str]:
    """How to run `ballot` in the environment that runs us."""
    script = Path(sys.executable).with_name("ballot")
    return [str(script)] if script.exists() else [sys.executable, "-m", "runtime.frontdoor"]


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports of 127.0.0.1 that nobody listens on."""
    start = os.getpid() * APART % len(PORTS)
    order: list[int] = [*PORTS[start:], *PORTS[:start]]
    for first in order:
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise StageFault("There are no free ports on 127.0.0.1.")


class Stage:
    """One deployment in a directory of its own, which `keep` leaves behind; a context manager."""

    def __init__(self, *, keep: bool = False, folder: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ballot-run-")) if folder is None else folder
        self.home = self.folder / "home"
        self.files = self.folder / "files"
        for made in (self.home, self.files):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keep = keep
        self.port = free_ports(1 + METRICS_PORTS)
        self.metrics_port = self.port + 1
        self._up: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the voters go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that runs here: ours, without anybody else's deployment."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        return clean | {"BALLOT_HOME": str(self.home), "BALLOT_PUBLIC_URL": self.url}

    @property
    def desk_key(self) -> Path:
        """The desk's public key, to pin."""
        return self.home / "public" / "desk.json"

    def __enter__(self) -> Self:
        self._interruptions = {number: signal.getsignal(number) for number in INTERRUPTIONS}
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever presses Ctrl-C twice means the same as once: what was started is still stopped, in order.
        for number in INTERRUPTIONS:
            signal.signal(number, signal.SIG_IGN)
        try:
            self.stop()
            if not self._keep:
                shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            for number, before in self._interruptions.items():
                signal.signal(number, before)

    def run(self, *arguments: str | Path, seconds: float = COMMAND_SECONDS_MAX) -> str:
        """Run `ballot ARGUMENTS…` and return what it printed; a refusal is a fault with its own words."""
        done = self.attempt(*arguments, seconds=seconds)
        if done.returncode != 0:
            told = done.stderr.strip().splitlines()
            raise StageFault(
                f"`ballot {' '.join(map(str, arguments))}` failed: {told[-1] if told else done.returncode}"
            )
        return done.stdout

    def attempt(
        self, *arguments: str | Path, seconds: float = COMMAND_SECONDS_MAX, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `ballot ARGUMENTS…`, whatever comes of it, within `seconds`."""
        command = [*ballot_command(), *map(str, arguments)]
        with subprocess.Popen(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout=seconds)
            except BaseException:
                end_group(process, seconds=STOP_SECONDS_MAX)
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def up(self, *, extra: tuple[str, ...] = ()) -> None:
        """Start `ballot up` and wait until it would take votes."""
        ports = ("--port", str(self.port), "--metrics-port", str(self.metrics_port))
        said, log = self.files / "up.out", self.files / "up.err"
        with said.open("wb") as out, log.open("ab") as err:
            self._up = subprocess.Popen(
                [*ballot_command(), "up", *ports, *extra],
                env=self.env | {"BALLOT_PARENT_PID": str(os.getpid())},  # a killed run leaves nothing behind
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        up = self._up

        def ready() -> bool:
            if up.poll() is not None:
                told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise StageFault(f"`ballot up` ended with {up.returncode}: {told[-1] if told else 'no word'}")
            return "ready" in said.read_text(encoding="utf-8").splitlines()

        wait_until(ready, seconds=READY_SECONDS_MAX, what="`ballot up` to be ready")

    def stop(self) -> None:
        """Stop `ballot up` and all below it, in its own order."""
        if self._up is not None:
            end(self._up, seconds=STOP_SECONDS_MAX)
            self._up = None

    @property
    def running(self) -> bool:
        """Whether `ballot up` is there."""
        return self._up is not None and self._up.poll() is None

    @property
    def up_pid(self) -> int:
        """The process id of the running `ballot up`."""
        if self._up is None:
            raise StageFault("`ballot up` is not running.")
        return self._up.pid


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return once `holds()`; after `seconds` it is a fault."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StageFault(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(POLL_SECONDS)


def end(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Ask `process` to stop, and end its whole group if it does not within `seconds`."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        end_group(process, seconds=seconds)


def end_group(process: subprocess.Popen[bytes] | subprocess.Popen[str], *, seconds: float) -> None:
    """End the process group that `process` leads: politely, then not."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(timeout=seconds)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        return
    process.wait()  # nothing survives SIGKILL; a process not waited for stays as a zombie
