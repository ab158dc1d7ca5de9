"""Slows down guessing, never voting: it is asked only about a request that was refused already.

What comes from an address with too many refusals is still looked up, so that a good code there is never
answered `slow_down`; but it waits for the queue in a small room of its own, where it crowds out nobody else.
"""

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
        self._over: set[str] = set()
        self._over_before: set[str] = set()
        self._started_s = clock.monotonic()
        self._full = False

    def exceeded(self, address: str) -> bool:
        """Count one more refusal of `address`; whether it had too many in this minute."""
        self._turn()
        key = throttle_key(address)
        count = self._counts.get(key, 0) + 1
        if count > 1 or len(self._counts) < ADDRESSES_MAX:
            self._counts[key] = count
        elif not self._full:
            self._full = True
            log.warning("table of failures full", addresses=ADDRESSES_MAX)
        if count <= self._per_minute:
            return False
        if key in self._counts:
            self._over.add(key)
        return True

    def throttled(self, address: str) -> bool:
        """Whether `address` had too many in this minute or the one before; nothing is counted.

        The minute before belongs to it, or who goes on would have everybody's room again each minute.
        """
        if not self._over and not self._over_before:
            return False
        self._turn()
        key = throttle_key(address)
        return key in self._over or key in self._over_before

    def _turn(self) -> None:
        """Begin another minute when this one is over."""
        now_s = self._clock.monotonic()
        passed_s = now_s - self._started_s
        if passed_s < WINDOW_S:
            return
        self._over_before = self._over if passed_s < 2 * WINDOW_S else set()
        self._over = set()
        self._counts.clear()
        self._started_s = now_s
        self._full = False
