"""`ballot backup serve`: backs one of the three up on its schedule, for as long as it runs.

What is due is read from the catalogue each time, so a restart changes nothing. A failure is logged, written
as an event and tried again soon; from the second in a row on it is an alarm. Whatever touches the target has
a thread of its own, so that one that hangs keeps nobody from ending this.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, Literal

import click

from ops.backup import keys, retention
from ops.backup.catalogue import BASE_KINDS
from ops.backup.cluster import ClusterSource
from ops.backup.gaps import is_cut_off
from ops.backup.place import BackupFailed, Place
from ops.backup.postgres import Manner, back_up
from ops.backup.pulse import Pulse
from ops.backup.queue import back_up_queue, remove_left
from ops.backup.wal import WalArchive
from runtime import locks, logs
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.backup.catalogue import Entry
    from ops.backup.keys import What
    from ops.backup.settings import BackupSettings
    from runtime.servers import Servers

Due = Literal["full", "incremental", "queue"]
LOOK_S: Final = 1.0
LIST_LOOK_S: Final = 300.0
AGAIN_S: Final = 60.0
LOCK_WAIT_S: Final = 600.0
RECEIVING_WAIT_S: Final = 30.0
SECOND_US: Final = 1_000_000
END_WAIT_S: Final = 25.0
"""Whoever started us insists after half a minute."""
FAILURES_ALARM: Final = 2
IDS_TOLD: Final = 50
log = logs.get("backup")


def due(
    what: What, entries: Sequence[Entry], settings: BackupSettings, now_us: int, *, key_id: str | None
) -> Due | None:
    """What is to be made now, judged by what there is. A clock that was set back makes nothing wait.

    What was sealed to another key than today's does not count: that one may be lost, or in other hands.
    """
    usable = [entry for entry in entries if entry.usable and entry.key_id == key_id]
    if what == "queue":
        last = [entry for entry in usable if entry.kind == "queue"]
        return None if _recent(last, now_us, settings.every_s) else "queue"
    if not _recent([entry for entry in usable if entry.kind == "full"], now_us, settings.full_s):
        return "full"
    bases = [entry for entry in usable if entry.kind in BASE_KINDS]
    if not _recent(bases, now_us, settings.every_s) or is_cut_off(bases[-1], usable):
        return "incremental"
    return None


def _recent(entries: Sequence[Entry], now_us: int, within_s: int) -> bool:
    return any(0 <= now_us - entry.started < within_s * SECOND_US for entry in entries)


class Keeper:
    """Keeps one of the three backed up."""

    def __init__(self, found: Servers, what: What, settings: BackupSettings, stop: threading.Event) -> None:
        self._servers = found
        self._settings = settings
        self._stop = stop
        self._place = Place.of(found.home, what, settings.required_target())
        self._source = None if what == "queue" else ClusterSource(found, what)
        self._wal = None if self._source is None else WalArchive(self._place, self._source)
        self._pulse = Pulse(what)
        self._failures = 0
        self._early_at = 0.0
        """From when another base may be made before its time, because WAL is missing."""

    def run(self) -> None:
        """Back up until told to stop; a ClickException if another process does so already."""
        home, what = self._servers.home, self._place.what
        descriptor = locks.opened(home.backup / f"{what}.serve.lock")
        try:
            if not locks.try_alone(descriptor):
                raise click.ClickException(f"Another process is backing up {what} of {home.path} already.")
            log.info("backups_begin", what=what)
            self._keep()
        finally:
            os.close(descriptor)

    def _keep(self) -> None:
        threads = []
        if self._wal is not None:
            # Before the first base backup: what is written after it is then not missing.
            threads.append(
                threading.Thread(target=self._wal.run, args=(self._stop,), name="wal", daemon=True)
            )
            threads[0].start()
            self._wal.receiving.wait(RECEIVING_WAIT_S)
        threads.append(threading.Thread(target=self._follow_schedule, name="schedule", daemon=True))
        threads[-1].start()
        try:
            while not self._stop.wait(LOOK_S):
                ended = [thread.name for thread in threads if not thread.is_alive()]
                if ended:
                    raise RuntimeError(f"the thread {ended[0]} has ended")  # the next start begins both again
                self._pulse.watch()
        finally:
            self._stop.set()
            until = time.monotonic() + END_WAIT_S
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            if any(thread.is_alive() for thread in threads):
                log.warning("backup_abandoned", what=self._place.what)
                if self._place.what == "queue" and not self._pulse.resting:
                    remove_left(self._servers.home)

    def _follow_schedule(self) -> None:
        self._pulse.beat()
        if self._place.on_the_same_disk:
            log.warning("backup_on_the_same_disk", what=self._place.what)
        self._pulse.rest()
        clock = SystemClock()
        look_at = again_at = clock.monotonic()
        key_id = self._key_id()
        while not self._stop.is_set():
            now, known, key_id = clock.monotonic(), key_id, self._key_id()
            if key_id != known:
                log.warning("backup_key_changed", what=self._place.what, key_id=key_id or "none")
                look_at = again_at = now
            if now >= again_at and (self._is_told_to_look(now) or now >= look_at):
                wanted = self._wanted(key_id, now)
                look_at = clock.monotonic() + self._rest_s(clock.now_us())
                if wanted is not None and not self._attempt(wanted):
                    longest = max(AGAIN_S, float(self._settings.every_s))
                    again_at = clock.monotonic() + min(AGAIN_S * 2.0 ** (self._failures - 1), longest)
                    look_at = again_at
            self._stop.wait(LOOK_S)

    def _key_id(self) -> str | None:
        """Which key is published now; nothing while there is none that can be read."""
        try:
            return keys.read_public(self._servers.home, self._place.what).id
        except click.ClickException:
            return None

    def _is_told_to_look(self, now: float) -> bool:
        if self._wal is None:
            return False
        return self._wal.looks.is_set() or (self._wal.needs_base.is_set() and now >= self._early_at)

    def _wanted(self, key_id: str | None, now: float) -> Due | None:
        """What is due; where only missing WAL makes it so, at most once in the time between two bases.

        Otherwise WAL that is lost again and again would have one base made after the other.
        """
        if self._wal is not None:
            self._wal.looks.clear()
        entries, now_us = self._place.catalogue.own(), SystemClock().now_us()
        wanted = due(self._place.what, entries, self._settings, now_us, key_id=key_id)
        if wanted is None and self._wal is not None and self._wal.needs_base.is_set():
            wanted = "incremental"
        usable = [entry for entry in entries if entry.usable and entry.key_id == key_id]
        bases = [entry for entry in usable if entry.kind in BASE_KINDS]
        if wanted == "incremental" and _recent(bases, now_us, self._settings.every_s):
            if now < self._early_at:
                return None
            self._early_at = now + self._settings.every_s
        return wanted

    def _rest_s(self, now_us: int) -> float:
        """How long nothing will be due, at most; somebody may make a backup by hand meanwhile."""
        began = [entry.started for entry in self._place.catalogue.own() if entry.kind != "wal"]
        since_s = (now_us - max(began, default=0)) / SECOND_US
        return min(max(self._settings.every_s - since_s, LOOK_S), LIST_LOOK_S)

    def _attempt(self, wanted: Due) -> bool:
        unprotected = not any(entry.usable for entry in self._place.catalogue.own())
        manner = Manner(at_once=unprotected, stopped=self._is_stopped)
        if self._wal is not None:
            self._wal.needs_base.clear()
        try:
            made = make(self._place, self._servers, full=wanted == "full", manner=manner, wait_s=LOCK_WAIT_S)
        except (click.ClickException, OSError) as error:
            if self._stop.is_set():
                return False
            if self._wal is not None and wanted != "full":
                self._wal.needs_base.set()
                self._early_at = 0.0
            self._failures += 1
            say = log.alarm if self._failures >= FAILURES_ALARM else log.error
            say("backup_failed", what=self._place.what, kind=wanted, times=self._failures, error=error)
            return False
        finally:
            self._pulse.rest()
        self._failures = 0
        log.info("backup_made", what=self._place.what, id=made.id, bytes=made.bytes, sha256=made.sha256)
        self._delete_outdated()
        return True

    def _delete_outdated(self) -> None:
        """What cannot be deleted now is by the next: the backup was made all the same."""
        try:
            retention_of(self._place, self._servers, self._settings, first=self._pulse.beat)
        except (click.ClickException, OSError) as error:
            if not self._stop.is_set():
                log.warning("retention_failed", what=self._place.what, error=error)
        finally:
            self._pulse.rest()

    def _is_stopped(self) -> bool:
        """Asked by whoever makes a backup, every now and then: so it gets on."""
        self._pulse.beat()
        return self._stop.is_set()


def make(place: Place, found: Servers, *, full: bool, manner: Manner, wait_s: float) -> Entry:
    """Make one backup, holding the place alone, and write what became of it as an event of its cluster."""
    what = place.what
    audit = _audit(place, found)

    def first() -> None:
        manner.stopped()
        if what == "queue" and found.embedded:
            remove_left(found.home)  # however long the target takes now

    try:
        with place.alone(wait_s, first):
            place = place.with_current_key()
            if what == "queue":
                made = back_up_queue(place, found, manner)
            else:
                made = back_up(place, ClusterSource(found, what), full=full, manner=manner)
    except BackupFailed as error:
        if not manner.stopped() and (found.embedded or what != "queue"):  # others' queue is never copied
            audit.event("backup.failed", {"what": what, "reason": error.message})
        raise
    told: dict[str, object] = {"what": what, "id": made.id, "bytes": made.bytes, "sha256": made.sha256}
    audit.event("backup.made", {**told, "kind": made.kind, "parent": made.parent})
    audit.event("backup.verified", {**told, "ok": True})
    return made


def _audit(place: Place, found: Servers) -> ClusterSource:
    """Where it is written what became of backups: in the cluster itself, the queue's in voterdb."""
    return ClusterSource(found, "voterdb" if place.what == "queue" else place.what)


def retention_of(
    place: Place, found: Servers, settings: BackupSettings, *, first: Callable[[], object] = lambda: None
) -> tuple[Entry, ...]:
    """Delete what is outdated, holding the place alone; what went is an event of its cluster."""
    with place.alone(LOCK_WAIT_S, first):
        deleted = retention.enforce(place, SystemClock().now_us(), settings.keep_us)
    if deleted:
        bases = [entry.id for entry in deleted if entry.kind != "wal"][:IDS_TOLD]
        told = {"what": place.what, "deleted": len(deleted), "bytes": sum(each.bytes for each in deleted)}
        _audit(place, found).event("backup.deleted", {**told, "ids": bases})
    return deleted
