"""Every request of an open-loop run, with its moment and its kind, drawn up before the first is sent; no I/O.

An arrival is one voter's first cast. What people do beside it (click twice, come back, try a wrong code) are
rows of their own around it, all before the close, in the same generator's part as the arrival.
"""

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from loadtests.published.plan import Afterwards, Lost, Plan, Voter
from loadtests.published.schedule import Schedule

ROW = np.dtype(
    [
        ("at_s", "<f8"),
        ("offset", "<u8"),
        ("voter", "<u4"),
        ("of", "<u4"),
        ("length", "<u4"),
        ("ballot", "<u2"),
        ("kind", "u1"),
        ("spare", "u1"),
        ("digest", "u1", (32,)),
    ]
)
"""A row of a part: `of` is the row whose body it sends, its own if the body was made for it."""

Rows = NDArray[np.void]
OWN = -1
BEFORE_CLOSE_S = 1.0
"""Who comes later than that before the close may be too late when the vote arrives, and is then not among the
published votes, by name. Whoever would also send something else meanwhile comes a little earlier."""

GOING_ON_EVERY = 50_000
CLICK_S = (0.0, 2.0)
DEVICE_S = (0.0, 0.005)
RETRY_S = (2.0, 15.0)
BACK_S = (20.0, 300.0)
EARLIER_S = (2.0, 20.0)
ABANDONED_S = (60.0, 600.0)


class Kind(IntEnum):
    """What a request is, and so what the right answer to it is."""

    CAST = 0  # the voter's vote: accepted, once
    CLICK = 1  # the same bytes within two seconds: the same reference
    AGAIN = 2  # the same bytes much later: the same reference
    HUNG_UP = 3  # the same bytes before, on a connection that breaks: CAST follows
    UNREAD = 4  # the same bytes before; nobody looks at the answer: CAST follows
    DEVICE = 5  # another choice with the same code at once: one of the two is accepted
    USED = 6  # another choice with the same code, later: refused
    FOREIGN = 7  # a code that is none here: refused
    REVOKED = 8  # the first code of who has a second: refused
    LATE = 9  # after the close, by somebody who had not voted: not open
    AT_CLOSE = 10  # aimed at the close, by somebody who had not voted: accepted or not open
    ACCESS = 11  # the page asks whether the code is good: ready
    AT_FIRST = 12  # aimed at the first close, which has been put off, by somebody who had not voted: accepted
    LAST = 13  # the voter's vote in the last second before the close: accepted or not open
    RETURNED = 14  # a vote by somebody whose paper has been recorded: refused


CASTS = frozenset(
    {Kind.CAST, Kind.CLICK, Kind.AGAIN, Kind.UNREAD, Kind.DEVICE, Kind.AT_CLOSE, Kind.AT_FIRST, Kind.LAST}
)
"""The kinds whose answer may be a receipt."""
REPEATS = frozenset({Kind.CLICK, Kind.AGAIN, Kind.HUNG_UP, Kind.UNREAD})
"""The kinds that send the bytes of the voter's CAST row."""
AFTERWARDS = frozenset({Kind.AGAIN, Kind.USED})
"""The kinds that make sense only when the voter has a receipt."""
REFUSED = frozenset({Kind.FOREIGN, Kind.USED, Kind.REVOKED, Kind.DEVICE, Kind.RETURNED})
"""The kinds with a code that is not good, or soon not any more: most of the refusals for a wrong code."""
ADDED = {Kind.LATE, Kind.AT_CLOSE, Kind.AT_FIRST}
"""The kinds sent by people who are not among the voters."""


@dataclass(frozen=True, slots=True)
class Extra:
    """Somebody who is not among the voters, but comes late or at the very close."""

    ballot: int
    voter: Voter


