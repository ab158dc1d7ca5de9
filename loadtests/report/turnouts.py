"""The streaming turnout over a run, as an official saw it who watched the first ballot: every few seconds."""

from dataclasses import dataclass
from typing import Final

from loadtests.lifetime.turnouts import EVERY_SECONDS, FILE
from loadtests.report.axis import MICROSECONDS, Axis, Values
from loadtests.report.reading import RunDirectory, number

HOLDS_S: Final = 3 * EVERY_SECONDS
"""A reading is shown until the next one, and not for longer: after that nobody knows."""


@dataclass(slots=True)
class Turnouts:
    """What each reading within the axis says: votes accepted, votes stored, and the difference."""

    accepted: Values
    stored: Values
    unstored: Values
    readings: int = 0

    def take(self, axis: Axis, at_us: float, accepted: float, stored: float, *, next_us: float) -> None:
        """One reading, shown until the next or as long as it holds."""
        begins = axis.step_us(at_us)
        if begins is None:
            return
        self.readings += 1
        until_us = min(next_us, at_us + HOLDS_S * MICROSECONDS)
        steps = max(1, round((until_us - at_us) / MICROSECONDS / axis.step_s))
        for step in range(begins, min(begins + steps, axis.steps)):
            self.accepted[step], self.stored[step] = accepted, stored
            self.unstored[step] = accepted - stored


def turnouts(files: RunDirectory, axis: Axis) -> Turnouts:
    """All readings, on the axis; a line that is no reading is left out."""
    read = Turnouts(axis.empty(), axis.empty(), axis.empty())
    before: tuple[float, float, float] | None = None
    for line in files.lines(FILE):
        at_us, accepted, stored = (number(line.get(name)) for name in ("at_us", "accepted", "stored"))
        if at_us is None or accepted is None or stored is None:
            continue
        if before is not None:
            read.take(axis, *before, next_us=at_us)
        before = (at_us, accepted, stored)
    if before is not None:
        read.take(axis, *before, next_us=float("inf"))
    return read
