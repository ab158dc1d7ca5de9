"""`ballot up`: ready, restarted when anything dies, stopped in order, and no orphan of ours behind it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ops.backup import keys
from ops.backup.catalogue import Catalogue
from runtime.home import Home
from tests.conftest import ballot_command, environment_for
from tests.integration.check_ballot import DEFINITION

READY_S = 60.0
BACK_S = 20.0
STOP_S = 60.0
OURS = "/ballot "
PREPARING = "ballot probe prepare"


def until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll until `condition` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this machine, as /proc shows it."""

    pid: int
    parent: int
    started: str
    command: str


def running() -> list[Process]:
    """All processes that are no zombies."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if fields[0] not in "ZX":
            found.append(Process(int(entry.name), int(fields[1]), fields[19], command))
    return found


NICE = {"ballot worker": 10, "ballot complaints": 10, "ballot trim": 10, "ballot intake": 0}


class Up:
    """A running `ballot up` with a home and ports of its own."""

    def __init__(self, home: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.output = home.parent / "up.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [ballot_command(), "up", "--port", "0", "--metrics-port", "0", *options],
                env={**environment_for(home), **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        """Everything printed so far."""
        return self.output.read_text()

    def wait_ready(self) -> None:
        """Wait for the line that is exactly `ready`."""
        until(
            lambda: "ready" in self.text().splitlines() or self.process.poll() is not None,
            seconds=READY_S,
            what="ready",
        )
        assert "ready" in self.text().splitlines(), self.text()

    @property
    def port(self) -> int:
        """The API's port, as printed."""
        found = re.search(r"^api\s+http://127\.0\.0\.1:(\d+)$", self.text(), re.MULTILINE)
        assert found, self.text()
        return int(found[1])

    def answers_ready(self) -> bool:
        """Whether /readyz says 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def children(self, name: str) -> set[int]:
        """Pids of our descendants with `name` in their command line."""
        return {process.pid for process in self.everything() if name in process.command}

    def replaced(self, name: str, before: set[int]) -> bool:
        """Whether a descendant of that name runs that did not before."""
        return bool(self.children(name) - before)

    def everything(self) -> list[Process]:
        """All descendants: intake, worker, monitor, servers."""
        found = {process.pid: process for process in running()}
        wanted, added = {self.process.pid}, True
        while added:
            fresh = {pid for pid, process in found.items() if process.parent in wanted} - wanted
            wanted, added = wanted | fresh, bool(fresh)
        return [process for pid, process in found.items() if pid in wanted - {self.process.pid}]

    def end(self) -> None:
        """Stop it whatever the test did."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A ready `ballot up`."""
    running = Up(tmp_path / "home")
    try:
        running.wait_ready()
        yield running
    finally:
        running.end()


@pytest.fixture
def up_with_backups(tmp_path: Path) -> Iterator[Up]:
    """The same, with backups."""
    home, target = Home(tmp_path / "home"), tmp_path / "target"
    home.make()
    target.mkdir()
    keys.make(home, tmp_path / "medium")
    running = Up(home.path, env={"BALLOT_BACKUP": str(target)})
    try:
        running.wait_ready()
        yield running
    finally:
        running.end()


def backed_up(home: Path, what: keys.What) -> bool:
    """Whether a proven backup is listed."""
    return any(entry.usable for entry in Catalogue(Home(home), what, None).entries())


def alive(processes: list[Process]) -> list[str]:
    """Command lines of those still running; a pid counts only together with its start time."""
    now = {(process.pid, process.started) for process in running()}
    return [process.command for process in processes if (process.pid, process.started) in now]


