"""A queue server of our own for a moment, on a directory, a port and a password that nobody else uses.

A server that does not come up is no proof that its files are damaged. It is one only if the server ended by
itself and says in its log that it cannot read them; everything else is a fault of this machine, and is told
as that.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Final

import click
import redis

from runtime import home as home_files
from runtime import ports, processes
from runtime.addresses import ADMIN, ValkeyAddress
from runtime.home import Redacted
from runtime.preparation import admin_client
from runtime.valkey_server import OWN_CUT, SETTINGS, ValkeyServer, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runtime.home import Home
    from runtime.processes import Process

SILENT_S: Final = 600.0
LOAD_MAX_S: Final = 6 * 3600.0  # whoever says that it is loading is waited for
STOP_WAIT_S: Final = 60.0
PORT_ATTEMPTS: Final = 5
POLL_S: Final = 0.02
LOG_MAX_BYTES: Final = 64_000
#: Nothing is promised on what is built here until all of it is on disk, so it need not be at every step.
PRIVATE: Final = {**SETTINGS, **OWN_CUT, "appendfsync": "everysec", "auto-aof-rewrite-percentage": "0"}

#: What this server says of files that it cannot read, and of nothing else (aof.c, rdb.c).
DAMAGED: Final = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Error reading the append only file",
    "Error reading the RDB preamble of the AOF file",
    "Internal error in RDB reading offset",
    "Wrong signature trying to load DB from file",
    "Wrong RDB checksum expected",
    "Fatal error: the truncated file is not the last file",
    "Invalid AOF manifest file format",
    "The AOF manifest file contains too long line",
    "Found an empty AOF manifest",
    "Unable to obtain the AOF file",
)
PORT_TAKEN: Final = ("Address already in use", "Failed listening on port")


class DamagedError(Exception):
    """The server ended by itself, for it cannot read its files; the text is the line of its log."""


class PrivateQueue:
    """The private server on `directory`. `tied` puts before a command what ends it with us."""

    def __init__(
        self, home: Home, directory: Path, *, tied: Callable[[Sequence[str]], Sequence[str]] = list
    ) -> None:
        self._home = home
        self._directory = directory
        self._tied = tied
        self._server = ValkeyServer(home)
        self._log = home.logs / "valkey.rebuilding.log"

    def start(self) -> tuple[Process, ValkeyAddress, Redacted]:
        """Start it and wait until its files are loaded. DamagedError if it says that it cannot read them."""
        ended, said = False, ""
        for _ in range(PORT_ATTEMPTS):
            password = Redacted(secrets.token_hex(32))
            address = ValkeyAddress(ports.LOOPBACK, ports.draw(taken=set()))
            begins = self._log.stat().st_size if self._log.exists() else 0
            process = self._spawn(address, password)
            try:
                if self._loaded(process, address, password):
                    return process, address, password
                ended = not process.alive
            except BaseException:
                self.stop(process)
                raise
            self.stop(process)
            said = self._said(begins)
            if ended and (line := _line(said, DAMAGED)):
                raise DamagedError(line)
            if not (ended and _line(said, PORT_TAKEN)):
                break
        last = next((line for line in reversed(said.splitlines()) if " # " in line), "its log is empty")
        how = "ended" if ended else "did not answer"
        raise click.ClickException(
            f"A private queue server on a copy of the queue's files {how} ({last.strip()}). That does not "
            "say that the files are damaged: see to the machine, then run this again. Nothing was changed."
        )

    def stop(self, process: Process) -> None:
        """Stop it in good order."""
        processes.stop(process, self._server.stop_signal, wait_s=STOP_WAIT_S)

    def _spawn(self, address: ValkeyAddress, password: Redacted) -> Process:
        digest = hashlib.sha256(password.reveal().encode()).hexdigest()
        users = self._home.run / "valkey.rebuilding.acl"
        home_files.replace(users, f"user default off\nuser {ADMIN} on ~* &* +@all #{digest}\n")
        own = {"port": str(address.port), "dir": quoted(self._directory), "aclfile": quoted(users)}
        settings = {**PRIVATE, **own, "logfile": quoted(self._log)}
        configuration = self._home.run / "valkey.rebuilding.conf"
        home_files.replace(configuration, "".join(f"{key} {value}\n" for key, value in settings.items()))
        command = self._tied([str(self._server.executable), str(configuration)])
        return processes.spawn(command, log=self._log, directory=self._directory)

    def _loaded(self, process: Process, address: ValkeyAddress, password: Redacted) -> bool:
        """Wait while it runs and loads; one that says nothing at all is given up."""
        began = heard = time.monotonic()
        while process.alive:
            try:
                with admin_client(address, user=ADMIN, password=password) as client:
                    client.ping()
                    return True
            except redis.BusyLoadingError:
                heard = time.monotonic()
            except redis.RedisError:
                pass
            now = time.monotonic()
            if now - heard > SILENT_S or now - began > LOAD_MAX_S:
                return False
            time.sleep(POLL_S)
        return False

    def _said(self, begins: int) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(begins)
                return log.read(LOG_MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""


def _line(said: str, phrases: Sequence[str]) -> str:
    """The first line of a log with one of these phrases; empty if there is none."""
    for line in said.splitlines():
        if any(phrase in line for phrase in phrases):
            return line.strip()
    return ""
