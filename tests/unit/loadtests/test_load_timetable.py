"""Every vote of a schedule is one cast; all that people do beside it stands around it, before the close."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from loadtests.crowds.timetable import ADDED, BEFORE_CLOSE_S, ROW, Habits, Kind, Rows, Timetable, draw_up
from loadtests.published import plan, scenario
from loadtests.published.plan import Plan
from loadtests.published.scenario import PaperReturns
from tests.unit.loadtests.open_ground import HABITS, scheduled

CLOSE_S = 60.0
PAPER = PaperReturns(share=0.2, also_paper=0.1, late=0.0, rejected=0.0)


@pytest.fixture(scope="module")
def drawn() -> Plan:
    """Sixty-odd voters with every habit."""
    tube = scenario.scaled(scenario.load("tube-two-questions"), 0.01)
    behaviour = replace(tube.behaviour, **dict.fromkeys(HABITS, 0.1), late=0.05, at_close=3)
    return plan.draw(replace(tube, behaviour=behaviour))


def timetable(
    drawn: Plan, *, generators: int = 1, access: bool = False, reissued: bool = True, last: int = 0
) -> Timetable:
    """Its timetable over a minute."""
    planned = scheduled(
        len(drawn.voters), len(drawn.late), len(drawn.at_close) - 1, seconds=CLOSE_S, last=last
    )
    planned = replace(planned, at_first_s=np.full(1, CLOSE_S / 2), extends_s=CLOSE_S / 2)
    return draw_up(planned, [drawn], Habits([reissued], access=access), generators=generators, seed=1)


def rows(told: Timetable, generator: int = 0) -> Rows:
    """A part's rows."""
    return told.drafts[generator].rows([1000], 100)


def test_every_habit_is_a_row(drawn: Plan) -> None:
    """As many rows of each kind as there are people who do it."""
    kinds = Counter(rows(timetable(drawn))["kind"].tolist())
    voters = list(drawn.voters)

    assert kinds[Kind.CAST] == len(voters)
    assert kinds[Kind.CLICK] == sum(voter.double_click for voter in voters)
    assert kinds[Kind.DEVICE] == sum(voter.two_devices for voter in voters)
    assert kinds[Kind.FOREIGN] == sum(voter.foreign_code for voter in voters)
    assert kinds[Kind.REVOKED] == sum(voter.reissue for voter in voters)
    assert kinds[Kind.ACCESS] == sum(voter.abandoned for voter in voters)
    assert kinds[Kind.HUNG_UP] + kinds[Kind.UNREAD] == sum(voter.lost.value != "no" for voter in voters)
    assert kinds[Kind.AGAIN] + kinds[Kind.USED] == sum(
        voter.afterwards.value != "nothing" for voter in voters
    )
    assert (kinds[Kind.LATE], kinds[Kind.AT_CLOSE]) == (len(drawn.late), len(drawn.at_close) - 1)
    assert kinds[Kind.AT_FIRST] == 1
    assert all(kinds[kind] for kind in set(Kind) - {Kind.LAST, Kind.RETURNED})


def test_voters_come_until_the_very_end(drawn: Plan) -> None:
    """Each at their own moment, but for who sends more than the vote: those come in time."""
    part = rows(timetable(drawn, last=40))
    last, casts = part[part["kind"] == Kind.LAST], part[part["kind"] == Kind.CAST]
    assert 3 <= len(last) < 40
    assert set(last["at_s"]) == {CLOSE_S - 0.2}
    assert len(last) + len(casts) == len(drawn.voters)
    assert casts["at_s"].max() <= CLOSE_S - BEFORE_CLOSE_S
    assert not {*last["voter"].tolist()} & {*part["voter"][part["kind"] != Kind.LAST].tolist()}


def test_moments_are_in_order_and_before_the_close(drawn: Plan) -> None:
    """Only who is meant to be late, or to race the close, comes within its last second or after it."""
    part = rows(timetable(drawn))
    due = part[~np.isin(part["kind"], [Kind.LATE, Kind.AT_CLOSE])]

    assert (np.diff(part["at_s"]) >= 0).all()
    assert due["at_s"].min() >= 0
    assert due["at_s"].max() <= CLOSE_S - BEFORE_CLOSE_S + 0.01


def test_a_body_is_written_once(drawn: Plan) -> None:
    """Repeats point to their voter's cast; all other bodies stand one behind the other."""
    part = rows(timetable(drawn))
    own = part["of"] == np.arange(len(part))
    repeats = part[~own]

    assert set(repeats["kind"].tolist()) == {Kind.CLICK, Kind.AGAIN, Kind.HUNG_UP, Kind.UNREAD}
    assert (part["kind"][repeats["of"]] == Kind.CAST).all()
    assert (part["voter"][repeats["of"]] == repeats["voter"]).all()
    assert (part["offset"][repeats["of"]] == repeats["offset"]).all()
    ends = part["offset"][own] + part["length"][own]
    assert part["offset"][own].tolist() == [0, *ends.tolist()[:-1]]


