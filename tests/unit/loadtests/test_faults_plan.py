"""Faults are drawn from a seed, evenly; what the voters saw is read off their files as it was written."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtests.faults.account import HistoryFault, keep, summed, table
from loadtests.faults.command import faults
from loadtests.faults.deeds import Deeds
from loadtests.faults.draw import LASTS_SECONDS, RESTS_SECONDS, draw
from loadtests.faults.electorate import HABITS, as_voted, sized
from loadtests.faults.events import Account, Done, Event, events
from loadtests.faults.kinds import KINDS, UnknownKind, chosen
from loadtests.faults.tape import Tape
from loadtests.published import plan, scenario
from loadtests.published.scenario import SPOILT
from loadtests.voting.agenda import Agenda
from loadtests.voting.pace import CATCH_UP_SECONDS, Pace

SECOND_US = 1_000_000


def test_the_same_seed_draws_the_same_faults() -> None:
    """A run can be repeated to the last detail; another seed is another run."""
    kinds = chosen([])
    assert draw(kinds, seed=7, kills=50) == draw(kinds, seed=7, kills=50)
    assert draw(kinds, seed=7, kills=50) != draw(kinds, seed=8, kills=50)
    assert draw(kinds, seed=7, kills=50)[:20] == draw(kinds, seed=7, kills=60)[:20]


def test_faults_are_drawn_until_enough_is_killed() -> None:
    """At least as many processes as asked for, and not one fault more; without kills, so many faults."""
    drawn = draw(chosen([]), seed=1, kills=50)
    kills = [fault.kind.kills for fault in drawn]
    assert sum(kills) >= 50 > sum(kills[:-1])
    assert len(draw(chosen(["freeze"]), seed=1, kills=9)) == 9


def test_every_kind_comes_in_every_round() -> None:
    """Nothing is left to luck but the order: a long run does each kind as often as the others."""
    kinds = chosen([])
    once = sum(kind.often for kind in kinds)
    drawn = draw(kinds, seed=3, kills=200)[: 2 * once]
    assert Counter(fault.kind for fault in drawn) == Counter({kind: 2 * kind.often for kind in kinds})
    assert all(LASTS_SECONDS[0] <= fault.lasts_s <= LASTS_SECONDS[1] for fault in drawn)
    assert all(RESTS_SECONDS[0] <= fault.rests_s <= RESTS_SECONDS[1] for fault in drawn)


def test_kinds_are_chosen_by_name_and_by_deed() -> None:
    """`kill` is every kill, `kill-worker` that one; what is no kind is said."""
    assert {kind.deed for kind in chosen(["kill"])} == {"kill"}
    assert [kind.name for kind in chosen(["kill-worker", "junk"])] == ["kill-worker", "junk-queue"]
    with pytest.raises(UnknownKind, match="'tickle'"):
        chosen(["tickle"])


def test_every_kind_has_its_deed() -> None:
    """Each name is there once, and somebody knows how to do it."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(callable(getattr(Deeds, kind.deed)) for kind in KINDS)


def test_an_electorate_of_any_size_adds_up(tmp_path: Path) -> None:
    """The paper's options, so many voters, and after the run the figures of those who voted."""
    played = sized(1_001, tmp_path)
    drawn = plan.draw(played, seed=5)
    assert played.entitled == played.votes == len(drawn.voters) == 1_001
    assert {name: getattr(played.behaviour, name) for name in HABITS} == HABITS
    everybody = as_voted(played, drawn, {voter.member_id for voter in drawn.voters})
    assert everybody == played
    some = as_voted(played, drawn, {voter.member_id for voter in drawn.voters[:300]})
    assert some.votes == 300
    assert all(sum(figures.values()) == 300 and SPOILT in figures for figures in some.published.values())


def test_a_pace_gives_even_turns_and_saves_none_up() -> None:
    """Ten a second are a tenth apart; after an outage nobody makes up for it."""
    pace = Pace(rate=10)
    assert [round(pace.wait(100.0), 3) for _ in range(12)][-1] == pytest.approx(1.1 - CATCH_UP_SECONDS)
    pace.wait(500.0)
    waits = [pace.wait(500.0) for _ in range(10)]
    assert waits[-1] == pytest.approx(1.0 - CATCH_UP_SECONDS)


def test_who_is_sent_home_does_not_begin() -> None:
    """Those at the booth finish and come back as they wanted to; nobody else begins."""
    drawn = plan.draw(scenario.load("branch-41"))
    agenda = Agenda(drawn.voters)
    visit = agenda.next(new_codes=True)
    assert visit is not None
    agenda.send_home()
    assert agenda.next(new_codes=True) is None
    assert not agenda.finished
    agenda.done(visit)
    assert agenda.finished


