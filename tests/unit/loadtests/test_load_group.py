"""A group of ballots: sizes and figures add up to the group's, and just so many miss half by one vote."""

import pytest

from loadtests.published import plan, scenario, schedule
from loadtests.published.group import as_scheduled, half, is_exact, is_one_short, members
from loadtests.published.scenario import ScenarioFault
from loadtests.published.schedule import Only


@pytest.mark.parametrize("scale", ["", "@0.2", "@0.05", "@0.01"])
@pytest.mark.parametrize("name", ["civil-service-214", "civil-service-214:real-2024"])
def test_a_group_adds_up_and_its_edges_are_exact(name: str, scale: str) -> None:
    """At any scale: eight ballots one vote short, eight exactly half, and not one more of either."""
    played = scenario.load(name + scale)
    ballots = members(played)
    assert played.group is not None
    assert len(ballots) == len({ballot.ballot for ballot in ballots}) == played.group.ballots
    assert sum(ballot.entitled for ballot in ballots) == played.entitled
    assert sum(ballot.votes for ballot in ballots) == played.votes
    assert sum(map(is_one_short, ballots)) == sum(map(is_exact, ballots)) == 8
    for question, figures in played.published.items():
        for option, total in figures.items():
            assert sum(ballot.published[question][option] for ballot in ballots) == total
        for ballot in ballots:
            assert sum(ballot.published[question].values()) == ballot.votes
            assert min(ballot.published[question].values()) >= 0
    assert all(0 < ballot.votes <= ballot.entitled for ballot in ballots)


def test_a_group_is_as_unequal_as_it_says() -> None:
    """The largest has a quarter of all people, sixty ballots fewer than fifty; and so every time."""
    played = scenario.load("civil-service-214")
    ballots = members(played)
    sizes = [ballot.entitled for ballot in ballots]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == played.entitled // 4
    assert sum(size < 50 for size in sizes) == 60
    assert ballots == members(played)


def test_branches_of_a_kind_are_alike() -> None:
    """Two hundred branches of 41 with 18 votes each."""
    ballots = members(scenario.load("branch-41:two-hundred"))
    assert {(ballot.entitled, ballot.votes) for ballot in ballots} == {(41, 18)}
    assert len(ballots) == 200


def test_each_ballot_is_one_of_its_own() -> None:
    """Its id, its employer and its definition; what it is not is a group."""
    first, second = members(scenario.load("civil-service-214@0.05"))[:2]
    assert (first.ballot, second.ballot) == ("civil-service-214-001", "civil-service-214-002")
    assert first.definition.sha256 != second.definition.sha256
    assert second.definition.employer == "Department 2"
    assert first.group is None
    assert members(first) == [first]


def test_half_is_rounded_up() -> None:
    """41 need 21 votes, and so do 42."""
    assert (half(41), half(42), half(1)) == (21, 21, 1)


def test_too_small_a_group_is_one_sentence() -> None:
    """Fewer people than the ballots need."""
    tiny = scenario.shrunk(scenario.load("civil-service-214"), votes=400, entitled=500)
    with pytest.raises(ScenarioFault, match="500 people are too few for 214 ballots"):
        members(tiny)


@pytest.mark.parametrize("only", ["", "peak", "close"])
@pytest.mark.parametrize("name", ["residents-hybrid", "residents-hybrid@0.037", "tube-two-questions"])
def test_what_is_not_sent_is_not_counted(name: str, only: Only) -> None:
    """As many votes online as are sent, the scenario's share on paper beside them, and all figures add up."""
    played = scenario.load(name)
    planned = schedule.build(played, only=only)
    (left,) = as_scheduled([played], planned)
    assert left.online_votes == planned.votes
    assert left.paper_votes == pytest.approx(planned.votes * played.paper_votes / played.online_votes, abs=1)
    assert only or left == played
    assert all(sum(figures.values()) == left.votes for figures in left.published.values())
    assert len(plan.draw(left).voters) == planned.votes
