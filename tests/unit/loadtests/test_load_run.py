"""What a load run is asked to be is what it plays, and what it types to have it again."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from loadtests.conduct.beside import Beside, UnknownOverlay, chosen, spare_codes
from loadtests.conduct.beside import quickened as faster
from loadtests.conduct.wanted import Wanted, quickened
from loadtests.lifetime.aftermath import moved
from loadtests.lifetime.life import Figure
from loadtests.lifetime.poll import Poll, added
from loadtests.overlays.catalogue import OVERLAYS
from loadtests.published import plan, scenario, schedule
from loadtests.published.people import member_id
from loadtests.published.scenario import OverlayCall
from loadtests.staging.kept import FolderTaken, Kept
from loadtests.staging.stage import StageFault

BRANCH = scenario.load("branch-41")
CODES = "member_id,channel,destination,code,link\n" + "".join(
    f"M{number:07d},email,x@members.example,CODE{number},\n" for number in range(1, 6)
)


def test_the_command_says_all_that_was_asked_for(tmp_path: Path) -> None:
    """What differs from the usual is in the line to type, and nothing else; no path of this machine is."""
    wanted = Wanted(
        scenario=scenario.scaled(scenario.load("teachers-11am:sms"), 0.05),
        report=tmp_path,
        only="peak",
        seed=7,
        overlays=("botnet", "cap"),
        generators=2,
    )
    assert wanted.command() == (
        "ballot load teachers-11am:sms --scale 0.05 --only peak --seed 7 --overlay botnet --overlay cap "
        "--generators 2"
    )
    assert Wanted(scenario=scenario.load("tube-two-questions"), report=tmp_path).command() == (
        "ballot load tube-two-questions"
    )


def test_twice_as_fast_is_the_same_run_in_half_the_time() -> None:
    """Every moment comes at half its second, the close too; what is aimed at the close is not wider."""
    planned = schedule.build(scenario.scaled(scenario.load("royal-mail-noon:crunch"), 0.01), only="close")
    fast = quickened(planned, 2.0)
    np.testing.assert_allclose(fast.run_s * 2, planned.run_s)
    assert fast.close_run_s * 2 == pytest.approx(planned.close_run_s)
    assert [window.factor for window in fast.windows] == [window.factor * 2 for window in planned.windows]
    np.testing.assert_allclose(fast.at_close_s - fast.close_run_s, planned.at_close_s - planned.close_run_s)
    assert len(fast.at_close_s) > 0


def test_twice_as_fast_is_put_off_for_half_as_long() -> None:
    """The first close too comes at half its second, and is aimed at as narrowly."""
    planned = schedule.build(scenario.scaled(scenario.load("close-of-poll-siege"), 0.02), only="close")
    fast = quickened(planned, 2.0)
    assert fast.first_close_run_s * 2 == pytest.approx(planned.first_close_run_s)
    aimed_s = fast.at_first_s - fast.first_close_run_s
    np.testing.assert_allclose(aimed_s, planned.at_first_s - planned.first_close_run_s, atol=1e-9)
    assert len(aimed_s) == 100


def test_a_burst_is_so_many_times_the_worst_second(tmp_path: Path) -> None:
    """For a minute, by nobody but voters of the ballot, and with the figures that so many votes have."""
    whole = scenario.load("million-and-a-third:c")
    planned, (ballot,) = Wanted(scenario=whole, report=tmp_path, burst=10).drawn_up()
    assert planned.votes == pytest.approx(264 * 10 * 60, rel=0.03)
    assert planned.run_s[-1] <= 60
    assert ballot.votes == planned.votes
    assert {sum(figures.values()) for figures in ballot.published.values()} == {planned.votes}


def test_the_scenarios_overlays_and_those_asked_for() -> None:
    """The scenario's own are always there unless none is asked for; what it says nothing about is bounded."""
    own = [OverlayCall("botnet", from_s=5, seconds=30)]
    assert [call.name for call in chosen(own, [], run_s=1000)] == ["botnet"]
    assert chosen(own, ["none"], run_s=1000) == []
    assert chosen(own, ["none", "botnet"], run_s=1000) == own
    both = {call.name: call for call in chosen(own, ["guessing"], run_s=7200)}
    assert both["botnet"] == own[0]
    assert (both["guessing"].from_s, both["guessing"].seconds) == (720, 600)
    assert {call.name for call in chosen(own, ["all"], run_s=1000)} == {*OVERLAYS}


def test_overlays_keep_their_place_in_a_faster_run() -> None:
    """Half an hour before the close is three minutes before it when all is ten times as fast."""
    (call,) = faster([OverlayCall("cap", from_s=-1800, seconds=600, parameters={"share": 0.1})], 10)
    assert call == OverlayCall("cap", from_s=-180, seconds=60, parameters={"share": 0.1})
    assert call.begins(1000) == 820


