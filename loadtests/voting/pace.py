"""So many beginnings a second, shared by all who begin: an even pace that does not make up for an outage."""

from dataclasses import dataclass

CATCH_UP_SECONDS = 0.5


@dataclass(slots=True)
class Pace:
    """Gives out turns, `rate` a second; who comes late by more than half a second finds no turns saved up."""

    rate: float
    _next_s: float = 0.0

    def wait(self, now_s: float) -> float:
        """Take the next turn, and return how many seconds to wait for it."""
        turn = max(self._next_s, now_s - CATCH_UP_SECONDS)
        self._next_s = turn + 1 / self.rate
        return max(0.0, turn - now_s)