def tape(
    folder: Path, *receipts: tuple[str, str, float], unsettled: tuple[tuple[float, int], ...] = ()
) -> Tape:
    """The voters' files with these receipts (member, reference, second) and answers (second, status)."""
    (folder / "sealed.jsonl").write_text(
        "".join(
            json.dumps({"member_id": member, "reference": reference, "at_us": int(at * SECOND_US)}) + "\n"
            for member, reference, at in receipts
        )
        + '{"cut off'
    )
    (folder / "unsettled.jsonl").write_text(
        "".join(
            json.dumps({"at_us": int(at * SECOND_US), "status": status}) + "\n" for at, status in unsettled
        )
    )
    read = Tape(folder)
    read.look()
    return read


def test_a_tape_reads_whole_lines_once(tmp_path: Path) -> None:
    """A line that is still being written is read when it is whole, and no line twice."""
    read = tape(tmp_path, ("M1", "R1", 1.0))
    with (tmp_path / "sealed.jsonl").open("r+") as file:
        file.seek(0, 2)
        file.seek(file.tell() - len('{"cut off'))
        file.write(json.dumps({"member_id": "M2", "reference": "R2", "at_us": 2 * SECOND_US}) + "\n")
    read.look()
    read.look()
    assert read.accepted == [SECOND_US, 2 * SECOND_US]
    assert read.holders == {"M1": {"R1"}, "M2": {"R2"}}


def test_events_say_what_the_voters_saw(tmp_path: Path) -> None:
    """Return, pause, refusals and losses are put down to the fault in whose time they came."""
    first, second = draw(chosen(["kill-worker"]), seed=1, kills=2)
    read = tape(
        tmp_path,
        *(("M1", "R1", 9.9), ("M2", "R2", 13.0), ("M3", "R3", 13.5), ("M4", "R4", 20.5)),
        unsettled=((10.5, 503), (11.0, 0), (12.0, 429), (21.0, 503)),
    )
    seconds = [(10.0, 12.5, 14.0), (20.0, 20.0, 21.0)]
    instants = [[int(at * SECOND_US) for at in each] for each in seconds]
    done = [Done(fault, *each) for fault, each in zip((first, second), instants, strict=True)]
    one, other = events(done, read, end_us=30 * SECOND_US, lost=["R4"], doubled=["R2"])
    assert (one.resumed_s, one.pause_s, one.votes) == (0.5, 3.1, 2)
    assert (one.asked_later, one.unanswered, one.lost, one.doubled) == (2, 1, 0, 1)
    assert (other.resumed_s, other.pause_s, other.votes) == (0.5, 7.0, 1)
    assert (other.asked_later, other.unanswered, other.lost, other.doubled) == (1, 0, 1, 0)


def event(kind: str, *, kills: int, resumed_s: float = 0.1) -> Event:
    """A fault after which nothing was wrong."""
    return Event(1, kind, kills, 0, 0.0, resumed_s, 0.2, 10, 0, 0, 0, 0)


def test_a_history_is_summed_over_runs(tmp_path: Path) -> None:
    """Kills add up by kind, the slowest return stands, and one wrong run spoils the sum."""
    history = tmp_path / "history"
    good = Account(seed=1, began="then", votes=10)
    good.events = [event("kill-worker", kills=1), event("kill-valkey+worker", kills=2, resumed_s=0.7)]
    keep(good, history)
    keep(good, history)
    text, fine = summed(history)
    assert fine
    assert "votes 20, kills 6, lost 0, doubled 0" in text
    assert "runs 2, seeds 1, 1" in text
    assert [line.split() for line in text.splitlines() if line.startswith("kill-valkey+worker")] == [
        ["kill-valkey+worker", "2", "4", "0.70", "s"]
    ]
    keep(Account(seed=9, began="then", wrong=["The books do not balance."]), history)
    text, fine = summed(history)
    assert not fine
    assert "seed 9: The books do not balance." in text
    history.write_text('{"seed": 1}\n')
    with pytest.raises(HistoryFault, match="not a history"):
        summed(history)


def test_a_table_has_a_line_a_kind_and_the_sums() -> None:
    """Kinds are named once, and a part after which no vote was accepted is not hidden."""
    lines = table(
        [
            event("kill-worker", kills=1),
            event("kill-worker", kills=1),
            event("reset-queue", kills=0, resumed_s=-1.0),
        ]
    ).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("-")] == [
        *("fault", "kill-worker", "reset-queue", "all")
    ]
    assert lines[3].split()[4] == "never"
    assert lines[-1].split()[1:3] == ["3", "30"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--list"], 0, "kill-edge-process+worker"),
        (["--only", "tickle"], 2, "There is no kind of fault 'tickle'"),
        (["--sum", "no-such-file"], 1, "cannot be read"),
    ],
)
def test_the_command_says_what_there_is(arguments: list[str], exit_code: int, said: str) -> None:
    """Kinds are listed; a mistake is one plain sentence."""
    result = CliRunner().invoke(faults, arguments)
    assert result.exit_code == exit_code
    assert said in result.output
