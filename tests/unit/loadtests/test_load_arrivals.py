"""The arrival model: the published click curve, the hours measured in Estonia, and every ballot's peaks."""

from dataclasses import replace

import numpy as np
import pytest

from loadtests.published import arrivals, scenario
from loadtests.published.arrivals import Arrivals, Peaks, Reminder

HOURS = np.array([1.0, 3.0, 24.0])
# Expected votes in the peak minute, quarter and hour, and in the last minute and hour, as first worked out
# with this model; None where that table has no figure. A row of whole votes only is exact to half a vote.
TABLE = {
    "tube-two-questions": (28, 268, 809, 3, 139),
    "residents-hybrid": (133, 1_279, 3_862, 16, 664),
    "royal-mail-noon": (177, 2_299, 6_534, 68, 2_888),
    "royal-mail-noon:crunch": (835, 6_357, 11_806, 835, 11_806),
    "civil-service-214": (252, 3_261, 9_249, 40, 1_684),
    "teachers-11am": (902, 11_682, 33_171, 103, 4_360),
    "teachers-11am:sms": (2_447, 18_453, 37_934, 103, 4_360),
    "million-and-a-third": (856, 12_121, 34_422, None, None),
    "million-and-a-third:b": (2_256, 29_218, 82_902, None, None),
    "million-and-a-third:c": (10_972, 82_753, 170_120, 461, 19_550),
    "million-and-a-third:d": (6_659, 50_697, 94_082, 6_659, 94_082),
}


def online(name: str) -> scenario.Scenario:
    """The scenario with nobody voting on paper: the table does not set papers aside."""
    return replace(scenario.load(name), paper=None)


def share(at: list[float], made: Arrivals, hours: float = 131.0, opens_hour: float = 9.0) -> list[float]:
    """The curve at these hours."""
    return list(arrivals.cumulative(made, np.array(at), hours=hours, opens_hour=opens_hour))


def test_a_message_is_followed_as_published() -> None:
    """One message to all at once: 33.6 % within the hour, 51.4 % within three, 81 % within a day."""
    blast = Arrivals(launch=1.0, base=0.0, send_minutes=0)
    hours = 24.0 * 366
    found = share([1.0, 3.0, 24.0], blast, hours=hours)
    last = 1 / (1 + (hours / 2.76) ** -0.671)
    assert [round(part * last, 3) for part in found] == [0.336, 0.514, 0.810]


def test_estonia_is_reproduced() -> None:
    """The base and deadline terms give the last two hours of a week that was measured hour by hour."""
    estonia = Arrivals(base=0.9, deadline=0.1)
    before, last, end = share([129.0, 130.0, 131.0], estonia)
    assert end == pytest.approx(1.0)
    assert end - last == pytest.approx(0.0327, abs=5e-5)
    assert last - before == pytest.approx(0.0224, abs=5e-5)
    hourly = np.diff(share(list(range(132)), estonia))
    assert hourly.min() == pytest.approx(0.00021, abs=5e-6)


@pytest.mark.parametrize("name", TABLE)
def test_peaks_are_those_of_the_table(name: str) -> None:
    """Each figure within 0.1 %, or half a vote where the table rounds to whole ones."""
    found = arrivals.peaks(online(name))
    expected = TABLE[name]
    told = (found.minute, found.quarter, found.hour, found.last_minute, found.last_hour)
    for figure, wanted in zip(told, expected, strict=True):
        if wanted is not None:
            assert figure == pytest.approx(wanted, rel=1e-3, abs=0.51)


def test_worst_seconds_are_those_of_the_table() -> None:
    """59 votes a second for the teachers' text messages, 264 for a million and a third."""
    assert arrivals.peaks(online("teachers-11am:sms")).second == pytest.approx(59, abs=0.5)
    assert arrivals.peaks(online("million-and-a-third:c")).second == pytest.approx(264, abs=0.6)


def test_the_worst_quarter_may_begin_anywhere() -> None:
    """Counted from wherever it is worst, a quarter of an hour holds more than any whole one."""
    mail = arrivals.peaks(online("teachers-11am"))
    assert mail.quarter_from_s == 18 * 60
    assert mail.sliding_quarter == pytest.approx(12_054, abs=1)


def test_a_small_meeting_stays_small() -> None:
    """18 votes of a branch: the table's 1, 4 and 9 are those of 41 votes, its whole electorate."""
    branch = scenario.load("branch-41")
    assert [round(at) for at in peak(arrivals.peaks(branch))] == [0, 2, 4]
    everybody = replace(branch, votes=41)
    assert [round(at) for at in peak(arrivals.peaks(everybody))] == [1, 4, 9]


def peak(found: Peaks) -> tuple[float, float, float]:
    """Minute, quarter and hour."""
    return found.minute, found.quarter, found.hour


@pytest.mark.parametrize(
    "made",
    [
        Arrivals(),
        Arrivals(launch=1.0, base=0.0, send_minutes=0),
        Arrivals(launch=0.3, base=0.2, deadline=0.3, reminders=(Reminder(0.2, 0.2),), deadline_hours=0.5),
    ],
    ids=["day and night", "one moment", "all at once"],
)
@pytest.mark.parametrize("hours", [0.5, 30.0, 672.0])
def test_any_curve_runs_from_nothing_to_all(made: Arrivals, hours: float) -> None:
    """It never falls, begins at 0, and ends at 1 with the close."""
    found = np.array(share(list(np.linspace(-1, hours + 1, 5_000)), made, hours=hours))
    assert found[0] == 0
    assert found[-1] == pytest.approx(1.0)
    assert (np.diff(found) >= -1e-12).all()


def test_a_draw_has_every_vote_and_follows_the_curve() -> None:
    """As many as there are votes, sorted, inside the window, in the expected numbers; the seed decides."""
    crunch = scenario.load("royal-mail-noon:crunch")
    drawn = arrivals.draw(crunch, np.random.default_rng(1))
    end_s = crunch.hours * 3_600
    assert len(drawn) == crunch.votes
    assert (np.diff(drawn) >= 0).all()
    assert drawn[0] >= 0
    assert drawn[-1] <= end_s
    assert np.count_nonzero(drawn > end_s - 60) == pytest.approx(835, abs=4 * 835**0.5)
    assert np.array_equal(drawn, arrivals.draw(crunch, np.random.default_rng(1)))
    assert not np.array_equal(drawn, arrivals.draw(crunch, np.random.default_rng(2)))
