"""The schedule: real time at the peaks and the close, never too fast elsewhere, every vote in it once."""

from pathlib import Path

import numpy as np
import pytest

from loadtests.published import arrivals, scenario, schedule
from loadtests.published.group import as_scheduled, members
from loadtests.published.schedule import Schedule

CLOSE_RUN_S = 600


@pytest.mark.parametrize("name", ["branch-41", "royal-mail-noon:crunch", "million-and-a-third:c@0.5"])
def test_windows_cover_the_ballot_without_a_gap(name: str) -> None:
    """One follows the other on both clocks, from the opening past the close; run time keeps the order."""
    played = scenario.load(name)
    built = schedule.build(played)
    first, last = built.windows[0], built.windows[-1]
    assert (first.from_run_s, first.from_ballot_s) == (0, 0)
    assert last.to_ballot_s == played.hours * 3_600 + schedule.AFTER_CLOSE_S
    for one, other in zip(built.windows, built.windows[1:], strict=False):
        assert one.to_run_s == other.from_run_s
        assert one.to_ballot_s == pytest.approx(other.from_ballot_s)
    for window in built.windows:
        ballot_s, run_s = window.to_ballot_s - window.from_ballot_s, window.to_run_s - window.from_run_s
        assert run_s * window.factor == pytest.approx(ballot_s)
        assert 1 <= window.factor <= schedule.FACTOR_MAX
    assert built.votes == played.online_votes
    assert (np.diff(built.run_s) >= 0).all()
    assert built.run_s[-1] <= built.close_run_s == pytest.approx(last.to_run_s - schedule.AFTER_CLOSE_S)


def in_any_second(built: Schedule) -> int:
    """The most votes in any one second of the run."""
    ends = np.searchsorted(built.run_s, built.run_s + 1.0, side="left")
    return int((ends - np.arange(built.votes)).max())


@pytest.mark.parametrize("votes_a_second_max", [300.0, 800.0])
def test_compressed_time_is_never_faster_than_the_limit(votes_a_second_max: float) -> None:
    """Whichever second of the run one looks at, no more votes than allowed are in it."""
    played = scenario.load("million-and-a-third:d")
    built = schedule.build(played, votes_a_second_max=votes_a_second_max)
    assert votes_a_second_max * 0.5 < in_any_second(built) <= votes_a_second_max
    assert max(window.factor for window in built.windows) == schedule.FACTOR_MAX


def test_the_peak_and_the_close_are_real() -> None:
    """The worst quarter of an hour and the last minute are as long in the run as they were."""
    calm = schedule.build(scenario.load("royal-mail-noon"))
    assert [window.name for window in calm.real] == ["peak", "close"]
    peak, close = calm.real
    assert peak.to_run_s - peak.from_run_s == pytest.approx(900)
    assert close.from_ballot_s == 672 * 3_600 - 60
    crunch = schedule.build(scenario.load("royal-mail-noon:crunch"))
    assert [window.name for window in crunch.real] == ["peak and close"]


def test_only_the_peak() -> None:
    """The worst quarter of an hour alone, with the votes that fall into it, and nobody who is late."""
    played = scenario.load("million-and-a-third:c")
    built = schedule.build(played, only="peak")
    (window,) = built.windows
    assert (window.factor, window.from_run_s, window.to_run_s) == (1, 0, 900)
    assert built.votes == pytest.approx(arrivals.peaks(played).sliding_quarter, rel=0.02)
    assert (built.close_run_s, len(built.late_s), len(built.at_close_s)) == (900, 0, 0)
    left = scenario.shrunk(played, votes=built.votes)
    assert sum(left.published["strike"].values()) == left.votes == built.votes


def test_only_the_close() -> None:
    """The last ten minutes, those who are late, and those who aim at the very moment."""
    played = scenario.load("royal-mail-noon:crunch")
    built = schedule.build(played, only="close")
    assert built.close_run_s == CLOSE_RUN_S
    assert built.run_s[-1] <= CLOSE_RUN_S
    assert len(built.late_s) == played.late_casts == 30
    assert (built.late_s > CLOSE_RUN_S).all()
    assert len(built.at_close_s) == 100
    assert (abs(built.at_close_s - CLOSE_RUN_S) <= schedule.AT_CLOSE_S).all()


def test_a_siege_is_its_last_minutes_in_real_time() -> None:
    """150 minutes to the first close, none of them compressed; whoever voted before is not there."""
    siege = scenario.load("close-of-poll-siege")
    built = schedule.build(siege)
    assert (built.windows[0].factor, built.windows[0].from_run_s) == (1, 0)
    assert built.first_close_run_s == pytest.approx(150 * 60)
    assert built.windows[0].to_run_s == pytest.approx(built.first_close_run_s + schedule.LAST_S)
    assert built.votes < siege.votes / 4
    assert schedule.build(siege, only="close").first_close_run_s == pytest.approx(CLOSE_RUN_S)


