"""The WAL that a restore replays: opened as far as the moment that was asked for needs it, and no further.

Nothing outside a segment says when its commits were: one that waited for the target was sealed long after
them. So PostgreSQL says it: as long as it has seen no commit after the moment, more is opened, up to the last
segment and to what this home has received and not sealed yet. Less than was asked for is given only when
there is no more, and the report says so.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from ballot.encoding import format_time
from ops.backup.restore_chain import is_segment
from ops.backup.restore_cluster import EPOCH, Replayed, TargetNotReached
from ops.backup.restore_home import check_room
from ops.backup.restore_source import NOTHING_CHANGED, NotAsMade, is_begun
from ops.backup.restore_unpacking import copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.backup.catalogue import Entry
    from ops.backup.restore_chain import Chain
    from ops.backup.restore_cluster import Scratch
    from ops.backup.restore_source import Source

UNPROVEN: Final = ".unproven"
MORE_MIN: Final = 16
"""Segments that are opened at least when what was opened was not enough."""


class Archive:
    """The WAL of `chain` in `scratch`, as far as it was opened."""

    def __init__(self, source: Source, chain: Chain, scratch: Scratch) -> None:
        self._source = source
        self._chain = chain
        self._scratch = scratch
        self._left = chain.more
        self._gap = chain.gap
        self.opened = 0
        """How many sealed files."""
        self.reaches = chain.last.ended
        """When the newest of what was opened had come."""
        self.last_us: int | None = None
        """The last commit that was replayed; nothing if all were in the base."""

    def open(self, at: int | None, *, advance: Callable[[int], object] = lambda _: None) -> int:
        """Open what should be enough for `at`; how many bytes. Without a moment nothing may be missing."""
        written = self._open(self._chain.wal, advance)
        for name, text in self._chain.histories.items():
            (self._scratch.wal / name).write_text(text, "utf-8")
        if not self._left and self._gap is None:
            self._add_what_was_not_sealed()
        if at is None and self._gap is not None:
            raise unusable(self._gap, self.reaches)
        return written

    def replay(self, at: int | None) -> tuple[Replayed, bool]:
        """Replay up to `at`, or to the end; whether the moment was seen to be past.

        If nothing was committed after it all there is has been replayed.
        """
        timeline = self._chain.timeline
        if at is None:
            return self._noted(self._scratch.replay(at=None, timeline=timeline)), True
        moment = EPOCH + timedelta(microseconds=at)
        while True:
            try:
                return self._noted(self._scratch.replay(at=moment, timeline=timeline)), True
            except TargetNotReached as found:
                self._note(found.last_us)
            if not self._add_more():
                break
        reached = self.last_us is not None and self.last_us >= at
        if self._gap is not None and not reached:
            raise self._cut_short()
        return self._noted(self._scratch.replay(at=None, timeline=timeline)), reached

    def _add_more(self) -> bool:
        """Open as much again as there is already; False if there is nothing more."""
        if not self._left:
            return False
        count = max(MORE_MIN, self.opened)
        entries, self._left = self._left[:count], self._left[count:]
        check_room(self._scratch.home.path, 2 * len(entries) * self._chain.segment_bytes)
        before = self.opened
        self._open(entries, lambda _: None)
        newest = 0
        if not self._left and self._gap is None:
            newest = self._add_what_was_not_sealed()
        return self.opened > before or newest > 0

    def _open(self, entries: tuple[Entry, ...], advance: Callable[[int], object]) -> int:
        written = 0
        for entry in entries:
            try:
                written += self._open_one(entry, entry.segment or entry.id, advance)
            except NotAsMade as error:
                fault = error.message.removesuffix(f" {NOTHING_CHANGED}")
                if not is_segment(entry):
                    self._pass_over(entry, fault)
                    continue
                self._left, self._gap = (), fault.removesuffix(".")
                break
            self.opened += 1
            self.reaches = max(self.reaches, entry.started)
        return written

    def _open_one(self, entry: Entry, name: str, advance: Callable[[int], object]) -> int:
        """Put one file into the archive, by its name only once every byte of it was proven."""
        draft = self._scratch.wal / f"{name}{UNPROVEN}"
        try:
            with self._source.opened(entry, advance=advance) as stream:
                written = copy(stream, draft)
            draft.rename(self._scratch.wal / name)
        finally:
            draft.unlink(missing_ok=True)
        return written

    def _pass_over(self, history: Entry, fault: str) -> None:
        """A timeline's history that cannot be used: of every restore the list has it too.

        Without it nothing is missing, but no other timeline may be given its number.
        """
        name = history.segment or history.id
        if name not in self._chain.histories:
            click.echo(f"Passed over: {fault}", err=True)
            (self._scratch.wal / name).touch(0o600)

    def _add_what_was_not_sealed(self) -> int:
        """Where the backups end this home's spool may go on, without a gap; when the newest of it came."""
        mine = {  # of one segment the latest timeline's, as of sealed ones
            self._chain.number(name): (name, path)
            for name, path in self._source.spooled().items()
            if self._chain.is_its(name)
        }
        newest, end = 0, self._chain.next_segment
        for number, (name, path) in sorted(mine.items()):
            if number > end:
                break
            if (self._scratch.wal / name).exists():
                continue
            shutil.copyfile(path, self._scratch.wal / name)
            newest, end = int(path.stat().st_mtime * 1_000_000), max(end, number + 1)
            if is_begun(path):
                break
        self.reaches = max(self.reaches, newest)
        return newest

    def _noted(self, replayed: Replayed) -> Replayed:
        self._note(replayed.last_us)
        return replayed

    def _note(self, last_us: int | None) -> None:
        """A replay that went on where the one before ended says nothing of what that one saw."""
        self.last_us = max(filter(None, (self.last_us, last_us)), default=None)

    def _cut_short(self) -> click.ClickException:
        sure = self._chain.last.started if self.last_us is None else self.last_us
        return click.ClickException(
            f"{self._gap}, and no commit before it is as late as the moment that was asked for: put it back, "
            f"or ask for the last one before it with --at {format_time(sure, decimals=6)}. {NOTHING_CHANGED}"
        )


def unusable(gap: str, reaches: int) -> click.ClickException:
    """The sentence for WAL that is missing in the middle."""
    return click.ClickException(
        f"{gap}, so that nothing after {format_time(reaches)} can be restored: put it back, or ask for what "
        f"came before with --at {format_time(reaches)}. {NOTHING_CHANGED}"
    )