@dataclass(slots=True)
class Draft:
    """Rows in the making, column by column; `of` counts from the voter's first row."""

    at_s: "array[float]" = field(default_factory=lambda: array("d"))
    voter: "array[int]" = field(default_factory=lambda: array("L"))
    of: "array[int]" = field(default_factory=lambda: array("q"))
    ballot: "array[int]" = field(default_factory=lambda: array("H"))
    kind: "array[int]" = field(default_factory=lambda: array("B"))

    def add(self, at_s: float, voter: int, ballot: int, kind: Kind, of: int = OWN) -> int:
        """Add a row and return its number; `of` is the row whose body it sends, its own by default."""
        number = len(self.at_s)
        self.at_s.append(at_s)
        self.voter.append(voter)
        self.of.append(number if of == OWN else of)
        self.ballot.append(ballot)
        self.kind.append(kind)
        return number

    def rows(self, body_bytes: Sequence[int], access_bytes: int) -> Rows:
        """The rows in the order of their moments, each body with its place in the part's file."""
        at_s = np.frombuffer(self.at_s, np.float64) if self.at_s else np.empty(0)
        order = np.argsort(at_s, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        rows = np.zeros(len(order), ROW)
        rows["at_s"] = at_s[order]
        if not len(order):
            return rows
        rows["voter"] = np.frombuffer(self.voter, np.dtype("L"))[order]
        rows["of"] = place[np.frombuffer(self.of, np.int64)][order]
        rows["ballot"] = np.frombuffer(self.ballot, np.uint16)[order]
        rows["kind"] = np.frombuffer(self.kind, np.uint8)[order]
        own = rows["of"] == np.arange(len(rows))
        rows["length"] = np.asarray(body_bytes, np.uint32)[rows["ballot"]]
        rows["length"][rows["kind"] == Kind.ACCESS] = access_bytes
        lengths = np.where(own, rows["length"], 0).astype(np.uint64)
        rows["offset"] = np.cumsum(lengths) - lengths
        rows["offset"] = rows["offset"][rows["of"]]
        return rows


@dataclass(frozen=True, slots=True)
class Habits:
    """What is played beside the votes: in which ballots some have a second code; if devices ask first.

    And in which the papers that come before their voters are there; without them these vote as all do.
    """

    reissued: Sequence[bool]
    access: bool = False
    returned: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Timetable:
    """The drafts, one a generator, and who comes without being among the voters.

    Voters are numbered through all ballots: `first_voter[b]` is the first of ballot b, and the extras follow
    the last.
    """

    drafts: Sequence[Draft]
    first_voter: Sequence[int]
    voters: int
    extras: Sequence[Extra]


def draw_up(
    schedule: Schedule,
    plans: Sequence[Plan],
    habits: Habits,
    *,
    generators: int,
    seed: int,
    going_on: Callable[[], None] = lambda: None,
) -> Timetable:
    """Arrival i goes to generator i % `generators`, with all that its voter does.

    `going_on` is called now and then: a million voters take a while.
    """
    rng = random.Random(f"timetable/{seed}")
    drafts = [Draft() for _ in range(generators)]
    firsts, total = [], 0
    for plan in plans:
        firsts.append(total)
        total += len(plan.voters)
    latest_s = schedule.close_run_s - BEFORE_CLOSE_S
    moments = zip(schedule.run_s.tolist(), schedule.ballots.tolist(), schedule.turns.tolist(), strict=True)
    for number, (at_s, ballot, turn) in enumerate(moments):
        if number % GOING_ON_EVERY == 0:
            going_on()
        voter = plans[ballot].voters[turn]
        if habits.returned and habits.returned[ballot] and plans[ballot].posted.came_first(turn):
            drafts[number % generators].add(at_s, firsts[ballot] + turn, ballot, Kind.RETURNED)
            continue
        if at_s >= latest_s and not (habits.access or _does_more(voter)):
            draft = drafts[number % generators]
            draft.add(at_s, firsts[ballot] + turn, ballot, Kind.LAST)
            continue
        moment_s = at_s if at_s < latest_s else latest_s - rng.random() * BEFORE_CLOSE_S
        _visit(
            drafts[number % generators],
            voter,
            (moment_s, latest_s),
            (firsts[ballot] + turn, ballot),
            habits,
            rng,
        )
    extras: list[Extra] = []
    first = len(schedule.at_first_s)
    for kind, moments_s, comers in (
        (Kind.LATE, schedule.late_s, [plan.late for plan in plans]),
        (Kind.AT_FIRST, schedule.at_first_s, [plan.at_close[:first] for plan in plans]),
        (Kind.AT_CLOSE, schedule.at_close_s, [plan.at_close[first:] for plan in plans]),
    ):
        coming = [Extra(ballot, voter) for ballot, voters in enumerate(comers) for voter in voters]
        rng.shuffle(coming)
        for extra, at_s in zip(coming, moments_s.tolist(), strict=False):
            draft = drafts[len(extras) % generators]
            draft.add(at_s, total + len(extras), extra.ballot, kind)
            extras.append(extra)
    return Timetable(drafts=drafts, first_voter=firsts, voters=total, extras=extras)


def _does_more(voter: Voter) -> bool:
    """Whether somebody sends anything beside the one vote."""
    odd = (voter.double_click, voter.two_devices, voter.abandoned, voter.foreign_code, voter.reissue)
    return any(odd) or voter.lost is not Lost.NO or voter.afterwards is not Afterwards.NOTHING


def _visit(
    draft: Draft,
    voter: Voter,
    when: tuple[float, float],
    who: tuple[int, int],
    habits: Habits,
    rng: random.Random,
) -> None:
    """The rows of one voter: all that comes before the vote, the vote, and all that comes after it."""
    at_s, latest_s = when
    number, ballot = who

    def before(seconds: tuple[float, float]) -> float:
        moment_s = at_s - rng.uniform(*seconds)
        return moment_s if moment_s >= 0 else rng.uniform(0, at_s)

    def after(seconds: tuple[float, float]) -> float:
        moment_s = at_s + rng.uniform(*seconds)
        return moment_s if moment_s <= latest_s else rng.uniform(at_s, max(at_s, latest_s))

    for wanted, seconds, kind in (
        (voter.abandoned, ABANDONED_S, Kind.ACCESS),
        (voter.foreign_code, EARLIER_S, Kind.FOREIGN),
        (voter.reissue and habits.reissued[ballot], EARLIER_S, Kind.REVOKED),
        (habits.access, (voter.think_s, voter.think_s), Kind.ACCESS),
    ):
        if wanted:
            draft.add(before(seconds), number, ballot, kind)
    lost = voter.lost is not Lost.NO
    cast = draft.add(after(RETRY_S) if lost else at_s, number, ballot, Kind.CAST)
    if lost:
        draft.add(at_s, number, ballot, Kind.HUNG_UP if voter.lost is Lost.DROPPED else Kind.UNREAD, cast)
    for wanted, seconds, kind, of in (
        (voter.double_click, CLICK_S, Kind.CLICK, cast),
        (voter.two_devices, DEVICE_S, Kind.DEVICE, OWN),
        (voter.afterwards is Afterwards.SAME_AGAIN, BACK_S, Kind.AGAIN, cast),
        (voter.afterwards is Afterwards.OTHER_CHOICE, BACK_S, Kind.USED, OWN),
    ):
        if wanted:
            draft.add(after(seconds), number, ballot, kind, of)
