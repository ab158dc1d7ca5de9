"""The WAL between base backups, received as it is written and sealed segment by segment.

The server keeps what we have not fetched yet, up to a bound; what was fetched and could not be sealed yet
waits in a spool beside the servers' data, up to another. Beyond both WAL is lost to the backup, never votes
to the voter: that is said, and the next base backup begins anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
import zlib
from typing import TYPE_CHECKING, Final

import click

from ops.backoff import Backoff
from ops.backup.catalogue import Entry, compact
from ops.backup.cluster import SLOT
from ops.backup.place import WAL_DRAFT, BackupFailed, Draft, Place
from ops.backup.postgres import end, publish
from ops.backup.verify import GZIP_WINDOW, SEGMENT, prove_wal
from ops.private import private
from ops.supervisor import tethered
from runtime import logs
from runtime.clock import SystemClock
from runtime.postgres_server import program

if TYPE_CHECKING:
    from pathlib import Path

    from ops.backup.cluster import ClusterSource

FINISHED: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
SPOOL_BYTES_MAX: Final = 1 << 30
SWITCH_S: Final = 60.0
"""How long a commit may wait in a segment that is not full."""
POLL_S: Final = 0.5
SAY_AGAIN_S: Final = 60.0
SAID_BYTES_MAX: Final = 4096
FAST: Final = 1
BLOCK_BYTES: Final = 1 << 20
log = logs.get("backup")


class WalArchive:
    """Receives and seals the WAL of one cluster for as long as `run` runs.

    `needs_base` is set when WAL before this moment is missing: what follows needs a new base to be of use.
    """

    def __init__(self, place: Place, source: ClusterSource) -> None:
        self._place = place
        self._source = source
        self.spool: Final = place.home.data / f"{place.what}.wal-spool"
        self.needs_base: Final = threading.Event()
        self.receiving: Final = threading.Event()
        self._sealed = {
            (entry.segment or "", entry.content_sha256 or "")
            for entry in place.catalogue.own()
            if entry.kind == "wal" and entry.usable
        }
        self._words = place.home.logs / f"pg_receivewal-{place.what}.out"
        self._backoff = Backoff()
        self._said_at: dict[str, float] = {}
        self._switched_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Receive and seal until told to stop; what fails is said and tried again."""
        self._place.remove_drafts(WAL_DRAFT)
        while not stop.is_set():
            started = time.monotonic()
            try:
                self._prepare()
                self._seal_what_there_is()
                self._receive(stop)
            except (click.ClickException, OSError) as error:
                self._say("wal_not_received", error)
            stop.wait(self._backoff.after_death(time.monotonic() - started))

    def sweep(self) -> int:
        """Seal each finished segment of the spool and take it out; how many."""
        finished = sorted(path for path in self.spool.iterdir() if FINISHED.fullmatch(path.name))
        if finished:
            self._place.check()
        for path in finished:
            try:
                digest = prove_wal(iter([path.read_bytes()]), path.name)
            except BackupFailed as error:
                self._say("wal_segment_damaged", error)
                path.rename(path.with_name(f"{path.name}.damaged"))
                self.needs_base.set()
                continue
            if (path.name, digest) not in self._sealed:  # after a lost connection the last one comes again
                self._seal(path, digest)
                self._sealed.add((path.name, digest))
            path.unlink()
        return len(finished)

    def _prepare(self) -> None:
        self.spool.mkdir(mode=0o700, exist_ok=True)
        if self._source.keep_slot():
            self._seal_what_there_is()
            for left in self.spool.iterdir():  # of another life of the server: its positions mean nothing now
                left.unlink()
            log.warning("wal_begins_anew", what=self._place.what)
            self.needs_base.set()

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
                self._look()
                if stop.wait(POLL_S):
                    break
            if child.poll() is not None:
                raise BackupFailed(f"pg_receivewal has ended: {self._last_words()}")
        finally:
            self.receiving.clear()
            end(child)
            self._seal_what_there_is()

    def _look(self) -> None:
        """Seal what is finished; now and then have the server finish what it is at."""
        try:
            self.sweep()
            if time.monotonic() - self._switched_at >= SWITCH_S:
                self._switched_at = time.monotonic()
                self._source.switch_wal()
        except (click.ClickException, OSError) as error:
            self._say("wal_not_sealed", error)

    def _seal_what_there_is(self) -> None:
        try:
            self.sweep()
        except (click.ClickException, OSError) as error:
            self._say("wal_not_sealed", error)

    def _seal(self, path: Path, digest: str) -> None:
        """Compress, seal, prove and list one segment."""
        now = SystemClock().now_us()
        name = f"{compact(now)}-wal-{path.name}"
        with Draft(self._place, kind="wal", backup_id=name, ending=WAL_DRAFT) as draft:
            deflate = zlib.compressobj(FAST, zlib.DEFLATED, GZIP_WINDOW)
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    draft.write(deflate.compress(block))
            draft.write(deflate.flush())
            draft.finish()
            if draft.prove(lambda content: prove_wal(content, path.name)) != digest:
                raise BackupFailed(f"What was written to {self._place.target} reads back differently.")
            made = self._entry(path, name, draft, now, digest)
            publish(self._place, draft, made)
        self._place.catalogue.append("verified", made.id, SystemClock().now_us(), ok=True, how="content")

    def _entry(self, path: Path, name: str, draft: Draft, began: int, digest: str) -> Entry:
        is_segment = SEGMENT.fullmatch(path.name) is not None
        size = path.stat().st_size
        start = (int(path.name[8:16], 16) << 32) + int(path.name[16:], 16) * size if is_segment else 0
        return Entry(
            id=name,
            kind="wal",
            file=draft.file,
            bytes=draft.size,
            sha256=draft.sha256,
            key_id=self._place.public.id,
            started=began,
            ended=SystemClock().now_us(),
            start_lsn=_lsn(start) if is_segment else None,
            end_lsn=_lsn(start + size) if is_segment else None,
            timeline=int(path.name[:8], 16),
            segment=path.name,
            content_sha256=digest,
        )

    def _is_full(self) -> bool:
        return sum(_size(path) for path in self.spool.iterdir()) > SPOOL_BYTES_MAX

    def _last_words(self) -> str:
        lines = self._words.read_bytes()[-SAID_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
        return (lines or ["no reason given."])[-1]

    def _say(self, action: str, error: Exception) -> None:
        """Log a failure, the same one at most once a minute."""
        now = time.monotonic()
        if now - self._said_at.get(action, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_at[action] = now
            log.error(action, what=self._place.what, error=error)


def _size(path: Path) -> int:
    """How large a file is; nothing if it was renamed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
