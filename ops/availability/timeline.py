"""Many records, one timeline: what voters found at each moment, and which outages were planned.

Pure. At each moment the worst that any monitor saw holds, and `unknown` only where none looked: time without
evidence is never called up. What the service's own record of starts and stops adds is why: time in which
nobody looked because the service was stopped is an outage, planned if it was asked to stop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from ops.monitor.intervals import Interval, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

US = 1_000_000
NOT_LOOKED = "nobody looked"
STOPPED = "the service was asked to stop"
DIED = "the service ended without being asked"
#: What a start may take until a probe finds it taking votes; until then it belongs to the stop before it.
START_SECONDS_MAX = 60
WORST_FIRST = (State.DOWN, State.SLOW, State.UP)
REASONS_MAX = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """The service started or stopped, as the host that ran it wrote down; `asked`: somebody wanted it."""

    at_us: int
    host: str
    started: bool
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the timeline in one state; `planned` says whether the service was stopped on purpose then."""

    from_us: int
    to_us: int
    state: State
    reason: str = ""
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no votes were taken, as far as anybody knows."""

    from_us: int
    to_us: int
    planned: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The stretches from `from_us` to `to_us`, without gap or overlap, and the outages among them."""

    from_us: int
    to_us: int
    stretches: tuple[Stretch, ...]
    outages: tuple[Outage, ...]
    length_us: Mapping[State, int] = field(default_factory=dict)

    @property
    def taking_us(self) -> int:
        """For how long votes were taken: up, and slow, when they were accepted and stored late."""
        return self.length_us[State.UP] + self.length_us[State.SLOW]

    @property
    def looked_us(self) -> int:
        """For how long anybody knows."""
        return self.taking_us + self.length_us[State.DOWN]

    @property
    def available(self) -> float | None:
        """The share of the time known about in which votes were taken; None when nothing is known."""
        return self.taking_us / self.looked_us if self.looked_us else None

    @property
    def available_of_all(self) -> float | None:
        """The share of all the time in which votes are known to have been taken."""
        total_us = self.to_us - self.from_us
        return self.taking_us / total_us if total_us else None


def draw(lanes: Iterable[Sequence[Interval]], turns: Iterable[Turn], *, from_us: int, to_us: int) -> Timeline:
    """The timeline of that time from every monitor's intervals and the service's starts and stops."""
    if from_us > to_us:
        raise ValueError("a timeline does not end before it begins")
    seen = _worst([_clipped(lane, from_us, to_us) for lane in lanes], from_us, to_us)
    absences = _absences(turns, seen, to_us=to_us)
    stretches = _merged(part for stretch in seen for part in _explained(stretch, absences))
    length_us = dict.fromkeys(State, 0)
    for stretch in stretches:
        length_us[stretch.state] += stretch.to_us - stretch.from_us
    return Timeline(from_us, to_us, stretches, _outages(stretches), length_us)


def _clipped(lane: Sequence[Interval], from_us: int, to_us: int) -> list[Interval]:
    found = [
        Interval(max(each.started_us, from_us), min(each.ended_us, to_us), each.state, each.reason)
        for each in lane
    ]
    return [each for each in found if each.started_us < each.ended_us]


def _worst(lanes: Sequence[Sequence[Interval]], from_us: int, to_us: int) -> list[Stretch]:
    """One state a moment, by sweeping over every edge once."""
    begins, ends = defaultdict(list), defaultdict(list)
    for lane in lanes:
        for each in lane:
            begins[each.started_us].append(each)
            ends[each.ended_us].append(each)
    edges = sorted({from_us, to_us, *begins, *ends})
    current: dict[State, dict[int, Interval]] = {state: {} for state in State}
    found: list[Stretch] = []
    for edge_us, next_us in pairwise(edges):
        for each in ends.get(edge_us, ()):
            current[each.state].pop(id(each), None)
        for each in begins.get(edge_us, ()):
            current[each.state][id(each)] = each
        worst = next((state for state in WORST_FIRST if current[state]), State.UNKNOWN)
        reason = next((each.reason for each in current[worst].values() if each.reason), "")
        if worst is State.UNKNOWN:
            reason = reason or NOT_LOOKED
        found.append(Stretch(edge_us, next_us, worst, reason))
    return list(_merged(found))


@dataclass(frozen=True, slots=True)
class _Absence:
    """From a host's stop to its next start; `settled_us` is when the start must have worked."""

    host: str
    from_us: int
    to_us: int
    settled_us: int
    planned: bool


