"""Both clocks tell microseconds; the manual one moves only when told."""

from __future__ import annotations

import time

from runtime.clock import Clock, SystemClock
from tests.manual_clock import ManualClock


async def test_the_system_clock_tells_microseconds() -> None:
    """now_us is the wall clock in microseconds, monotonic never goes back."""
    clock: Clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)

    assert abs(clock.now_us() - time.time() * 1_000_000) < 5_000_000
    assert clock.monotonic() >= before


async def test_the_manual_clock_never_waits() -> None:
    """A sleep on the manual clock moves its time by exactly that much, at once."""
    clock = ManualClock(us=1_000_000)
    as_clock: Clock = clock
    await as_clock.sleep(3600)
    clock.advance(0.5)

    assert clock.now_us() == 1_000_000 + 3600_500_000
    assert clock.monotonic() == 3601.5
    assert clock.slept_s == 3600
