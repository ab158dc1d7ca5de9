"""The WAL between base backups, received as it is written, and sealed segment by segment beside that.

The server keeps what we have not fetched yet, up to a bound; what was fetched and could not be sealed yet
waits in a spool beside the servers' data, up to another. Whoever watches that bound never touches the target:
one that hangs must not fill the disk that takes votes. Beyond both WAL is lost to the backup, never votes to
the voter: that is said, and the next base backup begins anew.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from ops.backoff import HEALTHY_SECONDS, Backoff
from ops.backup.cluster import SLOT
from ops.backup.place import BackupFailed
from ops.backup.postgres import end
from ops.backup.wal_sealing import WalSealing
from ops.private import private
from ops.supervisor import tethered
from runtime import logs
from runtime.postgres_server import program

if TYPE_CHECKING:
    from ops.backup.cluster import ClusterSource
    from ops.backup.place import Place

SPOOL_BYTES_MAX: Final = 1 << 30
SWITCH_S: Final = 60.0
"""How long a commit may wait in a segment that is not full."""
POLL_S: Final = 0.5
END_WAIT_S: Final = 10.0
"""How long the sealing of what was received last may keep us from ending."""
SAID_BYTES_MAX: Final = 4096
ALARM_S: Final = 120.0
"""How long nothing may be received before that is an alarm."""
log = logs.get("backup")


class WalArchive:
    """Receives and seals the WAL of one cluster for as long as `run` runs.

    `needs_base` is set when WAL before this moment is missing: what follows needs a new base to be of use.
    `looks` is set when the list should be looked at for that.
    """

    def __init__(self, place: Place, source: ClusterSource) -> None:
        self._what = place.what
        self._source = source
        self.spool: Final = place.home.data / f"{place.what}.wal-spool"
        self._sealing = WalSealing(place, self.spool)
        self.needs_base: Final = self._sealing.needs_base
        self.looks: Final = self._sealing.looks
        self.receiving: Final = threading.Event()
        self._words = place.home.logs / f"pg_receivewal-{place.what}.out"
        self._backoff = Backoff()
        self._failing_since: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Receive and seal until told to stop; what fails is said and tried again."""
        with suppress(OSError):  # said below
            self.spool.mkdir(mode=0o700, exist_ok=True)
        ended = threading.Event()
        beside = [
            threading.Thread(target=self._sealing.run, args=(ended,), name="sealing", daemon=True),
            threading.Thread(target=self._switch, args=(ended,), name="switching", daemon=True),
        ]
        for thread in beside:
            thread.start()
        try:
            while not stop.is_set():
                started = time.monotonic()
                try:
                    self._prepare()
                    self._receive(stop)
                except (click.ClickException, OSError) as error:
                    self._say_not_received(started, error)
                if not all(thread.is_alive() for thread in beside):
                    raise RuntimeError("the sealing of WAL has ended")
                self._sealing.watch()
                stop.wait(self._backoff.after_death(time.monotonic() - started))
        finally:
            ended.set()
            self._join(beside)

    def _join(self, beside: list[threading.Thread]) -> None:
        """Wait for the last segments to be sealed, but for no target that hangs: they stay in the spool."""
        until = time.monotonic() + END_WAIT_S
        for thread in beside:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in beside):
            self._sealing.give_up()
            log.warning("wal_sealing_abandoned", what=self._what)

    def _prepare(self) -> None:
        self.spool.mkdir(mode=0o700, exist_ok=True)
        if self._source.keep_slot(self._make_way):
            # Only now that there is a slot: one that cannot be made must not ask for a base at each attempt.
            # Whoever is killed in between leaves a gap in the list, which is seen there.
            self.needs_base.set()
            log.warning("wal_begins_anew", what=self._what)

    def _say_not_received(self, started: float, error: Exception) -> None:
        now = time.monotonic()
        if self._failing_since is None or now - started >= HEALTHY_SECONDS:
            self._failing_since = now
        alarm = now - self._failing_since >= ALARM_S
        self._sealing.say("wal_not_received", error, alarm=alarm)

    def _make_way(self) -> None:
        try:
            self._sealing.set_aside()
        except OSError as error:
            raise BackupFailed(f"The spool {self.spool} cannot be used: {error.strerror}.") from error

    def _receive(self, stop: threading.Event) -> None:
        if self._is_full():
            raise BackupFailed("The spool is full: the target does not take what the server writes.")
        command = [program("pg_receivewal"), *self._source.arguments, f"--directory={self.spool}"]
        command += [f"--slot={SLOT}", "--no-loop", "--status-interval=5"]
        with os.fdopen(private(self._words, os.O_TRUNC), "wb") as said:
            child = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=self._source.environment,
            )
        try:
            self.receiving.set()
            while child.poll() is None and not self._is_full():
                self._sealing.watch()
                if stop.wait(POLL_S):
                    break
            if child.poll() is not None:
                raise BackupFailed(f"pg_receivewal has ended: {self._last_words()}")
        finally:
            self.receiving.clear()
            end(child)

    def _switch(self, ended: threading.Event) -> None:
        """Now and then have the server finish the segment it is at, if anything was committed in it."""
        since: str | None = None
        while not ended.wait(SWITCH_S):
            if self.receiving.is_set():
                try:
                    since = self._source.switch_wal(since)
                except (click.ClickException, OSError) as error:
                    self._sealing.say("wal_not_switched", error)

    def _is_full(self) -> bool:
        return self._sealing.waiting_bytes() > SPOOL_BYTES_MAX

    def _last_words(self) -> str:
        lines = self._words.read_bytes()[-SAID_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
        return (lines or ["no reason given."])[-1]
