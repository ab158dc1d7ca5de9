"""What one observer saw of a deployment: intervals without gap or overlap, `unknown` where nobody looked.

Pure, and not the monitor's own arithmetic: a second opinion that shares the first one's mistakes is none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

UP, SLOW, DOWN, UNKNOWN = "up", "slow", "down", "unknown"
#: Some were answered and many not, as in an overload: whoever says up or down of it may be right.
PARTLY = "partly"
STATES = frozenset({UP, SLOW, PARTLY, DOWN, UNKNOWN})
NOT_LOOKED = "nobody looked"
GAP_US_MAX = 64_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in one state: `from_us` included, `to_us` not, in microseconds since 1970."""

    from_us: int
    to_us: int
    state: str
    reason: str = ""

    @property
    def working(self) -> bool | None:
        """Whether votes were taken; None when nobody knows, or for some they were and for others not."""
        return None if self.state in {PARTLY, UNKNOWN} else self.state != DOWN

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"from_us": self.from_us, "to_us": self.to_us, "state": self.state, "reason": self.reason}

    @classmethod
    def from_json(cls, fields: Any) -> "Interval":
        """As read from a file; ValueError when it is none."""
        try:
            read = cls(
                int(fields["from_us"]), int(fields["to_us"]), str(fields["state"]), str(fields["reason"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("an interval has from_us, to_us, state and reason") from error
        if read.state not in STATES or read.from_us > read.to_us:
            raise ValueError(f"no interval ends before it begins or is {read.state[:20]!r}")
        return read


@dataclass(frozen=True, slots=True)
class Look:
    """One probe of the outside monitor: when it began, when its verdict was in, and what it showed."""

    started_us: int
    ended_us: int
    state: str
    reason: str = ""


def from_looks(looks: Iterable[Look], *, period_us: int) -> list[Interval]:
    """The intervals that `looks` tell of: each holds until the next began, if that was within two periods.

    Otherwise it holds for as long as it looked itself, at most one period, and the rest is `unknown`.
    """
    ordered = sorted(looks, key=lambda look: look.started_us)
    found: list[Interval] = []
    for place, look in enumerate(ordered):
        following = ordered[place + 1].started_us if place + 1 < len(ordered) else None
        observed_us = min(max(look.ended_us, look.started_us), look.started_us + period_us)
        if following is not None and following - look.started_us <= 2 * period_us:
            observed_us = following
        found.append(Interval(look.started_us, observed_us, look.state, look.reason))
        if following is not None and following > observed_us:
            found.append(Interval(observed_us, following, UNKNOWN, NOT_LOOKED))
    return merged(found)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Neighbours of one state and reason as one; empty intervals are left out."""
    found: list[Interval] = []
    for each in intervals:
        if each.to_us <= each.from_us:
            continue
        last = found[-1] if found else None
        if last is not None and (last.to_us, last.state, last.reason) == (
            each.from_us,
            each.state,
            each.reason,
        ):
            found[-1] = Interval(last.from_us, each.to_us, last.state, last.reason)
        else:
            found.append(each)
    return found


def fewer(intervals: Sequence[Interval], limit: int) -> list[Interval]:
    """The same in at most `limit` for a reader: gaps in which nobody looked close first, the shortest ones.

    Only between two sightings of one state; what is still too many after that is cut off at the end.
    """
    found = list(intervals)
    gap_us = 1_000_000
    while len(found) > limit and gap_us <= GAP_US_MAX:
        found = _bridged(found, gap_us)
        gap_us *= 2
    return found[:limit]


def _bridged(intervals: Sequence[Interval], gap_us: int) -> list[Interval]:
    """Without the gaps up to `gap_us` long between equal neighbours."""
    found: list[Interval] = []
    for each in intervals:
        bridging = (
            len(found) > 1
            and found[-1].state == UNKNOWN
            and found[-1].to_us - found[-1].from_us <= gap_us
            and (found[-2].state, found[-2].reason) == (each.state, each.reason)
        )
        if bridging:
            found.pop()
            found[-1] = Interval(found[-1].from_us, each.to_us, each.state, each.reason)
        else:
            found.append(each)
    return found


def within(intervals: Iterable[Interval], from_us: int, to_us: int) -> list[Interval]:
    """The same from `from_us` to `to_us` without a gap: what no interval tells of is `unknown`."""
    found: list[Interval] = []
    reached_us = from_us
    for each in sorted(intervals, key=lambda interval: interval.from_us):
        start_us, end_us = max(each.from_us, reached_us), min(each.to_us, to_us)
        if end_us <= start_us:
            continue
        found.append(Interval(reached_us, start_us, UNKNOWN, NOT_LOOKED))
        found.append(Interval(start_us, end_us, each.state, each.reason))
        reached_us = end_us
    found.append(Interval(reached_us, to_us, UNKNOWN, NOT_LOOKED))
    return merged(found)


def shares(intervals: Sequence[Interval]) -> tuple[float | None, float]:
    """The share of the time looked at in which votes were taken (None without), and the share looked at."""
    total = sum(each.to_us - each.from_us for each in intervals)
    looked = sum(each.to_us - each.from_us for each in intervals if each.state != UNKNOWN)
    working = sum(each.to_us - each.from_us for each in intervals if each.working)
    return (working / looked if looked else None), (looked / total if total else 0.0)
