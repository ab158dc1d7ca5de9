"""Whether those who watched one run saw the same, and whether what they saw had a cause.

Two observers agree while neither says that votes are taken when the other says they are not, for longer than
a probe is blind: from its own start to the verdict of the next, one period and the deadline it waits. An
outage that any of them saw must have begun with something the run did, and what the run did to stop votes
must have been seen. `unknown` contradicts nobody, and a monitor that looked too little is told by name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from loadtests.outside.observed import DOWN, Interval, shares

LOOKED_SHARE_MIN = 0.9
US = 1_000_000
#: So long after the end of what stopped votes they must be taken again.
RECOVERY_US = 30 * US
Stretch = Callable[[int, int], str]


@dataclass(frozen=True, slots=True)
class Observer:
    """One of those who saw the run, and for how long one look of it may be blind.

    A monitor must look, and stands at the deployment's own door; voters come by the line.
    """

    name: str
    intervals: Sequence[Interval]
    blind_us: int
    monitor: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """Something the run did that may have kept voters from voting; or must have, with `expects_down`.

    What was done `on_the_line` to the deployment stops voters and no monitor. A `flood` presses, but voters
    are to get through it; an `overload` is more than can be taken.
    """

    name: str
    from_us: int
    to_us: int
    expects_down: bool = False
    on_the_line: bool = False
    flood: bool = False
    overload: bool = False

    @property
    def stops(self) -> bool:
        """Whether votes need not be taken meanwhile; else it may explain that they were not, no more."""
        return self.expects_down or self.on_the_line or self.overload

    @property
    def presses(self) -> bool:
        """Whether it asks so much that some may be let in and others asked to come again."""
        return self.flood or self.overload


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch in which somebody saw that no votes were taken, and what the run did then, if anything."""

    from_us: int
    to_us: int
    seen_by: tuple[str, ...]
    cause: str | None

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {
            "from_us": self.from_us,
            "to_us": self.to_us,
            "seen_by": list(self.seen_by),
            "cause": self.cause,
        }


def contested(one: Sequence[Interval], other: Sequence[Interval]) -> Iterator[tuple[int, int, bool]]:
    """The stretches in which one says that votes were taken and the other not: from, to, and what `one` says.

    Both are sorted and without overlap.
    """
    edges = sorted({edge for each in (*one, *other) for edge in (each.from_us, each.to_us)})
    left, right = _Reader(one), _Reader(other)
    stretch: tuple[int, int, bool] | None = None
    for from_us, to_us in pairwise(edges):
        first, second = left.at(from_us), right.at(from_us)
        if first is None or second is None or first == second:
            if stretch is not None:
                yield stretch
            stretch = None
        elif stretch is not None and stretch[2] == first:
            stretch = (stretch[0], to_us, first)
        else:
            if stretch is not None:
                yield stretch
            stretch = (from_us, to_us, first)
    if stretch is not None:
        yield stretch