@dataclass(frozen=True, slots=True)
class _Absences:
    """All of them, and since when each host is known to have the service."""

    each: Sequence[_Absence]
    since_us: Mapping[str, int]

    def reason(self, from_us: int, to_us: int) -> tuple[str, bool] | None:
        """Why no host was there in that time, and whether that was planned; None while any may have been."""
        away = {one.host: one for one in self.each if one.from_us <= from_us and to_us <= one.to_us}
        there = {host for host, since_us in self.since_us.items() if since_us <= from_us}
        if not away or there - away.keys():
            return None
        planned = all(one.planned for one in away.values())
        return (STOPPED if planned else DIED), planned

    def starting(self, from_us: int, to_us: int) -> bool:
        """Whether that time is still the end of a planned stop: started, and not yet seen to work."""
        near = [one for one in self.each if one.to_us <= from_us and to_us <= one.settled_us]
        return bool(near) and all(one.planned for one in near)


def _absences(turns: Iterable[Turn], seen: Sequence[Stretch], *, to_us: int) -> _Absences:
    """When each host's service was away, by its own record; a start without a stop tells of a sudden end."""
    by_host: dict[str, list[Turn]] = defaultdict(list)
    for turn in sorted(set(turns), key=lambda turn: (turn.at_us, turn.started)):
        by_host[turn.host].append(turn)
    found = []
    for host, history in by_host.items():
        for before, after in pairwise([*history, None]):
            if before is None or (before.started and (after is None or not after.started)):
                continue
            back_us = to_us if after is None or not after.started else after.at_us
            from_us = _last_seen(seen, before.at_us, back_us) if before.started else before.at_us
            settled_us = back_us + START_SECONDS_MAX * US
            planned = not before.started and before.asked
            found.append(_Absence(host, from_us, back_us, settled_us, planned))
    return _Absences(found, {host: history[0].at_us for host, history in by_host.items()})


def _last_seen(seen: Sequence[Stretch], after_us: int, before_us: int) -> int:
    """The last moment between the two about which a monitor knows anything, else the second."""
    place = bisect_left(seen, before_us, key=lambda stretch: stretch.from_us) - 1
    while place >= 0 and seen[place].to_us > after_us:
        if seen[place].state is not State.UNKNOWN:
            return min(seen[place].to_us, before_us)
        place -= 1
    return before_us


def _explained(stretch: Stretch, absences: _Absences) -> Iterable[Stretch]:
    """`stretch` in parts, each with what the service's own record says of it. What was seen to work did."""
    if stretch.state in {State.UP, State.SLOW}:
        return [stretch]
    inner = {edge for one in absences.each for edge in (one.from_us, one.to_us, one.settled_us)}
    edges = sorted(
        {stretch.from_us, stretch.to_us} | {edge for edge in inner if stretch.from_us < edge < stretch.to_us}
    )
    return [_part(stretch, from_us, to_us, absences) for from_us, to_us in pairwise(edges)]


def _part(stretch: Stretch, from_us: int, to_us: int, absences: _Absences) -> Stretch:
    reason = absences.reason(from_us, to_us)
    if reason is not None:
        return Stretch(from_us, to_us, State.DOWN, *reason)
    planned = stretch.state is State.DOWN and absences.starting(from_us, to_us)
    return Stretch(from_us, to_us, stretch.state, stretch.reason, planned)


def _merged(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Equal neighbours as one, empty ones left out."""
    found: list[Stretch] = []
    for each in stretches:
        last = found[-1] if found else None
        if each.to_us <= each.from_us:
            continue
        if last is not None and (last.to_us, last.state, last.reason, last.planned) == (
            each.from_us,
            each.state,
            each.reason,
            each.planned,
        ):
            found[-1] = Stretch(last.from_us, each.to_us, last.state, last.reason, last.planned)
        else:
            found.append(each)
    return tuple(found)


def _outages(stretches: Sequence[Stretch]) -> tuple[Outage, ...]:
    """Neighbouring downs as one; a start that nobody had looked at yet does not part a stop from its end."""
    found: list[list[Stretch]] = []
    gap_us: int | None = None
    for each in stretches:
        if each.state is State.DOWN:
            if gap_us is not None and gap_us <= START_SECONDS_MAX * US:
                found[-1].append(each)
            else:
                found.append([each])
            gap_us = 0
        elif each.state is State.UNKNOWN and gap_us is not None:
            gap_us += each.to_us - each.from_us
        else:
            gap_us = None
    return tuple(
        Outage(
            parts[0].from_us,
            parts[-1].to_us,
            planned=all(part.planned for part in parts),
            reasons=tuple(dict.fromkeys(part.reason for part in parts if part.reason))[:REASONS_MAX],
        )
        for parts in found
    )