def test_an_unknown_overlay_is_one_sentence() -> None:
    """It names those that there are."""
    with pytest.raises(UnknownOverlay, match=r"There is no overlay 'bots'; there are cap, botnet, .*none\."):
        chosen([], ["bots"], run_s=10)


def test_spare_codes_are_of_people_nobody_plays(tmp_path: Path) -> None:
    """As many as are wanted, never a voter's; if everybody votes there are none, which is said."""
    codes = tmp_path / "codes.csv"
    codes.write_text(CODES)
    voters = {"M0000001", "M0000003"}
    assert spare_codes(codes, voters.__contains__, 2) == [("M0000002", "CODE2"), ("M0000004", "CODE4")]
    with pytest.raises(StageFault, match="Everybody on the roll votes"):
        spare_codes(codes, lambda _: True, 2)


def test_a_directory_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    """A run's own is used again, its old files gone; anything else is refused and stays as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.json").write_text("{}")
    with pytest.raises(FolderTaken, match="holds something that is no run"):
        Kept(tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.json").exists()
    first = Kept(tmp_path / "run")
    first.mark("phase", "votes", 1, 2)
    (tmp_path / "run" / "notes.md").write_text("mine")
    Kept(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["notes.md", "run.json"]


def test_votes_are_added_option_by_option() -> None:
    """What one lacks the other has."""
    assert added({"a": {"yes": 1}}, {"a": {"yes": 2, "no": -1}, "b": {"no": 4}}) == {
        "a": {"yes": 3, "no": -1},
        "b": {"no": 4},
    }


def test_what_a_fault_was_to_stop_is_kept(tmp_path: Path) -> None:
    """Whether votes may stop meanwhile is judged from the run's directory alone, so it must stand there."""
    kept = Kept(tmp_path / "run")
    beside = Beside([], kept)
    kept.overlays.mkdir(exist_ok=True)
    lines = kept.overlays / "fault.jsonl"
    at = {"kind": "fault", "from_us": 1, "to_us": 2}
    told = [
        {"name": "kill-valkey", "told": {"expects_down": True}},
        {"name": "kill-worker", "told": {"expects_down": False}},
    ]
    lines.write_text(json.dumps({"marks": [at | each for each in told]}) + "\n", encoding="utf-8")
    ended = {"planned": 2, "hits": [], "from_us": 0, "to_us": 3}
    beside._running["fault"] = SimpleNamespace(path=lines, stop=lambda: ended)  # type: ignore[assignment]
    beside.finish()
    marks = [json.loads(line) for line in (kept.folder / "marks.jsonl").read_text().splitlines()]
    assert [(each["name"], each["told"]) for each in marks if each["kind"] == "fault"] == [
        ("kill-valkey", {"expects_down": True}),
        ("kill-worker", {}),
    ]


def test_papers_that_are_first_are_told_before_anybody_comes(tmp_path: Path) -> None:
    """And no other is told then; nothing is where there are none."""
    told: list[tuple[str, ...]] = []

    def run(*words: object, seconds: float) -> None:
        assert seconds > 0
        told.append(tuple(map(str, words)))

    hybrid, branch = (plan.draw(scenario.load(name)) for name in ("residents-hybrid@0.2", "branch-41"))
    for drawn in (hybrid, branch):
        poll = SimpleNamespace(plan=drawn, files=tmp_path, ballot="b", command_seconds=1.0)
        poll.stage = SimpleNamespace(run=run)
        Poll.returned_first(cast("Poll", poll))
    ((command, _, path, *_),) = told
    rows = list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))
    assert command == "returns"
    assert [row["member_id"] for row in rows] == [member_id(int(each)) for each in hybrid.posted.first]
    assert len(rows) == 17


def test_who_was_too_late_in_the_last_second_is_missing_by_name() -> None:
    """Added to what was counted, option by option and in all, it is what was published."""
    counted = [Figure("votes cast", "", 10, 10), Figure("strike", "yes", 7, 6), Figure("strike", "no", 3, 4)]
    poll = cast("Poll", SimpleNamespace(figures=lambda: counted))
    told = {"in_place": {"b": {"strike": {"no": 1}}}, "displaced": {"b": {"strike": {"yes": 1}}}}
    told |= {"closed": {"b": {"strike": {"no": 1}}}}
    found = Poll.compared(poll, {"strike": {"no": 1}}, moved(told, "b"))
    assert [(each.option, each.counted) for each in found] == [("", 10), ("yes", 7), ("no", 3)]
    assert Poll.compared(poll, {}, moved(told, "b"))[0].counted == 11