def test_whatever_dies_comes_back(up: Up) -> None:
    """Worker, complaints, edge, monitor and queue, killed one by one: each is back, and votes are taken.

    What comes after the answer gives way to it: what stores runs at a lower priority than the edge.
    """
    nice = {name: {os.getpriority(os.PRIO_PROCESS, pid) for pid in up.children(name)} for name in NICE}
    assert nice == {name: {value + os.getpriority(os.PRIO_PROCESS, 0)} for name, value in NICE.items()}
    for name in (*NICE, "ballot monitor", "valkey-server"):
        before = up.children(name)
        assert before, name

        for pid in before:
            os.kill(pid, signal.SIGKILL)

        until(partial(up.replaced, name, before), seconds=BACK_S, what=f"{name} back")
        until(up.answers_ready, seconds=BACK_S, what=f"ready again after {name}")
    assert up.process.poll() is None


def test_sigterm_stops_everything_in_order(up_with_backups: Up) -> None:
    """Exit 0, and no process left: neither ours nor a server, nor those that made backups by themselves."""
    up = up_with_backups
    for what in keys.WHATS:
        until(partial(backed_up, up.home, what), seconds=BACK_S, what=f"a backup of {what}")
    everything = up.everything()

    up.process.terminate()
    status = up.process.wait(STOP_S)

    assert status == 0, up.text()
    until(lambda: not alive(everything), seconds=5, what=f"all ended: {alive(everything)}")


def test_a_killed_supervisor_leaves_no_process_of_ours(up: Up) -> None:
    """`ballot up` killed: edges, worker, monitor and what prepares the probe end too.

    That includes the desk command under way. The next `up` here is ready again, and prepares the rest.
    """

    def desk_command() -> bool:
        preparing = up.children(PREPARING)
        return any(process.parent in preparing for process in up.everything())

    until(desk_command, seconds=BACK_S, what="the probe ballot being prepared")
    everything = up.everything()
    files = [*up.home.glob("logs/*"), *up.home.glob("monitor/*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in files}

    up.process.kill()
    up.process.wait()

    def ours() -> list[str]:
        return [line for line in alive(everything) if OURS in line]

    until(lambda: not ours(), seconds=BACK_S, what="our processes ended")
    again = Up(up.home)
    try:
        again.wait_ready()
        until(lambda: bool(again.children(PREPARING)), seconds=BACK_S, what="the preparation goes on")
        until(lambda: not again.children(PREPARING), seconds=READY_S, what="the preparation done")
    finally:
        again.end()
    assert (up.home / "monitor" / "opened").exists(), again.text()
    assert "could not be prepared" not in again.text()
    assert {"intake.out", "probe.out", "prepare.lock", "service.jsonl"} <= modes.keys()
    assert set(modes.values()) == {0o600}, modes
    # A start after a start: the first end was nobody's wish. The second was.
    turns = [json.loads(line) for line in (up.home / "monitor" / "service.jsonl").read_text().splitlines()]
    kinds = [(turn["kind"].removeprefix("service."), turn["asked"]) for turn in turns]
    assert kinds == [("started", True), ("started", True), ("stopped", True)]
    until(lambda: not alive(everything), seconds=5, what="adopted servers stopped")


def test_a_closed_terminal_leaves_no_server(tmp_path: Path) -> None:
    """SIGHUP on a desk command without `ballot up`: the servers that it started stop, as on SIGTERM."""
    home, definition = tmp_path / "home", tmp_path / "ballot.toml"
    definition.write_text(DEFINITION.format(id="hung-up"))
    env = environment_for(home)
    subprocess.run([ballot_command(), "create", definition], env=env, check=True, capture_output=True)
    with subprocess.Popen(
        [ballot_command(), "status", "hung-up", "--watch"], env=env, stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline()
        servers = [process for process in running() if str(home) in process.command]
        watching.send_signal(signal.SIGHUP)
        watching.communicate(timeout=STOP_S)

    assert watching.returncode == 128 + signal.SIGTERM
    assert servers
    until(lambda: not alive(servers), seconds=5, what=f"servers stopped: {alive(servers)}")


def test_a_taken_port_is_one_plain_sentence(tmp_path: Path) -> None:
    """Which port, and which option to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [ballot_command(), "up", "--port", str(port)],
            env=environment_for(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
