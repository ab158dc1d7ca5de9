"""Embedded servers: kept over kills, shared by count, adopted when orphaned, never started on lost data."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from runtime import postgres, starting, valkey
from runtime.addresses import CLUSTERS
from runtime.home import Home
from runtime.preparation import admin_client
from runtime.processes import started_at
from runtime.servers import Servers, servers
from tests.conftest import environment_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.starting import Server

WAIT_S = 30
NAMES = {"valkey", "voterdb", "userdb"}

USER = """
import sys
from runtime.home import Home
from runtime.servers import servers
home = Home.from_environment()
with servers(home) as found:
    print(*found.processes.values(), flush=True)
    sys.stdin.readline()
"""

LISTENER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home whose servers are this test's own, below a directory closed to everybody else."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return Home.from_environment({"BALLOT_HOME": str(closed / "home")})


def user(home: Home) -> subprocess.Popen[str]:
    """Start another command that uses the home's servers until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER],
        env=environment_for(home.path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def pids_of(other: subprocess.Popen[str]) -> set[int]:
    """Return the server pids that the other command printed once it had them."""
    assert other.stdout is not None
    return {int(pid) for pid in other.stdout.readline().split()}


def dismiss(other: subprocess.Popen[str]) -> None:
    """Let the other command leave in order."""
    other.communicate("\n", timeout=WAIT_S)
    assert other.returncode == 0


def until(condition: Callable[[], bool]) -> bool:
    """Poll until `condition` holds, at most WAIT_S; say whether it does."""
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def run(pids: set[int]) -> set[int]:
    """Return which of `pids` still run."""
    return {pid for pid in pids if started_at(pid) is not None}


def write(found: Servers) -> None:
    """Put one value in the queue and one in each cluster."""

    async def put() -> None:
        client = valkey.connect(found, "admin")
        await client.set("kept", "yes")
        await client.aclose()
        for cluster in CLUSTERS:
            connection = await postgres.connect(found, cluster, "ballot_owner")
            await connection.execute("CREATE TABLE runtime.kept AS SELECT 'yes' AS word")
            await connection.close()

    asyncio.run(put())


def kept(found: Servers) -> list[str]:
    """Return what `write` put there."""

    async def get() -> list[str]:
        client = valkey.connect(found, "admin")
        words = ["yes" if await client.get("kept") == b"yes" else "lost"]
        await client.aclose()
        for cluster in CLUSTERS:
            connection = await postgres.connect(found, cluster, "ballot_owner")
            words.append(await connection.fetchval("SELECT word FROM runtime.kept"))
            await connection.close()
        return words

    return asyncio.run(get())


def test_killed_servers_keep_their_data(home: Home) -> None:
    """After kill -9 of all three, ensure_running starts them on the same ports with everything in place."""
    with servers(home, {}) as found:
        write(found)
        before, address = found.processes, found.valkey
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: not found.processes)

        assert set(found.ensure_running()) == NAMES
        assert found.ensure_running() == ()

        assert kept(found) == ["yes"] * 3
        assert found.valkey == address
        assert set(found.processes) == NAMES
        assert not set(found.processes.values()) & set(before.values())


