"""One time axis for the whole report: seconds since the first vote was due, in at most 1,500 steps."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

STEPS_MAX: Final = 1_500
AFTER_SHARE: Final = 0.05
"""How much of the run's length the axis goes on after the last vote was due: storing catches up there."""
AFTER_SECONDS_MIN: Final = 10
MICROSECONDS: Final = 1_000_000

Values = list[float | None]


@dataclass(frozen=True, slots=True)
class Axis:
    """Steps of `step_s` whole seconds from `origin_s` (Unix time); `voting_s` ends with the last vote due."""

    origin_s: int
    step_s: int
    steps: int
    voting_s: int

    @classmethod
    def over(cls, first_s: int, last_s: int, *, until_s: float) -> "Axis":
        """The axis for votes due from `first_s` to `last_s`, and a little on if samples go on `until_s`."""
        voting = max(1, last_s - first_s + 1)
        after = max(AFTER_SECONDS_MIN, math.ceil(voting * AFTER_SHARE))
        length = voting + max(0, min(after, math.ceil(until_s - last_s)))
        step = math.ceil(length / STEPS_MAX)
        return cls(origin_s=first_s, step_s=step, steps=math.ceil(length / step), voting_s=voting)

    @property
    def seconds(self) -> int:
        """The length of the axis."""
        return self.steps * self.step_s

    def step(self, unix_s: float) -> int | None:
        """The step that this moment falls into; None when it is outside the axis."""
        at = math.floor((unix_s - self.origin_s) / self.step_s)
        return at if 0 <= at < self.steps else None

    def step_us(self, at_us: Any) -> int | None:
        """The same for microseconds; None as well when it is no number."""
        if isinstance(at_us, bool) or not isinstance(at_us, int | float):
            return None
        return self.step(at_us / MICROSECONDS)

    def run_s(self, at_us: float) -> float:
        """Seconds since the origin."""
        return at_us / MICROSECONDS - self.origin_s

    def empty(self) -> Values:
        """No value for any step."""
        return [None] * self.steps

    def to_dict(self) -> dict[str, int]:
        """For report.json."""
        return {
            "origin_unix_s": self.origin_s,
            "step_s": self.step_s,
            "steps": self.steps,
            "voting_s": self.voting_s,
        }


def keep_most(values: Values, step: int | None, value: float | None) -> None:
    """Keep the largest value seen in a step."""
    if step is not None and value is not None:
        before = values[step]
        values[step] = value if before is None else max(before, value)


def keep_last(values: Values, step: int | None, value: float | None) -> None:
    """Keep the last value seen in a step."""
    if step is not None and value is not None:
        values[step] = value


def add(values: Values, step: int | None, value: float | None) -> None:
    """Add up in a step."""
    if step is not None and value is not None:
        values[step] = (values[step] or 0) + value


def coarser(values: Values, into: int, how: Callable[[Iterable[float]], float]) -> Values:
    """The values in at most `into` steps, each told by `how` from those that are there."""
    size = together(len(values), into)
    told: Values = []
    for start in range(0, len(values), size):
        there = [value for value in values[start : start + size] if value is not None]
        told.append(how(there) if there else None)
    return told


def together(steps: int, into: int) -> int:
    """How many steps are told as one, so that there are at most `into`."""
    return max(1, math.ceil(steps / into))


def mean(values: Iterable[float]) -> float:
    """The mean of what is there; the caller sees to it that there is something."""
    there = list(values)
    return sum(there) / len(there)


def clock(seconds: float) -> str:
    """Seconds of the run as a person reads them: 4:05, or 1:04:05."""
    whole = round(abs(seconds))
    sign = "-" if seconds <= -1 else ""
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{sign}{hours}:{minutes:02}:{left:02}" if hours else f"{sign}{minutes}:{left:02}"
