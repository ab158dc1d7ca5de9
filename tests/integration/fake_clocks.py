"""Wall clocks that a test steps under running processes of its own; monotonic time goes on as it is.

A process started with `environment` reads its wall clock through libfaketime, which looks at the clock's file
every time it is asked: a step takes effect at once, in that process and in all it started.
"""

from __future__ import annotations

import time
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]  # it has no stubs

LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


class FakeClock:
    """One clock, as far from the machine's as the test says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset_s = 0.0
        self.set(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process must find in its environment."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    @property
    def command(self) -> list[str]:
        """The same for what can only be given a command: this goes before it."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]

    def set(self, offset_s: float) -> None:
        """Go so far from the machine's clock, in one step."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{offset_s:+.6f}\n")
        draft.replace(self._path)
        self.offset_s = offset_s

    def step(self, seconds: float) -> None:
        """Go so far forwards, or with less than 0 backwards."""
        self.set(self.offset_s + seconds)

    def set_to(self, instant_us: int) -> None:
        """Show that instant now."""
        self.set(instant_us / 1e6 - time.time())


def goes_by_a_fake_clock(pid: int) -> bool:
    """Whether that process has the library in it."""
    return LIBRARY.name in Path(f"/proc/{pid}/maps").read_text()