@pytest.mark.parametrize("variant", ["dev", "full"])
@pytest.mark.parametrize("only", ["", "close"])
def test_the_rush_is_to_the_first_close(variant: str, only: schedule.Only) -> None:
    """Who hurries knows of no other; as many aim at it as at the last, and few come between the two."""
    siege = scenario.load(f"close-of-poll-siege:{variant}")
    built = schedule.build(siege, only=only)
    first_s, close_s = built.first_close_run_s, built.close_run_s
    minute = np.count_nonzero((built.run_s >= first_s - 60) & (built.run_s < first_s))
    assert minute == pytest.approx({"dev": 835, "full": 6_659}[variant], rel=0.05)
    assert 0 < np.count_nonzero(built.run_s > first_s) < minute / 8
    assert 2 * schedule.LAST_S <= built.extends_s == close_s - first_s < 150
    assert [window.factor == 1 for window in built.windows[:: len(built.windows) - 1]] == [True, True]
    for aimed_s, at_s in ((built.at_first_s, first_s), (built.at_close_s, close_s)):
        assert len(aimed_s) == 100
        assert (abs(aimed_s - at_s) <= schedule.AT_CLOSE_S).all()
    assert (built.late_s > close_s).all()


def test_the_seed_decides() -> None:
    """The same seed gives the same moments; another one others, and not one vote more."""
    played = scenario.load("tube-two-questions")
    one, same, other = (schedule.build(played, seed=seed) for seed in (None, played.seed, 7))
    assert np.array_equal(one.run_s, same.run_s)
    assert one.windows == same.windows
    assert not np.array_equal(one.run_s, other.run_s)
    assert one.votes == other.votes


def test_a_schedule_is_kept_as_it_is(tmp_path: Path) -> None:
    """What is saved is what is read, windows and all."""
    built = schedule.build(scenario.load("civil-service-214@0.05"))
    built.save(tmp_path / "schedule.npz")
    read = schedule.load(tmp_path / "schedule.npz")
    for name in schedule.ARRAYS:
        assert np.array_equal(getattr(read, name), getattr(built, name))
    assert (read.windows, read.close_run_s) == (built.windows, built.close_run_s)
    assert read.extends_s == built.extends_s == 0
    assert [path.name for path in tmp_path.iterdir()] == ["schedule.npz"]


def test_a_group_is_mixed_and_each_ballot_has_its_votes() -> None:
    """Every arrival belongs to a ballot and is the next voter of it; with --only the ballots shrink."""
    played = scenario.load("civil-service-214@0.1")
    ballots = members(played)
    built = schedule.build(played)
    assert list(np.bincount(built.ballots)) == [ballot.votes for ballot in ballots]
    largest = built.turns[built.ballots == 0]
    assert np.array_equal(largest, np.arange(ballots[0].votes))
    peak = schedule.build(played, only="peak")
    left = as_scheduled(ballots, peak)
    assert sum(ballot.votes for ballot in left) == peak.votes < played.votes
    assert [ballot.entitled for ballot in left] == [ballot.entitled for ballot in ballots]


def test_ten_times_the_worst_second() -> None:
    """A minute of ten times what the worst second brings, evenly, whoever asks."""
    played = scenario.load("million-and-a-third:c")
    sent = schedule.worst_second_times(played, 10, seconds=60)
    assert len(sent) == round(arrivals.peaks(played).second * 600)
    assert (np.diff(sent) >= 0).all()
    assert 0 <= sent[0] <= sent[-1] < 60
    assert np.array_equal(sent, schedule.worst_second_times(played, 10, seconds=60))


def test_any_number_of_arrivals_is_dealt_out() -> None:
    """Fewer arrivals than votes still go to every large ballot, in turn; one ballot alone gets them all."""
    group = scenario.load("civil-service-214@0.1")
    ballots, turns = schedule.dealt(group, 3_000)
    sizes = [ballot.votes for ballot in members(group)]
    assert len(ballots) == 3_000
    assert all(np.bincount(ballots, minlength=len(sizes)) <= sizes)
    assert np.array_equal(turns[ballots == 0], np.arange(np.count_nonzero(ballots == 0)))
    alone, in_turn = schedule.dealt(scenario.load("tube-two-questions"), 100)
    assert set(alone) == {0}
    assert np.array_equal(in_turn, np.arange(100))
