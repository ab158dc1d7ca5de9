"""The plan is exact: published totals, habits in the planned numbers, nobody real, nobody twice."""

import csv
import io
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loadtests.published import plan, scenario
from loadtests.published.plan import Afterwards, Lost, Plan, Voter
from loadtests.published.posted import write_returns
from loadtests.published.scenario import SPOILT, Scenario
from loadtests.voting.agenda import Agenda, Visit

TUBE = scenario.load("tube-two-questions")
VOTERS_MAX = 4_000
EVERY = [
    f"{name}:{variant}" if variant else name
    for name in scenario.names()
    for variant in scenario.variants(name)
]


@pytest.fixture(scope="module")
def tube() -> Plan:
    """The plan of the tube ballot."""
    return plan.draw(TUBE)


def counted(drawn: Plan, played: Scenario) -> dict[str, Counter[str]]:
    """What a count of the plan's online votes would say: exactly one known option, or spoilt."""
    counts: dict[str, Counter[str]] = {question: Counter() for question in played.published}
    for turn, voter in enumerate(drawn.voters):
        if drawn.posted.came_first(turn):
            continue  # counted by hand
        for question, marks in voter.paper.answers:
            known = set(played.published[question]) - {SPOILT}
            counts[question][marks[0] if len(marks) == 1 and marks[0] in known else SPOILT] += 1
    return counts


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("name", EVERY)
def test_papers_add_up_to_the_published_figures(name: str, seed: int | None) -> None:
    """Whatever the seed, each question counts as published, online and on paper together."""
    whole = scenario.load(name)
    played = scenario.scaled(whole, min(1.0, VOTERS_MAX / whole.votes))
    drawn = plan.draw(played, seed=seed)
    assert len(drawn.people) == played.entitled
    assert len(drawn.voters) + len(drawn.posted.counted) == played.votes
    online = counted(drawn, played)
    for question, published in played.published.items():
        assert online[question] + Counter(drawn.posted.hand_count[question]) == +Counter(published)


def test_the_same_seed_gives_the_same_plan(tube: Plan) -> None:
    """A run can be repeated; another seed is another run."""
    assert plan.draw(TUBE) == tube
    assert plan.draw(TUBE, seed=1) != tube


def test_the_roll_is_unique_and_nobody_real(tube: Plan) -> None:
    """Every id and contact is one person's; mail goes to .example and calls to the drama range."""
    rows = list(csv.DictReader(io.StringIO(tube.roll_csv())))
    assert len(rows) == TUBE.entitled
    for column in ("member_id", "email", "mobile"):
        values = [row[column] for row in rows if row[column]]
        assert len(set(values)) == len(values) > TUBE.entitled * 0.8
    assert all(row["email"].endswith(".example") for row in rows if row["email"])
    assert all(row["mobile"].startswith("07700 9") for row in rows if row["mobile"])
    assert all(row["address"] for row in rows)


def test_habits_come_in_the_planned_numbers(tube: Plan) -> None:
    """Shares of the votes, rounded up; nobody loses an answer and clicks twice at once."""
    voters = tube.voters
    assert sum(voter.double_click for voter in voters) == 187
    assert sum(voter.lost is not Lost.NO for voter in voters) == 63
    assert sum(voter.mistyped for voter in voters) == 187
    assert sum(voter.afterwards is Afterwards.OTHER_CHOICE for voter in voters) == 63
    assert sum(voter.afterwards is Afterwards.SAME_AGAIN for voter in voters) == 206
    assert sum(voter.foreign_code for voter in voters) == 13
    assert len(tube.reissues) == 125
    assert not any(voter.double_click and voter.lost is not Lost.NO for voter in voters)


def test_a_small_ballot_has_one_of_each_habit() -> None:
    """Rounding up keeps every habit in the quick scenario."""
    voters = plan.draw(scenario.load("branch-41")).voters
    assert sum(voter.double_click for voter in voters) == 1
    assert sum(voter.reissue for voter in voters) == 1
    assert {voter.afterwards for voter in voters} == set(Afterwards)


def test_the_other_paper_is_another_legal_one(tube: Plan) -> None:
    """Who tries a used code again asks for something else, so that acceptance would show."""
    for voter in tube.voters:
        other = plan.other_paper(voter.paper, TUBE.definition)
        assert other.legal
        assert other.answers != voter.paper.answers


def voters_of(tube: Plan, *, reissue: bool, count: int) -> list[Voter]:
    """A few voters of the plan."""
    return [voter for voter in tube.voters if voter.reissue is reissue][:count]


