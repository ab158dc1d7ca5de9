"""What left the complaints' stream, held against what was taken out: no ACL forbids an edge to trim it.

The queue counts every entry that was ever appended; nobody but its administrator can turn that back. What it
counts less what is there has left. That number is kept in a file across restarts, with what is being taken
out just now: a kill in between leaves two numbers that are right, and every other one is an alarm.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from runtime.home import replace

FILE: Final = "complaints-taken.json"


@dataclass(frozen=True, slots=True)
class Stream:
    """What the queue says of the stream, in one answer."""

    added: int
    there: int
    last_ms: int
    """The time in the id of the last entry, which whoever appends may choose."""

    @classmethod
    def told(cls, info: Mapping[str, Any]) -> Self:
        """Read XINFO STREAM."""
        last = bytes(info["last-generated-id"]).partition(b"-")[0]
        return cls(int(info["entries-added"]), int(info["length"]), int(last))

    @property
    def left(self) -> int:
        """How many entries are no longer there."""
        return self.added - self.there


class Balance:
    """How many entries have left the stream by our hand, kept in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._left: int | None = None
        self._leaving = 0
        try:
            value = json.loads(file.read_bytes())
            self._left, self._leaving = int(value["left"]), int(value["leaving"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError):
            self._left = -1  # differs from whatever is there

    def missing(self, stream: Stream) -> int:
        """How many are gone that we did not take; below 0, the stream is not the one we left. Told once."""
        expected, leaving = self._left, self._leaving
        if stream.left != expected or leaving:
            self._keep(stream.left, 0)
        if expected is None:
            return 0  # the first look of all
        if expected < 0:
            return -1
        if stream.left == expected + leaving:
            return 0
        return stream.left - expected

    def leave(self, count: int) -> None:
        """Note that `count` entries are about to be taken out."""
        if self._left is not None:
            self._keep(self._left, count)

    def left(self, count: int) -> None:
        """Note that the queue has taken out `count` of them."""
        if self._left is not None:
            self._keep(self._left + count, 0)

    def _keep(self, left: int, leaving: int) -> None:
        self._left, self._leaving = left, leaving
        # A full disk keeps no complaint from being stored: at worst the next start raises a false alarm.
        with suppress(OSError):
            replace(self._file, json.dumps({"left": left, "leaving": leaving}) + "\n")
