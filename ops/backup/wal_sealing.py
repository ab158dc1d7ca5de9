"""What was received of the WAL, from the spool onto the target: each finished segment sealed, proven, listed.

This alone touches the target, in a thread of its own: a target that hangs keeps it waiting for as long as it
likes, and nothing else. A finished file leaves the spool when it is sealed and listed, and never otherwise.
What will never be finished, or is damaged, is kept for whoever needs it, a few of the newest.
"""

from __future__ import annotations

import os
import re
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ops.backup.catalogue import Entry, compact
from ops.backup.place import WAL_DRAFT, BackupFailed, Draft, Place
from ops.backup.postgres import publish
from ops.backup.verify import GZIP_WINDOW, SEGMENT, prove_wal
from runtime import logs
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

FINISHED: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
ASIDE: Final = "before-"
PARTIAL: Final = ".partial"
DAMAGED: Final = ".damaged"
LEFT_MAX: Final = 4
"""So many beginnings of segments that were never finished are kept, and so many damaged ones."""
LEFT_BYTES_MAX: Final = 128 << 20
"""More of either is not kept, but for the newest: segments may be a gigabyte each."""
POLL_S: Final = 0.5
SEAL_LONG_S: Final = 60.0
SAY_AGAIN_S: Final = 60.0
FAST: Final = 1
BLOCK_BYTES: Final = 1 << 20
log = logs.get("backup")


