"""The votes of a run by second: planned, sent, answered how and how fast, and the busiest minute among them.

A latency counts from the moment a vote was first due to the receipt, and who got none waits for ever: neither
a generator nor a server that stalls, nor a second try that is answered at once, can hide the wait.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loadtests.crowds import buckets
from loadtests.report.axis import Axis, Values, add, keep_most
from loadtests.report.reading import RunDirectory, number, whole

FILE: Final = "seconds.jsonl"
MINUTE_S: Final = 60
SECONDS_MAX: Final = 31 * 24 * 3600
CAUSES_MAX: Final = 12
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}
GOOD: Final = frozenset({"accepted", "repeated", "ready"})
"""Answers that give what was asked for: a receipt, the same receipt, and the page's question after a code."""
HISTOGRAMS: Final = ("latency", "service", "refused")
Histogram = Counter[int]


@dataclass(frozen=True, slots=True)
class Span:
    """The seconds that have lines, and how many votes each had planned, sent and accepted."""

    planned: Mapping[int, int]
    sent: Mapping[int, int]
    accepted: Mapping[int, int]

    @property
    def first_s(self) -> int:
        """The first second with a vote due; with none, the first there is."""
        return min((s for s, votes in self.planned.items() if votes), default=min(self.planned))

    @property
    def last_s(self) -> int:
        """The last one with a vote due."""
        return max((s for s, votes in self.planned.items() if votes), default=max(self.planned))

    def busiest_minute(self) -> tuple[int, int] | None:
        """When the 60 seconds with most votes due began, and how many; None for a run that is shorter."""
        if self.last_s - self.first_s + 1 < MINUTE_S:
            return None
        within = sum(self.planned.get(s, 0) for s in range(self.first_s, self.first_s + MINUTE_S))
        most, begins = within, self.first_s
        for s in range(self.first_s + MINUTE_S, self.last_s + 1):
            within += self.planned.get(s, 0) - self.planned.get(s - MINUTE_S, 0)
            if within > most:
                most, begins = within, s - MINUTE_S + 1
        return begins, most


def span(files: RunDirectory) -> Span | None:
    """The first reading: which seconds there are. None when no second was recorded."""
    planned: dict[int, int] = defaultdict(int)
    sent: dict[int, int] = defaultdict(int)
    accepted: dict[int, int] = defaultdict(int)
    first: int | None = None
    for line in files.lines(FILE):
        second = whole(line.get("s"))
        first = second if first is None else first
        if second is None or first is None or abs(second - first) > SECONDS_MAX:
            continue
        planned[second] += whole(line.get("planned")) or 0
        sent[second] += whole(line.get("sent")) or 0
        accepted[second] += _counts(line.get("outcomes")).get("accepted", 0)
    return Span(planned, sent, accepted) if planned else None


@dataclass(slots=True)
class Traffic:
    """What the second reading adds up, by step of the axis and in all."""

    axis: Axis
    planned: Values
    sent: Values
    late_ms: Values
    never: Values
    waited_ms: Values
    outcomes: dict[str, Values] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, list[Histogram]] = field(default_factory=dict)
    whole_run: dict[str, Histogram] = field(default_factory=lambda: {name: Counter() for name in HISTOGRAMS})
    busiest: Histogram = field(default_factory=Counter)
    busiest_never: int = 0
    busiest_from_s: int | None = None

    def take(self, line: Mapping[str, Any]) -> None:
        """One second of one generator."""
        second = whole(line.get("s"))
        step = None if second is None else self.axis.step(second)
        if second is None or step is None:
            return
        add(self.planned, step, number(line.get("planned")))
        add(self.sent, step, number(line.get("sent")))
        keep_most(self.late_ms, step, number(line.get("late_ms_max")))
        keep_most(self.waited_ms, step, number(line.get("waited_ms_max")))
        add(self.never, step, number(line.get("never")))
        for cause, times in _counts(line.get("outcomes")).items():
            name = cause if cause in self.outcomes or len(self.outcomes) < CAUSES_MAX else "other"
            add(self.outcomes.setdefault(name, self.axis.empty()), step, times)
            self.totals[name] += times
        for name in HISTOGRAMS:
            counts = _histogram(line.get(name))
            if counts:
                if name not in self.histograms:
                    self.histograms[name] = [Counter() for _ in range(self.axis.steps)]
                self.histograms[name][step].update(counts)
                self.whole_run[name].update(counts)
        if self.busiest_from_s is not None and 0 <= second - self.busiest_from_s < MINUTE_S:
            self.busiest.update(_histogram(line.get("latency")))
            self.busiest_never += whole(line.get("never")) or 0

    def rates(self) -> dict[str, Values]:
        """Votes a second: planned, sent and accepted."""
        accepted = self.outcomes.get("accepted", self.axis.empty())
        curves = {"planned": self.planned, "sent": self.sent, "accepted": accepted}
        return {name: self._a_second(values) for name, values in curves.items()}

    def refusals(self) -> dict[str, Values]:
        """Answers a second other than a receipt, by cause, the most frequent cause first."""
        causes = sorted(self.outcomes.keys() - GOOD, key=lambda cause: (-self.totals[cause], cause))
        return {cause: self._a_second(self.outcomes[cause]) for cause in causes if self.totals[cause]}

    def latencies(self, name: str = "latency") -> dict[str, Values]:
        """Milliseconds by step: half, 95, 99 of 100, and the slowest."""
        steps = self.histograms.get(name)
        if steps is None:
            return {}
        told = [quantiles(counts, self._without(step, name)) for step, counts in enumerate(steps)]
        return {
            label: [None if each is None else each[label] for each in told]
            for label in QUANTILES
            if label != "p999"
        }

    @property
    def nothing(self) -> int:
        """How many votes brought no receipt, ever."""
        return round(sum(value or 0 for value in self.never))

    def _without(self, step: int, name: str) -> int:
        return round(self.never[step] or 0) if name == "latency" else 0

    def _a_second(self, values: Values) -> Values:
        # No line for a second is no vote due in it: between first and last vote that is a rate of 0.
        voting = -(-self.axis.voting_s // self.axis.step_s)
        return [
            round((value or 0) / self.axis.step_s, 3) if value is not None or step < voting else None
            for step, value in enumerate(values)
        ]


def traffic(files: RunDirectory, axis: Axis, seconds: Span) -> Traffic:
    """The second reading, on the axis that the first one gave."""
    minute = seconds.busiest_minute()
    empty = axis.empty
    read = Traffic(axis, empty(), empty(), empty(), empty(), empty())
    read.busiest_from_s = None if minute is None else minute[0]
    for line in files.lines(FILE):
        read.take(line)
    return read


def quantiles(counts: Histogram, never: int = 0) -> dict[str, float | None] | None:
    """The milliseconds by which half, 95, 99 and 99.9 of 100 were answered, and the slowest.

    None for what lies among the `never` many who were not.
    """
    if not counts and not never:
        return None
    found = {name: buckets.quantile(counts, share, never=never) for name, share in QUANTILES.items()}
    return {name: round(each, 1) if math.isfinite(each) else None for name, each in found.items()}


def _counts(value: Any) -> dict[str, int]:
    """Name to count, whatever else stands there left out."""
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    return {str(name): count for name, told in items if (count := whole(told))}


def _histogram(value: Any) -> Histogram:
    counts: Histogram = Counter()
    for bucket, times in _counts(value).items():
        if bucket.isdecimal():
            counts[int(bucket)] += times
    return counts