class _Reader:
    """Reads sorted intervals once, forward."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._intervals = intervals
        self._place = 0

    def at(self, moment_us: int) -> bool | None:
        """Whether votes were taken at that moment, as far as this observer knows."""
        while self._place < len(self._intervals) and self._intervals[self._place].to_us <= moment_us:
            self._place += 1
        if self._place == len(self._intervals) or self._intervals[self._place].from_us > moment_us:
            return None
        return self._intervals[self._place].working


def outages(observers: Sequence[Observer], marks: Sequence[Mark]) -> list[Outage]:
    """What anybody saw down: one outage where sightings lie within their blind time of each other."""
    sightings = sorted(
        (each.from_us, each.to_us, observer.name, observer.blind_us)
        for observer in observers
        for each in observer.intervals
        if each.state == DOWN
    )
    found: list[tuple[int, int, set[str], int]] = []
    for from_us, to_us, name, blind_us in sightings:
        if found and from_us <= found[-1][1] + max(blind_us, found[-1][3]):
            began_us, ended_us, names, widest_us = found[-1]
            found[-1] = (began_us, max(ended_us, to_us), names | {name}, max(widest_us, blind_us))
        else:
            found.append((from_us, to_us, {name}, blind_us))
    return [
        Outage(from_us, to_us, tuple(sorted(names)), _cause(from_us, blind_us, marks))
        for from_us, to_us, names, blind_us in found
    ]


def _cause(from_us: int, blind_us: int, marks: Sequence[Mark]) -> str | None:
    """The mark within which it began, the last to begin if there are several."""
    near = [mark for mark in marks if mark.from_us - blind_us <= from_us <= mark.to_us + blind_us]
    return max(near, key=lambda mark: mark.from_us).name if near else None


def differences(
    observers: Sequence[Observer], marks: Sequence[Mark], found: Sequence[Outage], *, from_us: int
) -> list[str]:
    """Everything that does not fit, a plain sentence each, the times in seconds since `from_us`."""

    def stretch(start_us: int, end_us: int) -> str:
        return f"from {(start_us - from_us) / US:.1f} s to {(end_us - from_us) / US:.1f} s"

    return [
        *_unwatched(observers),
        *_contradictions(observers, [mark for mark in marks if mark.on_the_line], stretch),
        *_without_cause(found, marks, stretch, max((each.blind_us for each in observers), default=0)),
        *_unseen(marks, found, stretch, blind_us=max((each.blind_us for each in observers), default=0)),
    ]


def _unwatched(observers: Sequence[Observer]) -> Iterator[str]:
    for observer in observers:
        looked = shares(observer.intervals)[1]
        total_us = sum(each.to_us - each.from_us for each in observer.intervals)
        # What follows the last probe of a run is never looked at, and no monitor's fault.
        missed_us = total_us * (1 - looked) - observer.blind_us
        if observer.monitor and missed_us > total_us * (1 - LOOKED_SHARE_MIN):
            yield f"The monitor {observer.name} looked at only {looked:.0%} of the time."


def _contradictions(observers: Sequence[Observer], line: Sequence[Mark], stretch: Stretch) -> Iterator[str]:
    for one, other in combinations(observers, 2):
        blind_us = max(one.blind_us, other.blind_us)
        excused = line if one.monitor != other.monitor else ()
        for start_us, end_us, first in contested(one.intervals, other.intervals):
            if _beyond(start_us, end_us, excused, blind_us) > blind_us:
                up, down = (one.name, other.name) if first else (other.name, one.name)
                when = stretch(start_us, end_us)
                yield f"By what {down} saw no votes were taken {when}; by what {up} saw they were."


def _beyond(start_us: int, end_us: int, excused: Sequence[Mark], blind_us: int) -> int:
    """How much of that stretch lies outside every mark that excuses it, what it leaves behind included."""
    left_us, reached_us = 0, start_us
    for mark in sorted(excused, key=lambda mark: mark.from_us):
        left_us += max(0, min(mark.from_us, end_us) - reached_us)
        reached_us = max(reached_us, min(mark.to_us + blind_us, end_us))
    return left_us + max(0, end_us - reached_us)


def unplanned_us(found: Sequence[Outage], marks: Sequence[Mark]) -> int:
    """How long no votes were taken, all in all, beyond what the run did to stop them, and its recovery."""
    planned = [mark for mark in marks if mark.stops]
    return sum(_beyond(each.from_us, each.to_us, planned, RECOVERY_US) for each in found)


def _without_cause(
    found: Sequence[Outage], marks: Sequence[Mark], stretch: Stretch, blind_us: int
) -> Iterator[str]:
    for outage in found:
        left_us = _beyond(outage.from_us, outage.to_us, marks, max(RECOVERY_US, blind_us))
        if outage.cause is not None and left_us > blind_us:
            when, left = stretch(outage.from_us, outage.to_us), f"{left_us / US:.1f} s"
            yield f"The outage {when} was for {left} not what {outage.cause} and its recovery explain."
        if outage.cause is None:
            by, when = " and ".join(outage.seen_by), stretch(outage.from_us, outage.to_us)
            yield f"The outage {when}, seen by {by}, began with nothing that the run did."


def _unseen(
    marks: Sequence[Mark], found: Sequence[Outage], stretch: Stretch, *, blind_us: int
) -> Iterator[str]:
    for mark in marks:
        met = any(each.from_us < mark.to_us and mark.from_us < each.to_us for each in found)
        if mark.expects_down and not met and mark.to_us - mark.from_us > 2 * blind_us:
            yield f"Nobody saw that {mark.name} stopped votes {stretch(mark.from_us, mark.to_us)}."
