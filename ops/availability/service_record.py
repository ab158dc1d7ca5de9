"""When this host's service was started and stopped, on disk before it happens, so that an outage has its why.

`ballot up` appends a line to `monitor/service.jsonl`; the monitor brings the lines into the events of
`voterdb`, and remembers in `service.written` how far it has them. A start that follows a start tells of an
end that nobody asked for. The monitor adds what its edges could not confirm (`unconfirmed.py`).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.availability.timeline import Turn
from ops.monitor.journal import write_durably
from ops.private import private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARTED, STOPPED, UNCONFIRMED = "service.started", "service.stopped", "service.unconfirmed"
FILE = "service.jsonl"
#: About 12,000 starts, stops and minutes of an outage that voterdb could not be told of.
FILE_BYTES_MAX = 1024 * 1024
LINES_MAX = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file and the offset just after it."""

    kind: str
    at_us: int
    end_offset: int
    asked: bool = True
    votes: int = 0
    access: int = 0

    def turn(self, host: str) -> Turn:
        """The same for the timeline."""
        return Turn(self.at_us, host, started=self.kind == STARTED, asked=self.asked)

    def detail(self, host: str) -> dict[str, Any]:
        """The same for the events."""
        told: dict[str, Any] = {"at_us": self.at_us, "host": host}
        if self.kind == UNCONFIRMED:
            return told | {"votes": self.votes, "access": self.access}
        return told | {"asked": self.asked}


class ServiceRecord:
    """The record in the monitor's directory: one process appends, another reads, none waits for the other."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._written_path = directory / "service.written"

    def started(self) -> None:
        """The service is about to start; what voterdb has already is dropped when it is much."""
        size = self._size()
        if size > FILE_BYTES_MAX and self._written() == size:
            # The file first: a mark beyond its end means that nothing was brought over, as it is then.
            write_durably(self._path, b"")
            write_durably(self._written_path, b"0")
        self._append(STARTED, asked=True)

    def stopped(self, *, asked: bool) -> None:
        """The service is about to stop; `asked` is False when it does so by itself."""
        self._append(STOPPED, asked=asked)

    def unconfirmed(self, *, votes: int, access: int) -> None:
        """So many attempts could not be confirmed since the last such line."""
        self._append(UNCONFIRMED, votes=votes, access=access)

    def _append(self, kind: str, **told: int) -> None:
        if self._size() > 2 * FILE_BYTES_MAX:
            raise OSError("the record of starts and stops is full: voterdb has been away too long")
        line = json.dumps({"kind": kind, "at_us": time.time_ns() // 1000} | told).encode() + b"\n"
        with os.fdopen(private(self._path, os.O_APPEND), "ab") as file:
            # A line that a power cut tore ends here, and is read as nothing.
            file.write(b"\n" + line if self._torn() else line)
            file.flush()
            os.fsync(file.fileno())

    def _torn(self) -> bool:
        size = self._size()
        if size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) != b"\n"

    def unwritten(self) -> list[Line]:
        """The oldest lines that voterdb does not have yet, a bounded number of them."""
        return list(islice(self._lines(self._written()), LINES_MAX))

    def all(self) -> list[Line]:
        """Every line of this host, those that voterdb has as well, unless it was put back from a backup."""
        return list(self._lines(0))

    def mark_written(self, end_offset: int) -> None:
        """Remember that voterdb has everything before `end_offset`."""
        write_durably(self._written_path, str(end_offset).encode())

    def _lines(self, offset: int) -> Iterator[Line]:
        if self._size() == 0:
            return
        with self._path.open("rb") as file:
            file.seek(offset)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                offset += len(text)
                if (line := _parsed(text, offset)) is not None:
                    yield line

    def _written(self) -> int:
        try:
            written = int(self._written_path.read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return written if 0 <= written <= self._size() else 0

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _parsed(text: bytes, end_offset: int) -> Line | None:
    """The line, or None when it is torn."""
    try:
        fields: dict[str, Any] = json.loads(text)
        kind, at_us = str(fields["kind"]), int(fields["at_us"])
        if kind == UNCONFIRMED:
            counts = int(fields["votes"]), int(fields["access"])
            return Line(kind, at_us, end_offset, votes=counts[0], access=counts[1])
        line = Line(kind, at_us, end_offset, asked=bool(fields["asked"]))
    except (ValueError, KeyError, TypeError):
        return None
    return line if line.kind in {STARTED, STOPPED} else None
