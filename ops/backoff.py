"""How long to wait before starting a dead process again: hardly at all, unless it keeps dying."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 5.0
HEALTHY_SECONDS = 10.0

# The first restart must be done within a second of the death, which is seen within POLL_SECONDS.
POLL_SECONDS = 0.1
assert FIRST_SECONDS + POLL_SECONDS < 1.0  # noqa: S101  # a fact about this file


@dataclass(slots=True)
class Backoff:
    """Doubles with every death, at most to five seconds; ten seconds of health forget the past."""

    _next_s: float = FIRST_SECONDS

    def after_death(self, lived_s: float) -> float:
        """Return the seconds to wait before the next start of a process that lived `lived_s`."""
        if lived_s >= HEALTHY_SECONDS:
            self._next_s = FIRST_SECONDS
        wait_s = self._next_s
        self._next_s = min(2 * self._next_s, LONGEST_SECONDS)
        return wait_s