class WalSealing:
    """Seals what is finished in the spool for as long as `run` runs.

    `needs_base` is set when WAL is missing, `looks` when something was sealed that does not follow on.
    """

    def __init__(self, place: Place, spool: Path) -> None:
        self._place = place
        self._spool = spool
        self.needs_base: Final = threading.Event()
        self.looks: Final = threading.Event()
        self._names = (
            threading.Lock()
        )  # held for renaming and removing in the spool, never while anything waits
        self._given_up = threading.Event()
        self._begun = False
        self._sealed: set[tuple[str, str, str]] = set()
        self._end: str | None = None
        self._busy: tuple[str, float] | None = None
        self._said_at: dict[str, float] = {}

    def run(self, ended: threading.Event) -> None:
        """Seal until nothing more is received and what is there is sealed."""
        last = False
        while not last:
            last = ended.is_set()
            try:
                self.sweep()
            except (click.ClickException, OSError) as error:
                self.say("wal_not_sealed", error)
            ended.wait(POLL_S)

    def give_up(self) -> None:
        """Seal no further segment: whoever waited for the end waits no longer."""
        self._given_up.set()

    def watch(self) -> None:
        """Raise an alarm while one step takes long; called by somebody else's thread."""
        busy = self._busy
        if busy is not None and time.monotonic() - busy[1] > SEAL_LONG_S and self._is_time_to_say("stuck"):
            for_s = round(time.monotonic() - busy[1])
            log.alarm("wal_sealing_stuck", what=self._place.what, at=busy[0], seconds=for_s)

    def sweep(self) -> int:
        """Seal each finished segment of the spool and take it out; how many there were."""
        finished = self._finished()
        if finished:
            with self._touching("whether the target is there"):
                self._place.check()
                self._begin()
        for path in finished:
            if self._given_up.is_set():
                break
            with path.open("rb") as file, self._touching(path.name):
                try:
                    digest = prove_wal(iter([file.read()]), path.name)
                except BackupFailed as error:
                    self.say("wal_segment_damaged", error)
                    self.needs_base.set()
                    self._rename_damaged(path, file.fileno())
                    continue
                place = self._place.with_current_key()
                fact = (path.name, digest, place.public.id)
                if fact not in self._sealed:  # after a lost connection the last one comes again
                    file.seek(0)
                    self._seal(place, path.name, file.read(), digest)
                    self._sealed.add(fact)
                self._remove(path, file.fileno())
        self._remove_empty()
        return len(finished)

    def set_aside(self) -> None:
        """Move what was received of another life of the server out of its successor's way.

        It is still sealed from there. Where the server goes on is told by what lies in the spool itself.
        """
        with self._names:
            left = [path for path in self._spool.iterdir() if not path.name.startswith(ASIDE)]
            if not left:
                return
            now = SystemClock().now_us()
            while (aside := self._spool / f"{ASIDE}{compact(now)}").exists():
                now += 1_000_000
            aside.mkdir(mode=0o700)
            for path in left:
                path.rename(aside / path.name)
            _keep_newest([path for folder in self._asides() for path in sorted(folder.glob(f"*{PARTIAL}"))])

    def waiting_bytes(self) -> int:
        """How much waits in the spool to be sealed, the segment that is being received included."""
        held = 0
        for folder, _, names in os.walk(self._spool):
            for name in names:
                begun = name.endswith(PARTIAL) and self._spool == Path(folder)
                if begun or FINISHED.fullmatch(name):
                    held += _size(Path(folder, name))
        return held

    def say(self, action: str, error: Exception, *, alarm: bool = False) -> None:
        """Log a failure, the same one at most once a minute."""
        if self._is_time_to_say(f"{action} {alarm}"):
            (log.alarm if alarm else log.error)(action, what=self._place.what, error=error)

    def _is_time_to_say(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(what, -SAY_AGAIN_S) < SAY_AGAIN_S:
            return False
        self._said_at[what] = now
        return True

    @contextmanager
    def _touching(self, what: str) -> Iterator[None]:
        self._busy = (what, time.monotonic())
        try:
            yield
        finally:
            self._busy = None

    def _begin(self) -> None:
        """Once the target is there: remove what was left half written, recall what is sealed already."""
        if self._begun:
            return
        self._place.remove_drafts(WAL_DRAFT)
        self._sealed.update(
            (entry.segment or "", entry.content_sha256 or "", entry.key_id)
            for entry in self._place.catalogue.own()
            if entry.kind == "wal" and entry.usable
        )
        self._begun = True

    def _asides(self) -> list[Path]:
        return sorted(self._spool.glob(f"{ASIDE}*"))

    def _finished(self) -> list[Path]:
        """What can be sealed, in the order in which it was written."""
        return [
            path
            for folder in (*self._asides(), self._spool)
            for path in sorted(folder.iterdir())
            if FINISHED.fullmatch(path.name)
        ]

    def _remove(self, path: Path, descriptor: int) -> None:
        """Take a sealed file out, unless another has got its name meanwhile."""
        with self._names:
            if _is_same(path, descriptor):
                path.unlink()

    def _rename_damaged(self, path: Path, descriptor: int) -> None:
        with self._names:
            if _is_same(path, descriptor):
                path.rename(path.with_name(f"{path.name}.{compact(SystemClock().now_us())}{DAMAGED}"))
                damaged = [each for each in self._spool.rglob(f"*{DAMAGED}") if each.is_file()]
                _keep_newest(sorted(damaged, key=lambda each: each.name.split(".")[1:]))

    def _remove_empty(self) -> None:
        for folder in self._asides():
            with suppress(OSError):  # it still holds something
                folder.rmdir()

    def _seal(self, place: Place, segment: str, content: bytes, digest: str) -> None:
        """Compress, seal, prove and list one segment."""
        now = SystemClock().now_us()
        while place.holds_any(name := f"{compact(now)}-wal-{segment}"):  # of another life of the server
            now += 1_000_000
        with Draft(place, kind="wal", backup_id=name, ending=WAL_DRAFT) as draft:
            deflate = zlib.compressobj(FAST, zlib.DEFLATED, GZIP_WINDOW)
            for at in range(0, len(content), BLOCK_BYTES):
                draft.write(deflate.compress(content[at : at + BLOCK_BYTES]))
            draft.write(deflate.flush())
            draft.finish()
            if draft.prove(lambda read: prove_wal(read, segment)) != digest:
                raise BackupFailed(f"What was written to {place.target} reads back differently.")
            made = _entry(place, segment, draft, began=now, size=len(content), digest=digest)
            publish(place, draft, made)
        place.catalogue.append("verified", made.id, SystemClock().now_us(), ok=True, how="content")
        if made.start_lsn is not None:
            if made.start_lsn != self._end:
                self.looks.set()
            self._end = made.end_lsn


def _keep_newest(files: list[Path]) -> None:
    """Remove the oldest, first in `files`, until no more are left than may be."""
    held = 0
    for number, path in enumerate(reversed(files)):
        held += _size(path)
        if number >= LEFT_MAX or (number > 0 and held > LEFT_BYTES_MAX):
            path.unlink()


def _size(path: Path) -> int:
    """How large a file is; nothing if it was renamed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _entry(place: Place, segment: str, draft: Draft, *, began: int, size: int, digest: str) -> Entry:
    is_segment = SEGMENT.fullmatch(segment) is not None
    start = (int(segment[8:16], 16) << 32) + int(segment[16:], 16) * size if is_segment else 0
    return Entry(
        id=f"{compact(began)}-wal-{segment}",
        kind="wal",
        file=draft.file,
        bytes=draft.size,
        sha256=draft.sha256,
        key_id=place.public.id,
        started=began,
        ended=SystemClock().now_us(),
        start_lsn=_lsn(start) if is_segment else None,
        end_lsn=_lsn(start + size) if is_segment else None,
        timeline=int(segment[:8], 16),
        segment=segment,
        content_sha256=digest,
    )


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
