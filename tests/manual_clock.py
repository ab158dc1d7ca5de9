"""A clock that moves only when the test says so, and never waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class ManualClock:
    """Starts at `us`; `sleep` moves it on at once and lets other tasks run."""

    us: int = 1_750_000_000_000_000
    slept_s: float = 0.0

    def now_us(self) -> int:
        """Return the time the test has set."""
        return self.us

    def monotonic(self) -> float:
        """Return the same time in seconds."""
        return self.us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Move on by `seconds` and yield once to the loop."""
        self.advance(seconds)
        self.slept_s += seconds
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move on without yielding."""
        self.us += round(seconds * 1_000_000)
