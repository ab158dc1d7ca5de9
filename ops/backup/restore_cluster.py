"""Backups of a PostgreSQL cluster, unpacked, become a cluster again: combined, replayed, promoted, stopped.

All of it beside the place where the cluster will live, and out of everybody's reach: while it replays nobody
can log in, and what is asked of it afterwards is asked in PostgreSQL's single-user mode, without a socket.
Settings and rules of entry are ours, never those that came with the backup.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from ops.backup.restore_home import MARKER
from runtime import ports, processes, unprivileged
from runtime.home import Home
from runtime.postgres_server import PostgresServer, program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runtime.processes import Process

REPLAY_WAIT_S: Final = 3600.0
COMBINE_WAIT_S: Final = 3600.0
STOP_WAIT_S: Final = 120.0
SQL_WAIT_S: Final = 600.0
POLL_S: Final = 0.02
PORT_ATTEMPTS: Final = 3
LOG_BYTES_MAX: Final = 1 << 20
ANSWER: Final = re.compile(r'^\t 1: answer = "(.*)"\t\(typeid', re.MULTILINE | re.DOTALL)
NEW_TIMELINE: Final = re.compile(r"selected new timeline ID: (\d+)")
LAST_TRANSACTION: Final = re.compile(r"last completed transaction was at log time (\S+ \S+)")
EPOCH: Final = datetime.fromtimestamp(0, UTC)
DOOR: Final = "nobody-enters.hba"
NOT_REACHED: Final = "recovery ended before configured recovery target was reached"


class TargetNotReached(Exception):  # noqa: N818  # named for what happened
    """Nothing in the archive was committed after the moment that was asked for.

    It stands as it was replayed: with more WAL in the archive it can be replayed further.
    """

    def __init__(self, last_us: int | None) -> None:
        super().__init__()
        self.last_us: Final = last_us
        """The last commit in what was replayed."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the replaying said: the timeline that begins here, its history, the last commit that it saw."""

    timeline: int
    history: str
    last_us: int | None


class Scratch:
    """A place laid out like a home, for one cluster `name` that nobody uses yet."""

    def __init__(self, place: Path, name: str) -> None:
        self.home: Final = Home(place)
        self.server: Final = PostgresServer(self.home, name)
        self.parts: Final = place / "parts"
        self.wal: Final = place / "wal"
        self.log: Final = place / "logs" / f"{name}.log"

    def make(self) -> None:
        """Make the place; what an interrupted restore left there is removed, its server stopped."""
        self.remove()
        for directory in (self.home.data, self.home.run, self.home.logs, self.parts, self.wal):
            directory.mkdir(mode=0o700, parents=True)
        (self.home.path / MARKER).touch(0o600)
        unprivileged.check_doors(self.server.executable, home=self.home.path)

    def remove(self) -> None:
        """Stop what runs here and delete everything."""
        for process in processes.in_directory(self.server.data, executable=self.server.executable):
            processes.stop(process, self.server.stop_signal, wait_s=STOP_WAIT_S)
        shutil.rmtree(self.home.path, ignore_errors=True)

    def combine(self, parts: Sequence[Path]) -> None:
        """A full backup and the incremental ones that follow it become one data directory."""
        if len(parts) == 1:
            parts[0].rename(self.server.data)
        else:
            # Links cost no time and no room; the parts are not used again. The first start syncs.
            command = [program("pg_combinebackup"), "--link", "--no-sync", "--output", str(self.server.data)]
            done = subprocess.run(
                [*command, *map(str, parts)], capture_output=True, check=False, timeout=COMBINE_WAIT_S
            )
            if done.returncode != 0:
                lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
                raise click.ClickException(f"The backups do not go together: {lines[-1]}.")
            shutil.rmtree(self.parts)
        self.server.data.chmod(0o700)
        self._disarm()

    def _disarm(self) -> None:
        """Nothing that PostgreSQL would obey comes from the backup: who has the public key can make one."""
        for name in ("postgresql.auto.conf", "pg_ident.conf"):
            (self.server.data / name).write_text("", "ascii")
        for name in ("standby.signal", "recovery.signal", "postmaster.pid"):
            (self.server.data / name).unlink(missing_ok=True)

    def replay(self, *, at: datetime | None, timeline: int | None) -> Replayed:
        """Replay the WAL of the backup and of `wal`, up to `at` or to its end, and promote.

        `timeline` is the one to follow where the archive holds several: there was a restore before.
        """
        (self.server.data / "recovery.signal").touch(0o600)
        unprivileged.give(self.wal)
        settings = {
            "hot_standby": "off",  # "ready" then means promoted
            "timezone": "UTC",
            "log_timezone": "UTC",
            "archive_mode": "off",
            "summarize_wal": "off",
            "hba_file": str(self._closed_door()),
            "restore_command": f'cp -- {_quoted(self.wal)}/%f "%p"',
            "recovery_target_action": "promote",
            "recovery_target_timeline": "latest" if timeline is None else str(timeline),
        }
        if at is not None:
            settings["recovery_target_time"] = at.isoformat(sep=" ", timespec="microseconds")
        said = self._run_until_promoted(settings)
        (self.server.data / DOOR).unlink()
        selected = NEW_TIMELINE.search(said)
        number = int(selected[1]) if selected else 1
        history = self.server.data / "pg_wal" / f"{number:08X}.history"
        return Replayed(
            number,
            history.read_text("utf-8", "replace") if history.exists() else "",
            last_commit(said),
        )

    def _run_until_promoted(self, settings: dict[str, str]) -> str:
        for _ in range(PORT_ATTEMPTS):
            port = ports.draw(taken=set())
            self.server.prepare(port)
            self.log.unlink(missing_ok=True)
            options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            process = processes.spawn(
                [*self.server.command(port), *options],
                log=self.log,
                directory=self.server.data,
                as_user=self.server.user,
            )
            try:
                if self._wait_promoted(process, port):
                    return self._said()
            finally:
                processes.stop(process, self.server.stop_signal, wait_s=STOP_WAIT_S)
            if ports.is_free(port):
                break
        said = self._said()
        if NOT_REACHED in said:
            raise TargetNotReached(last_commit(said))
        raise click.ClickException(f"The restored {self.server.name} does not start: {_fault(said)}.")

    def _wait_promoted(self, process: Process, port: int) -> bool:
        deadline = time.monotonic() + REPLAY_WAIT_S
        while time.monotonic() < deadline:
            if self.server.ready(process, port):
                return True
            if not process.alive:
                return False
            time.sleep(POLL_S)
        raise click.ClickException(
            f"Replaying {self.server.name} took more than {REPLAY_WAIT_S / 60:.0f} minutes and was given up."
        )

    def ask(self, *statements: str) -> list[str]:
        """See `ask`."""
        return ask(self.server, *statements)

    def _closed_door(self) -> Path:
        door = self.server.data / DOOR
        door.write_text("host all all all reject\n", "ascii")
        return door

    def _said(self) -> str:
        try:
            return self.log.read_bytes()[-LOG_BYTES_MAX:].decode("utf-8", "replace")
        except OSError:
            return ""