def test_one_that_dies_while_another_starts_is_started_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that is killed while the queue starts again is started in the next round."""
    with servers(home, {}) as found:
        before = found.processes
        begin = starting.start

        def start(server: Server, *arguments: Any, **more: Any) -> click.ClickException | None:
            told = begin(server, *arguments, **more)
            if server.name == "valkey":
                os.kill(before["voterdb"], signal.SIGKILL)
                assert until(lambda: "voterdb" not in found.processes)
            return told

        monkeypatch.setattr(starting, "start", start)
        os.kill(before["valkey"], signal.SIGKILL)
        assert until(lambda: "valkey" not in found.processes)
        found.ensure_running()
        assert set(found.processes) == NAMES
        assert found.processes["userdb"] == before["userdb"]


def test_the_last_one_out_stops_the_servers(home: Home) -> None:
    """Two commands share one set; when the first leaves the servers stay, when the last leaves they stop."""
    first = user(home)
    pids = pids_of(first)
    second = user(home)

    assert pids_of(second) == pids
    dismiss(first)
    assert run(pids) == pids
    dismiss(second)
    assert run(pids) == set()


def test_many_commands_at_once_share_one_set(home: Home) -> None:
    """Commands that start together on a fresh home agree on one set of servers."""
    others = [user(home) for _ in range(4)]
    found = [pids_of(other) for other in others]

    assert len(found[0]) == 3
    assert all(pids == found[0] for pids in found)
    for other in others:
        dismiss(other)
    assert run(found[0]) == set()


def test_orphans_are_adopted_and_stopped(home: Home) -> None:
    """Servers whose only user was killed go on; the next command uses them as they are and stops them."""
    first = user(home)
    pids = pids_of(first)
    first.kill()
    first.communicate(timeout=WAIT_S)
    assert run(pids) == pids

    with servers(home, {}) as found:
        assert set(found.processes.values()) == pids
    assert run(pids) == set()


def test_a_supervisor_makes_orphans_its_own_children(home: Home) -> None:
    """`ballot up` stops what it finds without a user and starts its own, data kept."""
    first = user(home)
    pids = pids_of(first)
    first.kill()
    first.communicate(timeout=WAIT_S)

    with servers(home, {}, supervise=True) as found:
        assert run(pids) == set()
        for pid in found.processes.values():
            stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
            assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()
        assert "valkey-server" in Path(f"/proc/{found.processes['valkey']}/cmdline").read_text("ascii")


def test_a_command_leaves_restarting_to_the_supervisor(home: Home) -> None:
    """What died under `ballot up` is its child again after the restart, even if a command joins meanwhile."""
    with servers(home, {}, supervise=True) as found:
        os.kill(found.processes["valkey"], signal.SIGKILL)
        assert until(lambda: "valkey" not in found.processes)
        other = user(home)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)

        assert found.ensure_running() == ("valkey",)
        assert pids_of(other) == set(found.processes.values())
        dismiss(other)


def test_a_second_supervisor_is_refused(home: Home) -> None:
    """Only one command at a time supervises a home's servers."""
    with (
        servers(home, {}, supervise=True),
        pytest.raises(click.ClickException, match="already supervising"),
        servers(home, {}, supervise=True),
    ):
        pass


def test_lost_data_is_never_papered_over(home: Home) -> None:
    """A server whose directory is gone though it held data is not started; the sentence names the way out."""
    with servers(home, {}):
        pass
    shutil.rmtree(home.data / "valkey")

    with (
        pytest.raises(click.ClickException, match=r"valkey has held data but .* `ballot recover`"),
        servers(home, {}),
    ):
        pass
    assert not (home.data / "valkey").exists()
    assert home.run.joinpath("servers.json").read_text() == "{}"


def test_a_taken_port_is_drawn_again(home: Home) -> None:
    """When somebody else listens on a server's port at the next start, another one is used."""
    with servers(home, {}) as found:
        address = found.valkey
        write(found)
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(address.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    assert listener.stdout.readline() == "up\n"

    with servers(home, {}) as found:
        assert found.valkey.port != address.port
        assert kept(found) == ["yes"] * 3
    listener.communicate("\n", timeout=WAIT_S)


def test_a_foreign_pid_in_the_pid_file_does_not_matter(home: Home) -> None:
    """A pid file left by a kill, whose pid is now some other process, does not keep PostgreSQL down."""
    with servers(home, {}) as found:
        pid = found.processes["voterdb"]
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: "voterdb" not in found.processes)
        path = home.data / "voterdb" / "postmaster.pid"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

        assert found.ensure_running() == ("voterdb",)


def test_an_unrecorded_server_is_stopped_and_replaced(home: Home) -> None:
    """A starter killed before it wrote the record leaves a server that the next start finds and replaces."""
    first = user(home)
    pids = pids_of(first)
    first.kill()
    first.communicate(timeout=WAIT_S)
    (home.run / "servers.json").write_text("{}")

    with servers(home, {}) as found:
        assert run(pids) == set()
        assert set(found.processes) == NAMES


def test_settings_are_those_of_production(home: Home) -> None:
    """The queue fsyncs each write and never evicts; both clusters fsync, and log no value."""

    async def shown(found: Servers, name: str) -> list[str]:
        values = []
        for cluster in CLUSTERS:
            connection = await postgres.connect(found, cluster, "ballot_owner")
            values.append(await connection.fetchval(f"SHOW {name}"))
            await connection.close()
        return values

    with servers(home, {}) as found:
        password = home.password("valkey-admin")
        with admin_client(found.valkey, user="admin", password=password) as client:
            wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
            for name, value in {**wanted, "maxmemory-policy": "noeviction", "save": ""}.items():
                assert client.config_get(name) == {name: value}
        wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica"}
        for name, value in {**wanted, "log_statement": "none", "log_parameter_max_length": "0"}.items():
            assert asyncio.run(shown(found, name)) == [value, value]


def test_joining_running_servers_is_quick(home: Home) -> None:
    """A command on running servers spends well under 150 ms on them."""
    with servers(home, {}):
        best = 10.0
        for _ in range(5):
            began = time.perf_counter()
            with servers(home, {}):
                best = min(best, time.perf_counter() - began)

    assert best < 0.15
