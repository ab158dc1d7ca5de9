"""The home's own servers: shared by every command that uses them, stopped by the last, adopted when orphaned.

Three locks. `run/start.lock` is held alone while anything changes; `run/users.lock` is held, shared, by every
user for as long as it uses the servers: whoever gets it alone is the only user. `run/supervisor.lock` is held
alone by the one supervisor, to whom the others leave the restarting. The kernel drops a lock with its holder,
however it dies, so servers without a user are simply found running, proven to be ours, and used or stopped.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import click

from runtime import home as home_files
from runtime import locks, ports, starting
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
from runtime.records import Records
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from runtime.home import Home
    from runtime.processes import Process
    from runtime.starting import Server

LEAVE_WAIT_S = 5.0  # a short command leaves within this
RESTART_WAIT_S = 15.0  # a supervisor restarts within this, its back-off included
JOIN_POLL_S = 0.02
PORT_ATTEMPTS = 5
NOTE_S = 1.0


class Embedded:
    """One user's hold on the home's servers."""

    def __init__(self, home: Home, *, supervise: bool) -> None:
        self._home = home
        self._supervise = supervise
        self._pid = os.getpid()
        self._users: int | None = None
        self._supervisor: int | None = None
        self._noted_s = 0.0
        self._records = Records(home.run)
        self._servers: tuple[Server, ...] = (
            ValkeyServer(home),
            *(PostgresServer(home, cluster) for cluster in CLUSTERS),
        )

    def join(self) -> None:
        """Become a user: start or adopt the servers and bring them up to date."""
        if self._supervise:
            self._become_supervisor()
        deadline = time.monotonic() + (LEAVE_WAIT_S if self._supervise else RESTART_WAIT_S)
        try:
            while not self._join(patiently=time.monotonic() < deadline):
                time.sleep(JOIN_POLL_S)
        except BaseException:
            self._resign()
            raise

    def _join(self, *, patiently: bool) -> bool:
        """Join, and say whether it did.

        When `patiently`, a supervisor joins only if nobody else is using the servers, so that they become its
        own children; anybody else leaves it to the supervisor, if there is one, to restart what has died.
        """
        with self._start_lock():
            users = locks.opened(self._home.run / "users.lock")
            alone = locks.try_alone(users)
            if patiently and not alone and (self._supervise or (self._dead() and self._is_supervised())):
                os.close(users)
                return False
            locks.share(users)
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
        self._resign()

    def ensure_running(self) -> tuple[str, ...]:
        """Start what has died; return its names. Of what runs it is noted how far its data is written."""
        if not self._dead():
            if time.monotonic() - self._noted_s >= NOTE_S:
                self._note()
            return ()
        with self._start_lock():
            names = self._start_missing()
            self._bring_up_to_date()
        return names

    def port(self, name: str) -> int:
        """Return the port of one server."""
        return self._records.port(name)

    def processes(self) -> dict[str, int]:
        """Return the process id of each running server."""
        return {name: process.pid for name, process in self._records.processes().items() if process.alive}

    # Locks

    def _start_lock(self, why: str = "") -> AbstractContextManager[None]:
        return locks.exclusive(self._home.run / "start.lock", why=why)

    def _become_supervisor(self) -> None:
        with self._start_lock():  # so that nobody's look at the lock is taken for a supervisor
            descriptor = locks.opened(self._home.run / "supervisor.lock")
            became = locks.try_alone(descriptor)
        if not became:
            os.close(descriptor)
            raise click.ClickException(
                f"Another command is already supervising the servers of {self._home.path}."
            )
        self._supervisor = descriptor

    def _resign(self) -> None:
        descriptor, self._supervisor = self._supervisor, None
        if descriptor is not None:
            os.close(descriptor)

    def _is_supervised(self) -> bool:
        descriptor = locks.opened(self._home.run / "supervisor.lock")
        try:
            return not locks.try_alone(descriptor)
        finally:
            os.close(descriptor)

    def _drop(self) -> None:
        """Give up our share (start.lock is held) and stop the servers if nobody else has one."""
        descriptor, self._users = self._users, None
        if descriptor is None:
            return
        try:
            if locks.try_alone(descriptor):
                self._stop_all()
        finally:
            os.close(descriptor)

    def _dead(self) -> list[Server]:
        recorded = self._records.processes()
        return [
            server
            for server in self._servers
            if server.name not in recorded or not recorded[server.name].alive
        ]

    # Starting

    def _adopt(self) -> None:
        """Prove servers without a user ours and well, or stop them; a supervisor wants its own children."""
        recorded = self._records.processes()
        for server in self._servers:
            process = recorded.get(server.name)
            if process is None or not process.alive:
                continue
            if self._supervise or not server.answers(self.port(server.name)):
                starting.stop(server, process)
                self._records.set_process(server.name, None)

    def _start_missing(self) -> tuple[str, ...]:
        """Start what is not running; a port that was taken between our look and our start is drawn again."""
        missing = self._dead()
        for _ in range(PORT_ATTEMPTS):
            dead = self._dead()
            if not dead:
                break
            chosen, faults = self._start(dead)
            # One that died meanwhile has no port drawn: the next round starts it.
            lost_port = any(
                not ports.is_free(chosen[server.name]) for server in self._dead() if server.name in chosen
            )
            for fault in faults:
                if fault is not None and not lost_port:
                    raise fault
        else:
            raise click.ClickException("The servers could not be started: their ports were taken each time.")
        return tuple(server.name for server in missing)

    def _start(self, missing: list[Server]) -> tuple[dict[str, int], list[click.ClickException | None]]:
        chosen = {server.name: self._records.free_port(server.name) for server in missing}
        with ThreadPoolExecutor(len(missing)) as pool:
            faults = list(
                pool.map(
                    lambda server: starting.start(
                        server, chosen[server.name], home=self._home, record=self._records.set_process
                    ),
                    missing,
                )
            )
        return chosen, faults

    # Bringing up to date

    def _bring_up_to_date(self) -> None:
        """Apply users, functions and migrations where they or the server changed since the last time."""
        recorded, applied = self._records.processes(), self._records.applied()
        wanted: dict[str, object] = {
            server.name: _stamp(server.name, recorded[server.name])
            for server in self._servers
            if server.name in recorded
        }
        if all(applied.get(name) == stamp for name, stamp in wanted.items()):
            return
        databases = [
            Database.at(
                cluster,
                PostgresAddress(ports.LOOPBACK, self.port(cluster), cluster),
                user=OWNER,
                password=self._home.password(f"{cluster}-{OWNER}"),
                create=True,
            )
            for cluster in CLUSTERS
            if cluster in wanted and wanted[cluster] != applied.get(cluster)
        ]
        apply_migrations(self._home, databases)
        if "valkey" in wanted and wanted["valkey"] != applied.get("valkey"):
            address = ValkeyAddress(ports.LOOPBACK, self.port("valkey"))
            ValkeyServer(self._home).prepare(address.port)
            password = self._home.password(f"valkey-{ADMIN}")
            load_functions(address, user=ADMIN, password=password, reload_users=True)
        self._records.set_applied({**applied, **wanted})

    def _note(self) -> None:
        for server in self._servers:
            server.note(self.port(server.name))
        self._noted_s = time.monotonic()

    # Stopping

    def _stop_all(self) -> None:
        recorded = self._records.processes()
        if not self._dead():
            self._note()
        running = [server for server in self._servers if server.name in recorded]
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(lambda server: starting.stop(server, recorded[server.name]), running))
        self._records.forget_processes()


def _stamp(name: str, process: Process) -> str:
    """Return a digest of everything `_bring_up_to_date` applies to a server, and of the server's identity."""
    valkey = name == "valkey"
    files = [*function_files(), *VALKEY.glob("users.acl")] if valkey else migration_files(name)
    parts = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    return home_files.digest(process.started.encode(), str(process.pid).encode(), *parts)
