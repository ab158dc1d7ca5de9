"""A queue rebuilt aside: on a copy of its data, by a private server, and put in place by one rename.

The caller holds the queue stopped (runtime/offline.py) from `prepare` to `put_in_place`. Killed anywhere it
is run again: what was being built is thrown away, unless it was complete and the old data had been moved
aside already; then the move is finished. The old data is kept.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import redis

from runtime import home as home_files
from runtime import ports, processes
from runtime.addresses import ADMIN, ValkeyAddress
from runtime.home import Redacted
from runtime.preparation import admin_client, load_into
from runtime.processes import in_directory
from runtime.valkey_server import SETTINGS, ValkeyServer, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runtime.home import Home
    from runtime.processes import Process

FILES = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
COMPLETE = "rebuilt"
LOAD_WAIT_S = 600.0  # a national ballot's file of weeks
STOP_WAIT_S = 60.0
MEND_WAIT_S = 600.0
FSYNC_WAIT_MS = 60_000
POLL_S = 0.02
ROOM_MARGIN = 256 << 20
#: Nothing is promised on what is built here until all of it is on disk, so it need not be at every step.
PRIVATE = {**SETTINGS, "appendfsync": "everysec", "auto-aof-rewrite-percentage": "0"}


class Rebuilding:
    """The directory beside the queue's own, and the private server that runs on it.

    `tied` puts before a command what ends it with us.
    """

    def __init__(self, home: Home, *, tied: Callable[[Sequence[str]], Sequence[str]] = list) -> None:
        self._home = home
        self._tied = tied
        self._server = ValkeyServer(home)
        self.place = self._server.data
        self.directory = home.data / "valkey.rebuilding"
        self.notes: list[str] = []

    def finish(self) -> bool:
        """Finish the move that somebody was killed in; say whether there was one."""
        self._stop_left_over()
        if self.place.exists() or not (self.directory / COMPLETE).exists():
            return False
        self._move_in()
        return True

    def prepare(self) -> None:
        """Begin anew, on a copy of what the queue's own directory holds."""
        self._stop_left_over()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)
        files = self.place / FILES
        if not (files / MANIFEST).exists():
            self.notes.append("the queue's own files hold nothing: all is taken from the voter database")
            return
        size = sum(path.stat().st_size for path in files.iterdir())
        if shutil.disk_usage(self.directory).free < size + ROOM_MARGIN:
            raise click.ClickException(
                f"There is not enough room beside {self.place} for a copy of it ({size:,} bytes): make room, "
                "and run this again. Nothing was changed."
            )
        shutil.copytree(files, self.directory / FILES)

    @contextmanager
    def server(self) -> Iterator[tuple[ValkeyAddress, Redacted]]:
        """Run the private server while the block runs; its address, and the admin's password of this run.

        It has no other user and its own port, so no edge and no worker reaches it. A file that it cannot read
        is mended as far as it is whole; one that cannot be mended is left out.
        """
        process, address, password = self._start()
        try:
            yield address, password
        finally:
            processes.stop(process, self._server.stop_signal, wait_s=STOP_WAIT_S)

    def complete(self, address: ValkeyAddress, password: Redacted) -> None:
        """Have all that was written on disk; called last in the block of `server`."""
        with admin_client(address, user=ADMIN, password=password, timeout_s=LOAD_WAIT_S) as client:
            client.set(COMPLETE, b"1")
            client.delete(COMPLETE)
            local, _ = client.execute_command("WAITAOF", 1, 0, FSYNC_WAIT_MS)
            if local != 1:
                raise click.ClickException(
                    "The rebuilt queue is not on disk; look at the disk, and try again."
                )

    def aside(self) -> Path | None:
        """Where the queue's data will be kept; None if there is none."""
        if not self.place.exists() or not any(self.place.iterdir()):
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return self._home.data / f"{self.place.name}.before-{stamp}-{secrets.token_hex(2)}"

    def put_in_place(self, aside: Path | None) -> None:
        """Move the old data to `aside`, and what was built to where the server looks."""
        _sync(self.directory)
        home_files.write_once(self.directory / COMPLETE, "complete\n")
        if aside is not None:
            self.place.rename(aside)
        elif self.place.exists():
            self.place.rmdir()
        self._move_in()

    def _move_in(self) -> None:
        home_files.sync_directory(self._home.data)
        self.directory.rename(self.place)
        home_files.sync_directory(self._home.data)
        (self.place / COMPLETE).unlink(missing_ok=True)

    def _stop_left_over(self) -> None:
        """Stop the private server of somebody who was killed."""
        for process in in_directory(self.directory, executable=self._server.executable):
            processes.stop(process, self._server.stop_signal, wait_s=STOP_WAIT_S)

    def _start(self) -> tuple[Process, ValkeyAddress, Redacted]:
        for attempt in (self._as_it_is, self._mended, self._left_out):
            if not attempt():
                continue
            password = Redacted(secrets.token_hex(32))
            address = ValkeyAddress(ports.LOOPBACK, ports.draw(taken=set()))
            process = self._spawn(address, password)
            if self._loaded(process, address, password):
                with admin_client(address, user=ADMIN, password=password, timeout_s=LOAD_WAIT_S) as client:
                    load_into(client)
                return process, address, password
            processes.stop(process, self._server.stop_signal, wait_s=STOP_WAIT_S)
        raise click.ClickException(f"The private queue server does not start; {self._log} says why.")

    def _as_it_is(self) -> bool:
        return True

    def _mended(self) -> bool:
        """Cut the file off where it stops being whole, by the server's own tool."""
        manifest = self.directory / FILES / MANIFEST
        if not manifest.exists():
            return False
        done = subprocess.run(
            ["valkey-check-aof", "--fix", str(manifest)],  # noqa: S607  # the name by which it is its own tool
            executable=self._server.executable,
            input=b"y\n",
            capture_output=True,
            check=False,
            timeout=MEND_WAIT_S,
        )
        self.notes.append("the queue's file is damaged: what is behind the damage was cut off")
        return done.returncode == 0

    def _left_out(self) -> bool:
        """Go on without the file."""
        if not (self.directory / FILES).exists():
            return False
        shutil.rmtree(self.directory / FILES)
        self.notes.append(
            "the queue's file cannot be mended by its own tool, so all is taken from the voter database"
        )
        return True

    @property
    def _log(self) -> Path:
        return self._home.logs / "valkey.rebuilding.log"

    def _spawn(self, address: ValkeyAddress, password: Redacted) -> Process:
        digest = hashlib.sha256(password.reveal().encode()).hexdigest()
        users = self._home.run / "valkey.rebuilding.acl"
        home_files.replace(users, f"user default off\nuser {ADMIN} on ~* &* +@all #{digest}\n")
        own = {"port": str(address.port), "dir": quoted(self.directory), "aclfile": quoted(users)}
        settings = {**PRIVATE, **own, "logfile": quoted(self._log)}
        configuration = self._home.run / "valkey.rebuilding.conf"
        home_files.replace(configuration, "".join(f"{key} {value}\n" for key, value in settings.items()))
        command = self._tied([str(self._server.executable), str(configuration)])
        return processes.spawn(command, log=self._log, directory=self.directory)

    def _loaded(self, process: Process, address: ValkeyAddress, password: Redacted) -> bool:
        deadline = time.monotonic() + LOAD_WAIT_S
        while process.alive and time.monotonic() < deadline:
            try:
                with admin_client(address, user=ADMIN, password=password) as client:
                    client.ping()
                    return True
            except redis.RedisError:
                time.sleep(POLL_S)
        return False


def _sync(directory: Path) -> None:
    """Have every file below on disk, and every name."""
    for folder, _, files in os.walk(directory):
        for name in files:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)  # noqa: PTH118  # os.walk gives texts
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