def ask(server: PostgresServer, *statements: str) -> list[str]:
    """Run SQL on a stopped cluster, in single-user mode; the values of each column named `answer`."""
    command = [program("postgres"), "--single", "-D", str(server.data), "-j", "-c", "exit_on_error=on"]
    done = subprocess.run(
        [*unprivileged.way().prefix, *command, server.name],
        input="".join(f"{statement};\n\n" for statement in statements).encode(),
        capture_output=True,
        check=False,
        timeout=SQL_WAIT_S,
        user=server.user,
        group=server.user,
        extra_groups=None if server.user is None else [],
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")
        raise click.ClickException(f"The stopped {server.name} does not answer: {_fault(said)}.")
    out = done.stdout.decode("utf-8", "replace")
    return [found[1] for found in map(ANSWER.search, out.split("\t----\n")) if found]


def last_commit(said: str) -> int | None:
    """The last commit that PostgreSQL says to have replayed, in microseconds since the epoch."""
    found = LAST_TRANSACTION.findall(said)
    if not found:
        return None
    try:
        at = datetime.fromisoformat(found[-1])
        return (at - EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError):  # a time zone of another's log settings
        return None


def system_identifier(data: Path) -> str | None:
    """What tells a cluster from every other that was ever made; nothing if there is none in `data`."""
    told = subprocess.run(
        [program("pg_controldata"), "-D", str(data)], capture_output=True, check=False, timeout=SQL_WAIT_S
    )
    for line in told.stdout.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name == "Database system identifier":
            return value.strip()
    return None


def _quoted(path: Path) -> str:
    """`path` as the shell takes it, in a setting where a percent sign begins a word of PostgreSQL's."""
    return "'" + str(path).replace("'", "'\\''").replace("%", "%%") + "'"


def _fault(said: str) -> str:
    """The line that most likely says why."""
    lines = said.strip().splitlines()
    faults = [line for line in lines if "FATAL" in line or "PANIC" in line or "ERROR" in line]
    return (faults or lines or ["it says nothing"])[-1].rpartition("] ")[2].rstrip(".")