def test_nobody_is_forgotten_on_the_agenda(tube: Plan) -> None:
    """Everybody comes once; who waits for a code comes when it is there; who returns comes last."""
    plain, waiting = voters_of(tube, reissue=False, count=3), voters_of(tube, reissue=True, count=1)
    agenda = Agenda([*plain, *waiting])
    came: list[Voter] = []
    while (visit := agenda.next(new_codes=False)) is not None:
        came.append(visit.voter)
        agenda.done(visit)
    assert came == plain
    assert not agenda.finished
    late = agenda.next(new_codes=True)
    assert late == Visit(waiting[0])
    assert not agenda.finished
    agenda.done(late)
    assert agenda.finished
    assert agenda.voted == agenda.voters == 4


def test_nobody_is_in_two_places() -> None:
    """Voters, those who are late or aim at the close, and those who post a paper are different people."""
    played = scenario.load("residents-hybrid:harsh@0.2")
    drawn = plan.draw(played)
    posted = drawn.posted
    groups = [drawn.voters.people, drawn.late.people, drawn.at_close.people]
    groups += [posted.counted, posted.late, posted.rejected, drawn.spare]
    assert [len(group) for group in groups][:-1] == [4_758, 2, 100, 1_190, 12, 56]
    assert sorted(np.concatenate(groups)) == list(range(played.entitled))
    assert drawn.outsiders(2) == [voter.member_id for voter in drawn.late]
    assert len(set(drawn.outsiders(played.entitled))) == 102 + len(drawn.spare)
    assert set(posted.also) <= set(drawn.voters.people)
    assert len(posted.also) == len(posted.first) == 17
    assert all(voter.paper.legal for voter in [*drawn.late, *drawn.at_close])


def test_the_desk_reads_the_papers(tmp_path: Path) -> None:
    """The returns name members and a time, the count every option of every question."""
    drawn = plan.draw(scenario.load("residents-hybrid@0.05"))
    write_returns(tmp_path / "returns.csv", drawn.posted.counted, received_us=1_750_000_000_000_000)
    rows = list(csv.DictReader((tmp_path / "returns.csv").open()))
    assert len({row["member_id"] for row in rows}) == len(drawn.posted.counted) == 297
    assert {row["received_at"] for row in rows} == {"2025-06-15T15:06:40Z"}
    drawn.posted.write_count(tmp_path / "count.csv")
    counts = {row["option"]: int(row["count"]) for row in csv.DictReader((tmp_path / "count.csv").open())}
    assert list(counts) == ["yes", "no", "spoilt"]
    assert len(drawn.posted.first) == 4
    assert sum(counts.values()) == 297 + 4


def test_voters_are_a_sequence(tube: Plan) -> None:
    """One of them, a stretch of them, all of them: the same voters."""
    voters, everybody = tube.voters, list(tube.voters)
    assert (voters[0], voters[-1]) == (everybody[0], everybody[-1])
    assert list(voters[5:9]) == everybody[5:9]
    assert voters[5:9] == voters[5:9] != voters[4:8]
    assert tube.people[-1].member_id == f"M{TUBE.entitled:07d}"
    assert [person.member_id for person in tube.people[1:3]] == ["M0000002", "M0000003"]
    with pytest.raises(IndexError):
        _ = voters[len(voters)]


def test_people_think_as_long_as_the_model_says(tube: Plan) -> None:
    """Around 45 seconds, some much longer."""
    assert np.median(tube.voters.think_s) == pytest.approx(45, rel=0.05)
    assert np.log(tube.voters.think_s).std() == pytest.approx(0.8, rel=0.05)


def test_a_roll_is_written_as_it_is(tube: Plan, tmp_path: Path) -> None:
    """Person by person into a file, and the same text."""
    tube.write_roll(tmp_path / "roll.csv")
    assert (tmp_path / "roll.csv").read_text() == tube.roll_csv()


def test_a_million_and_a_third_are_a_few_columns() -> None:
    """1.3 million people and 858,000 voters fit into 60 MB, and the last is as easily had as the first."""
    tracemalloc.start()
    try:
        drawn = plan.draw(scenario.load("million-and-a-third:c"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000
    assert (len(drawn.people), len(drawn.voters)) == (1_300_000, 858_000)
    assert len(drawn.reissues) == 17_160
    assert drawn.people[-1].mobile == "07700 91299999"
    assert drawn.voters[-1].paper.answers[0][0] == "strike"
