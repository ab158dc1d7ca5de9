"""The directory that a run leaves: who writes what into it, whole files only, lines as they come."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARKS_MAX = 100_000
BUGS = "conductor.err"
US = 1_000_000
RESULTS = "results"
"""Where the results are when there are several ballots."""


class FolderTaken(Exception):  # noqa: N818  # named for what it means to the tester
    """The directory for the report holds something else, in one sentence."""


def now_us() -> int:
    """The time now."""
    return time.time_ns() // 1000


class Kept:
    """The run's directory; an earlier run's files there go first, and nothing else does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
        if there and "run.json" not in there:
            raise FolderTaken(f"{folder} holds something that is no run: name another with --report.")
        for name in sorted(there):
            path = folder / name
            if path.is_file() and path.suffix in {".json", ".jsonl", ".npz", ".html", ".err", ".txt"}:
                path.unlink()
        self.overlays = folder / "overlays"
        for path in (*self.overlays.glob("*.*"), *(folder / RESULTS).glob("*.json")):
            path.unlink()
        self.write("run.json", {})  # from now on it is a run's directory
        self._marks = 0
        self.phases: list[dict[str, Any]] = []

    def write(self, name: str, value: Any) -> None:
        """A JSON value as a file, whole or not at all."""
        draft = self.folder / f".{name}.draft"
        draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        draft.rename(self.folder / name)

    def bug(self) -> None:
        """The exception that is being handled, whole: nobody foresaw it."""
        with (self.folder / BUGS).open("a", encoding="utf-8") as told:
            told.write(traceback.format_exc())

    def mark(self, kind: str, name: str, from_us: int, to_us: int, **told: Any) -> None:
        """A stretch of the run's time that the report shows: a phase, an overlay, a fault or a window."""
        self._marks += 1
        if self._marks > MARKS_MAX:
            return
        line = {"kind": kind, "name": name, "from_us": from_us, "to_us": to_us, "told": told}
        with (self.folder / "marks.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens in the block is a phase of the run, also when it fails."""
        from_us = now_us()
        try:
            yield
        finally:
            to_us = now_us()
            self.mark("phase", name, from_us, to_us)
            self.phases.append(
                {
                    "name": name,
                    "from_us": from_us,
                    "to_us": to_us,
                    "seconds": round((to_us - from_us) / US, 3),
                }
            )
