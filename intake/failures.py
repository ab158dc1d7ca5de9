"""Slows down guessing, never voting: it is asked only about a request that was refused already."""

from intake.address import throttle_key
from runtime import logs
from runtime.clock import Clock

log = logs.get("failures")

ADDRESSES_MAX = 65_536
"""About 10 MB; while the table is full, further addresses are not slowed down that minute: it fails open, and
says so in the log. Guessing is hopeless at any speed; a bound that could be used against voters is not."""

WINDOW_S = 60.0


class Failures:
    """Refusals of the current minute by address."""

    def __init__(self, *, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._started_s = clock.monotonic()
        self._full = False

    def exceeded(self, address: str) -> bool:
        """Count one more refusal of `address`; whether it had too many in this minute."""
        if self._clock.monotonic() - self._started_s >= WINDOW_S:
            self._counts.clear()
            self._started_s = self._clock.monotonic()
            self._full = False
        key = throttle_key(address)
        count = self._counts.get(key, 0) + 1
        if count > 1 or len(self._counts) < ADDRESSES_MAX:
            self._counts[key] = count
        elif not self._full:
            self._full = True
            log.warning("table of failures full", addresses=ADDRESSES_MAX)
        return count > self._per_minute
