"""The only place that reads a clock: everything a test would want to step takes a Clock."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in microseconds since the epoch, a monotonic second count, and waiting."""

    def now_us(self) -> int:
        """Return microseconds since the Unix epoch (UTC)."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of this clock."""


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """Return microseconds since the Unix epoch (UTC)."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        await asyncio.sleep(seconds)
