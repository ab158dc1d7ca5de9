"""How busy a process was at most: the share of a core in its worst ten seconds, not over hours of rest."""

from collections import deque
from typing import Final

WINDOW_S: Final = 10.0


class Busiest:
    """Readings of a process's CPU time, as they come; they need not be evenly apart."""

    def __init__(self) -> None:
        self._within: deque[tuple[float, float]] = deque()
        self._worst = 0.0
        self._first: tuple[float, float] | None = None

    def note(self, at_s: float, cpu_s: float) -> None:
        """So much CPU had been used by then."""
        self._first = self._first or (at_s, cpu_s)
        self._within.append((at_s, cpu_s))
        while len(self._within) > 1 and at_s - self._within[1][0] >= WINDOW_S:
            self._within.popleft()
        since_s, used_s = self._within[0]
        if at_s - since_s >= WINDOW_S:
            self._worst = max(self._worst, (cpu_s - used_s) / (at_s - since_s))

    def share(self) -> float:
        """Of a core, in its worst ten seconds; over all readings if they are not that far apart."""
        if self._first is None or self._worst:
            return self._worst
        (since_s, used_s), (at_s, cpu_s) = self._first, self._within[-1]
        return (cpu_s - used_s) / (at_s - since_s) if at_s > since_s else 0.0
