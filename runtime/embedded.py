"""The home's own servers: shared by every command that uses them, stopped by the last, adopted when orphaned.

Two locks. `run/start.lock` is held alone while anything changes; `run/users.lock` is held, shared, by every
user for as long as it uses the servers. Whoever gets the second alone is the only user. The kernel drops both
with their holder, however it dies, so servers without a user are simply found running, proven to be ours, and
used or stopped.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import click
import orjson

from runtime import home as home_files
from runtime import processes
from runtime.addresses import ADMIN, CLUSTERS, OWNER, PostgresAddress, ValkeyAddress
from runtime.postgres_server import PostgresServer
from runtime.preparation import (
    VALKEY,
    Database,
    apply_migrations,
    function_files,
    load_functions,
    migration_files,
)
from runtime.processes import Process
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.home import Home

LOOPBACK = "127.0.0.1"
# Below the range that Linux draws outgoing connections' ports from: a port stays free between two starts.
PORT_LOW, PORT_HIGH = 20_000, 32_000
PORT_DRAWS_MAX = 200
LOCK_WAIT_S = 180.0
LOCK_POLL_S = 0.02
START_WAIT_S = 60.0
START_ATTEMPTS = 3
LINGER_WAIT_S = 3.0
STOP_WAIT_S = 20.0
SUPERVISOR_WAIT_S = 5.0  # a short command leaves within this, so that the servers can be our own children
READY_POLL_S = 0.01
LOG_TAIL_BYTES = 4_000


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


class Embedded:
    """One user's hold on the home's servers."""

    def __init__(self, home: Home, *, supervise: bool) -> None:
        self._home = home
        self._supervise = supervise
        self._pid = os.getpid()
        self._users: int | None = None
        self._recording = threading.Lock()  # servers are started in parallel and share one record file
        self._servers: tuple[Server, ...] = (
            ValkeyServer(home),
            *(PostgresServer(home, cluster) for cluster in CLUSTERS),
        )

    def join(self) -> None:
        """Become a user: start or adopt the servers and bring them up to date."""
        deadline = time.monotonic() + (SUPERVISOR_WAIT_S if self._supervise else 0.0)
        while not self._join(patiently=time.monotonic() < deadline):
            time.sleep(LOCK_POLL_S)

    def _join(self, *, patiently: bool) -> bool:
        """Join; when `patiently`, only if nobody else is using the servers. Say whether it did."""
        with self._start_lock():
            users = _open_lock(self._home.run / "users.lock")
            alone = _try_lock(users, fcntl.LOCK_EX)
            if patiently and not alone:
                os.close(users)
                return False
            fcntl.flock(users, fcntl.LOCK_SH)
            self._users = users
            try:
                if alone:
                    self._adopt()
                self._start_missing()
                self._bring_up_to_date()
            except BaseException:
                self._drop()
                raise
        return True

    def leave(self) -> None:
        """Stop being a user; the last one out stops the servers. Does nothing in a forked child."""
        if self._users is None or os.getpid() != self._pid:
            return
        with self._start_lock():
            self._drop()

    def ensure_running(self) -> tuple[str, ...]:
        """Start what has died; return its names."""
        if not self._dead():
            return ()
        with self._start_lock():
            names = self._start_missing()
            self._bring_up_to_date()
        return names

    def port(self, name: str) -> int:
        """Return the port of one server."""
        port = self._read("ports.json").get(name)
        if not isinstance(port, int):
            raise click.ClickException(f"{self._home.run / 'ports.json'} does not name the port of {name}.")
        return port

    def processes(self) -> dict[str, int]:
        """Return the process id of each running server."""
        return {name: process.pid for name, process in self._recorded().items() if process.alive}

    # Locks

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        descriptor = _open_lock(self._home.run / "start.lock")
        deadline = time.monotonic() + LOCK_WAIT_S
        try:
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise click.ClickException(
                        f"Another command has been starting or stopping the servers of {self._home.path} "
                        f"for {LOCK_WAIT_S:.0f} s; end it and try again."
                    )
                time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _drop(self) -> None:
        """Give up our share (start.lock is held) and stop the servers if nobody else has one."""
        descriptor, self._users = self._users, None
        if descriptor is None:
            return
        try:
            if _try_lock(descriptor, fcntl.LOCK_EX):
                self._stop_all()
        finally:
            os.close(descriptor)

    # Records in run/

    def _read(self, name: str) -> dict[str, object]:
        try:
            found = orjson.loads((self._home.run / name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, value: dict[str, object]) -> None:
        home_files.replace(self._home.run / name, orjson.dumps(value).decode())

    def _recorded(self) -> dict[str, Process]:
        found = self._read("servers.json")
        return {
            name: Process(int(fields["pid"]), str(fields["started"]))
            for name, fields in found.items()
            if isinstance(fields, dict)
        }

    def _record(self, name: str, process: Process | None) -> None:
        with self._recording:
            found = self._read("servers.json")
            found.pop(name, None)
            if process is not None:
                found[name] = asdict(process)
            self._write("servers.json", found)

    def _dead(self) -> list[Server]:
        recorded = self._recorded()
        return [
            server
            for server in self._servers
            if server.name not in recorded or not recorded[server.name].alive
        ]

    # Starting

    def _adopt(self) -> None:
        """Prove servers without a user ours and well, or stop them; a supervisor wants its own children."""
        recorded = self._recorded()
        for server in self._servers:
            process = recorded.get(server.name)
            if process is None or not process.alive:
                continue
            if self._supervise or not server.answers(self.port(server.name)):
                processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)
                self._record(server.name, None)

    def _start_missing(self) -> tuple[str, ...]:
        missing = self._dead()
        if not missing:
            return ()
        ports = {server.name: self._free_port(server.name) for server in missing}
        with ThreadPoolExecutor(len(missing)) as pool:
            faults = list(pool.map(lambda server: self._start(server, ports[server.name]), missing))
        for fault in faults:
            if fault is not None:
                raise fault
        return tuple(server.name for server in missing)

    def _start(self, server: Server, port: int) -> click.ClickException | None:
        """Start one server and wait until it serves; a fault is returned, the others go on starting."""
        try:
            self._refuse_lost_data(server)
            for _ in range(START_ATTEMPTS):
                self._wait_for_lingering(server)
                server.prepare(port)
                process = processes.spawn(
                    server.command(port),
                    log=self._home.logs / f"{server.name}.log",
                    directory=server.data,
                    as_user=server.user,
                )
                self._record(server.name, process)
                if _wait_ready(server, process, port):
                    (self._home.run / f"{server.name}.generation").touch(0o600)
                    return None
                processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)
        except click.ClickException as fault:
            return fault
        except OSError as error:
            return click.ClickException(f"{server.name} could not be started: {error}.")
        reason = _last_line(self._home.logs / f"{server.name}.log")
        return click.ClickException(f"{server.name} could not be started: {reason}")

    def _refuse_lost_data(self, server: Server) -> None:
        """Never start on an empty directory that once held data: a promise made on it could not be kept."""
        if (self._home.run / f"{server.name}.generation").exists() and not server.holds_data():
            raise click.ClickException(
                f"{server.name} has held data but {server.data} is empty, so it was not started; "
                "`ballot recover` says what can be done."
            )

    def _wait_for_lingering(self, server: Server) -> None:
        """Wait for the children that a killed server leaves behind for a moment.

        What does not go by itself is a server whose starter was killed before it wrote the record: stop it.
        """
        deadline = time.monotonic() + LINGER_WAIT_S
        while lingering := processes.in_directory(server.data, executable=server.executable):
            if time.monotonic() > deadline:
                for process in lingering:
                    processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)
                return
            time.sleep(LOCK_POLL_S)

    def _free_port(self, name: str) -> int:
        """Return the server's port: the same as last time unless somebody else has taken it."""
        ports = self._read("ports.json")
        port = ports.get(name)
        if not isinstance(port, int) or not _is_free(port):
            port = _draw_port(taken=set(ports.values()))
            self._write("ports.json", {**ports, name: port})
        return port

    # Bringing up to date

    def _bring_up_to_date(self) -> None:
        """Apply users, functions and migrations where they or the server changed since the last time."""
        recorded, applied = self._recorded(), self._read("applied.json")
        wanted: dict[str, object] = {
            server.name: _stamp(server.name, recorded[server.name]) for server in self._servers
        }
        if wanted == applied:
            return
        databases = [
            Database.at(
                cluster,
                PostgresAddress(LOOPBACK, self.port(cluster), cluster),
                user=OWNER,
                password=self._home.password(f"{cluster}-{OWNER}"),
                create=True,
            )
            for cluster in CLUSTERS
            if wanted[cluster] != applied.get(cluster)
        ]
        apply_migrations(self._home, databases)
        if wanted["valkey"] != applied.get("valkey"):
            address = ValkeyAddress(LOOPBACK, self.port("valkey"))
            ValkeyServer(self._home).prepare(address.port)
            password = self._home.password(f"valkey-{ADMIN}")
            load_functions(address, user=ADMIN, password=password, reload_users=True)
        self._write("applied.json", wanted)

    # Stopping

    def _stop_all(self) -> None:
        recorded = self._recorded()
        running = [server for server in self._servers if server.name in recorded]
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(lambda server: _stop(server, recorded[server.name]), running))
        self._write("servers.json", {})


def _stop(server: Server, process: Process) -> None:
    processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)


def _wait_ready(server: Server, process: Process, port: int) -> bool:
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if not process.alive:
            return False
        if server.ready(process, port):
            return True
        time.sleep(READY_POLL_S)
    return False


def _stamp(name: str, process: Process) -> str:
    """Return a digest of everything `_bring_up_to_date` applies to a server, and of the server's identity."""
    valkey = name == "valkey"
    files = [*function_files(), *VALKEY.glob("users.acl")] if valkey else migration_files(name)
    parts = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    return home_files.digest(process.started.encode(), str(process.pid).encode(), *parts)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _draw_port(*, taken: set[object]) -> int:
    for _ in range(PORT_DRAWS_MAX):
        port = random.randrange(PORT_LOW, PORT_HIGH)  # noqa: S311  # nothing secret about a port
        if port not in taken and _is_free(port):
            return port
    raise click.ClickException(f"No free port was found on {LOOPBACK} from {PORT_LOW} to {PORT_HIGH}.")


def _last_line(log: Path) -> str:
    try:
        text = log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = text.strip().splitlines()
    faults = [line for line in lines if "FATAL" in line or "# " in line]
    return (faults or lines or ["its log is empty"])[-1]
