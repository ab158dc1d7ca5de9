"""Intervals survive anything: on disk here first, then in voterdb, in order and exactly once.

`journal.jsonl` is appended and fsynced when an interval ends. `journal.written` remembers how far voterdb
has it; a crash between the two repeats an insert that the table's primary key ignores. `open.json` is the
interval still growing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.monitor.intervals import Interval, State
from ops.private import private

if TYPE_CHECKING:
    from pathlib import Path

LINE_BYTES_MAX = 4096
REPLAY_LINES_MAX = 500
# About 8,000 intervals: months of ordinary days, hours of the worst.
JOURNAL_BYTES_MAX = 1024 * 1024
SEEN_LINES_MAX = 100_000


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` in one step; after return a power cut leaves the old content or the new, never a mix."""
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(private(fresh, os.O_TRUNC), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal line and the offset just after it."""

    interval: Interval
    end_offset: int


class Journal:
    """The journal, its written mark and the open interval in `directory`; one process at a time holds it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / "journal.jsonl"
        self._written_path = directory / "journal.written"
        self._open_path = directory / "open.json"
        self._last = self._repair()
        self._written = int(self._written_path.read_text()) if self._written_path.exists() else 0
        self._shorten()

    def _repair(self) -> Interval | None:
        """Cut off a line torn by a crash, and return the last whole one."""
        self._path.touch(mode=0o600)
        size = self._path.stat().st_size
        with self._path.open("rb+") as file:
            start = max(0, size - 2 * LINE_BYTES_MAX)
            file.seek(start)
            tail = file.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            if len(whole) < len(tail):
                file.truncate(start + len(whole))
                os.fsync(file.fileno())
        lines = whole.splitlines()
        return _from_json(lines[-1]) if lines else None

    def _shorten(self) -> None:
        """Drop what voterdb has, except the last line, from which the next start goes on.

        The mark goes back first: a kill in between replays lines that voterdb ignores, and skips none.
        """
        size = self._path.stat().st_size
        if self._last is None or self._written != size or size <= JOURNAL_BYTES_MAX:
            return
        self.mark_written(0)
        write_durably(self._path, _to_json(self._last) + b"\n")

    def append(self, intervals: list[Interval]) -> None:
        """Put ended intervals on disk; they are safe on return."""
        if not intervals:
            return
        with self._path.open("ab") as file:
            file.writelines(_to_json(interval) + b"\n" for interval in intervals)
            file.flush()
            os.fsync(file.fileno())
        self._last = intervals[-1]

    def unwritten(self) -> list[Entry]:
        """Return the oldest lines that voterdb does not have yet, at most REPLAY_LINES_MAX."""
        entries: list[Entry] = []
        with self._path.open("rb") as file:
            file.seek(self._written)
            for line in file:
                if not line.endswith(b"\n") or len(entries) == REPLAY_LINES_MAX:
                    break
                end_offset = (entries[-1].end_offset if entries else self._written) + len(line)
                entries.append(Entry(_from_json(line), end_offset))
        return entries

    def mark_written(self, end_offset: int) -> None:
        """Remember that voterdb has everything before `end_offset`."""
        write_durably(self._written_path, str(end_offset).encode())
        self._written = end_offset

    def checkpoint(self, current: Interval | None) -> None:
        """Keep the interval still growing, so that a kill loses only what came after it."""
        if current is not None:
            write_durably(self._open_path, _to_json(current))

    def restored(self) -> Interval | None:
        """Return the interval to go on from after a restart, or None the first time.

        The journal is the truth: a checkpoint that it has overtaken (killed between the two writes) would end
        the same interval twice, so then only the end of the journal's last line counts.
        """
        last = self._last
        current = _from_json(self._open_path.read_bytes()) if self._open_path.exists() else None
        if last is not None and (current is None or current.started_us < last.ended_us):
            return Interval(last.ended_us, last.ended_us, State.UNKNOWN)
        return current


def seen_here(directory: Path) -> list[Interval]:
    """What the monitor of this host has on disk, the interval still growing included; changes nothing.

    Most of it voterdb has as well, unless it was put back from a backup. The files may be replaced meanwhile:
    what is read twice, or no longer there, does no harm to a reader.
    """
    found: list[Interval] = []
    with suppress(FileNotFoundError, ValueError, KeyError), (directory / "journal.jsonl").open("rb") as file:
        found += [_from_json(line) for line in islice(file, SEEN_LINES_MAX) if line.endswith(b"\n")]
    with suppress(FileNotFoundError, ValueError, KeyError):
        found.append(_from_json((directory / "open.json").read_bytes()))
    return found


def _to_json(interval: Interval) -> bytes:
    line = json.dumps(
        {
            "started_us": interval.started_us,
            "ended_us": interval.ended_us,
            "state": interval.state.value,
            "reason": interval.reason[:200],
        },
    ).encode()
    assert len(line) < LINE_BYTES_MAX, len(line)  # noqa: S101  # the reason was cut to 200 characters
    return line


def _from_json(line: bytes) -> Interval:
    fields: dict[str, Any] = json.loads(line)
    return Interval(fields["started_us"], fields["ended_us"], State(fields["state"]), fields["reason"])
