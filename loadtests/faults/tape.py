"""When votes were accepted and when not, as the voters saw it; pauses and returns are read off it."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

US = 1_000_000


@dataclass(slots=True)
class Lines:
    """A file of JSON lines that another process is writing: what is new in it, whole lines only."""

    path: Path
    _read_to: int = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """The lines that have come since the last look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            found = file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)


@dataclass(slots=True)
class Tape:
    """The voters' files in one folder: instants of receipts, and of answers that settled nothing."""

    folder: Path
    accepted: list[int] = field(default_factory=list)
    unsettled: list[tuple[int, int]] = field(default_factory=list)
    when: dict[str, int] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    _receipts: Lines = field(init=False)
    _again: Lines = field(init=False)

    def __post_init__(self) -> None:
        self._receipts = Lines(self.folder / "sealed.jsonl")
        self._again = Lines(self.folder / "unsettled.jsonl")

    def look(self) -> None:
        """Read what is new."""
        for line in self._receipts.new():
            self.accepted.append(line["at_us"])
            self.when.setdefault(line["reference"], line["at_us"])
            self.holders.setdefault(line["member_id"], set()).add(line["reference"])
        self.unsettled += [(line["at_us"], line["status"]) for line in self._again.new()]

    def since(self, at_us: int) -> list[int]:
        """The instants of receipts from `at_us` on; one process writes them, so they are in order."""
        return self.accepted[bisect_left(self.accepted, at_us) :]

    def between(self, from_us: int, to_us: int) -> int:
        """How many receipts came in that time."""
        return bisect_left(self.accepted, to_us) - bisect_left(self.accepted, from_us)

    def longest_pause_s(self, from_us: int, to_us: int) -> float:
        """The longest time without a receipt, from the last one before `from_us` on."""
        first = bisect_left(self.accepted, from_us)
        instants = self.accepted[max(0, first - 1) : bisect_left(self.accepted, to_us)]
        gaps = (after - before for before, after in pairwise(instants))
        return max(gaps, default=0) / US

    def answers(self, from_us: int, to_us: int) -> Counter[int]:
        """How many answers of each status settled nothing in that time; 0 is no answer."""
        return Counter(status for at_us, status in self.unsettled if from_us <= at_us < to_us)