def test_what_follows_comes_after_what_it_follows(drawn: Plan) -> None:
    """Nobody comes back, clicks twice or tries another choice before the vote; lost answers come before."""
    part = rows(timetable(drawn))
    cast_s = {int(row["voter"]): row["at_s"] for row in part if row["kind"] == Kind.CAST}
    for row in part:
        if row["kind"] in {Kind.CLICK, Kind.AGAIN, Kind.USED}:
            assert row["at_s"] >= cast_s[int(row["voter"])]
        if row["kind"] in {Kind.HUNG_UP, Kind.UNREAD, Kind.FOREIGN, Kind.REVOKED}:
            assert row["at_s"] <= cast_s[int(row["voter"])]


def test_generators_share_the_arrivals_evenly(drawn: Plan) -> None:
    """Arrival i is in part i % 3, with all that its voter does, and nobody is in two parts."""
    told = timetable(drawn, generators=3)
    parts = [rows(told, number) for number in range(3)]
    voters = [set(part["voter"][part["kind"] == Kind.CAST].tolist()) for part in parts]

    assert min(map(len, voters)) >= len(drawn.voters) // 3
    assert voters[0] | voters[1] | voters[2] == set(range(len(drawn.voters)))
    assert voters[1] == set(range(1, len(drawn.voters), 3))
    for number, part in enumerate(parts):
        others = part[~np.isin(part["kind"], sorted(ADDED))]
        assert set(others["voter"].tolist()) == voters[number]


def test_the_same_seed_gives_the_same_timetable(drawn: Plan) -> None:
    """Nothing is left to chance."""
    assert np.array_equal(rows(timetable(drawn)), rows(timetable(drawn)))


def test_first_codes_are_refused_only_where_there_are_second_ones(drawn: Plan) -> None:
    """Nobody is asked to fail with the only code they have."""
    part = rows(timetable(drawn, reissued=False))

    assert Kind.REVOKED not in part["kind"]


def test_devices_ask_for_the_paper_when_they_are_to(drawn: Plan) -> None:
    """One question a voter, before the vote, beside those who leave."""
    part = rows(timetable(drawn, access=True))
    asked = part[part["kind"] == Kind.ACCESS]

    assert len(asked) == len(drawn.voters) + sum(voter.abandoned for voter in drawn.voters)
    assert set(asked["length"].tolist()) == {100}


def test_an_empty_part_is_a_part() -> None:
    """More generators than voters: the last has nothing to do."""
    branch = plan.draw(scenario.load("branch-41"))
    told = draw_up(
        scheduled(len(branch.voters), 0, 0, seconds=CLOSE_S),
        [branch],
        Habits([False]),
        generators=100,
        seed=1,
    )

    assert len(rows(told, 99)) == 0
    assert rows(told, 99).dtype == ROW


def test_the_ballots_of_a_group_have_voters_of_their_own(drawn: Plan) -> None:
    """Numbers run on from ballot to ballot, and a row's voter is of the row's ballot."""
    branch = plan.draw(scenario.load("branch-41"))
    both = [branch, drawn]
    turns = [(ballot, turn) for ballot, each in enumerate(both) for turn in range(len(each.voters))]
    planned = replace(
        scheduled(len(turns), 0, 0, seconds=CLOSE_S),
        ballots=np.array([ballot for ballot, _ in turns], np.int32),
        turns=np.array([turn for _, turn in turns], np.int32),
    )

    told = draw_up(planned, both, Habits([False, True]), generators=1, seed=1)

    part = told.drafts[0].rows([1000, 1500], 100)
    casts = part[part["kind"] == Kind.CAST]
    assert told.first_voter == [0, len(branch.voters)]
    assert sorted(casts["voter"].tolist()) == list(range(len(turns)))
    assert ((part["voter"] >= len(branch.voters)) == (part["ballot"] == 1)).all()
    assert set(casts["length"][casts["ballot"] == 1].tolist()) == {1500}
    assert Kind.REVOKED not in part["kind"][part["ballot"] == 0]
    assert Kind.REVOKED in part["kind"][part["ballot"] == 1]


def test_whose_paper_was_first_only_tries() -> None:
    """One vote each that must be refused, whatever else they would have done, and everybody else votes."""
    read = scenario.load("residents-hybrid@0.02")
    drawn = plan.draw(replace(read, paper=replace(read.paper or PAPER, also_paper=0.1)))
    planned = scheduled(len(drawn.voters), 0, 0, seconds=CLOSE_S)
    untold = rows(draw_up(planned, [drawn], Habits([True]), generators=1, seed=1))
    assert not np.count_nonzero(untold["kind"] == Kind.RETURNED)
    told = draw_up(planned, [drawn], Habits([True], returned=[True]), generators=1, seed=1)
    part, first = rows(told), drawn.posted.first
    tried = part[part["kind"] == Kind.RETURNED]
    assert len(first) == len(tried) == 24
    assert np.array_equal(drawn.voters.people[np.sort(tried["voter"])], first)
    others = part[part["kind"] != Kind.RETURNED]["voter"]
    assert not set(tried["voter"].tolist()) & set(others.tolist())
    assert len({*others.tolist(), *tried["voter"].tolist()}) == len(drawn.voters)
