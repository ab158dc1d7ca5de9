"""What a run left in its directory: a file that is missing or broken is told in the report, never a crash."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
LINE_BYTES_MAX: Final = 1024 * 1024
LINES_MAX: Final = 4_000_000
"""A week of seconds from six generators; whatever is longer is cut, and the report says so."""


class RunDirectory:
    """One run's files; `missing` and `faults` tell what could not be used and why."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: list[str] = []
        self.faults: list[str] = []

    def table(self, name: str) -> dict[str, Any]:
        """The JSON object in that file; empty when it is not there or is none."""
        value = self.value(name)
        if value is None or isinstance(value, dict):
            return value or {}
        self._fault(f"{name} holds no JSON object.")
        return {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The JSON objects in the list in that file; empty when it is not there or is no list."""
        value = self.value(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._fault(f"{name} holds no JSON list.")
            return []
        return [row for row in value if isinstance(row, dict)]

    def value(self, name: str) -> Any:
        """The JSON value in that file, or None."""
        path = self._there(name)
        if path is None:
            return None
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                self._fault(f"{name} is too large to be read.")
                return None
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            self._fault(f"{name} cannot be read as JSON.")
            return None

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The JSON objects in that file, a line each; broken lines are counted and left out."""
        path = self._there(name)
        if path is None:
            return
        broken = 0
        try:
            with path.open("rb") as file:
                for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b"")):
                    if number >= LINES_MAX:
                        self._fault(f"{name} is longer than {LINES_MAX:,} lines; the rest was left out.")
                        break
                    try:
                        value = json.loads(line)
                    except (ValueError, RecursionError):
                        broken += 1
                        continue
                    if isinstance(value, dict):
                        yield value
                    else:
                        broken += 1
        except OSError:
            self._fault(f"{name} cannot be read.")
        if broken:
            self._fault(f"{name} has {broken:,} broken lines, which were left out.")

    def names(self, pattern: str) -> list[str]:
        """The files there that match, by name."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern))

    def path(self, name: str) -> Path | None:
        """That file, if it is there."""
        return self._there(name)

    def _there(self, name: str) -> Path | None:
        path = self.folder / name
        if path.is_file():
            return path
        if name not in self.missing:
            self.missing.append(name)
        return None

    def _fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults.append(text)


def number(value: Any) -> float | None:
    """`value` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None


def whole(value: Any) -> int | None:
    """`value` as a whole number if it is a number, else None."""
    found = number(value)
    return None if found is None else round(found)


def listed(value: Any) -> Sequence[Any]:
    """`value` if it is a list, else nothing."""
    return value if isinstance(value, list) else ()
