"""Intervals: a state a stretch, no overlap, no gap, and no time called up that nobody looked at."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ops.monitor.intervals import MONITOR_STOPPED, PROBES_MISSED, Interval, Probe, State, Tracker

PERIOD = 5_000_000


def probe(second: float, state: State = State.UP, reason: str = "") -> Probe:
    """A probe that began at `second` and had its verdict a tenth later."""
    started_us = round(second * 1_000_000)
    return Probe(started_us, started_us + 100_000, state, reason)


def run(*probes: Probe) -> list[Interval]:
    """All intervals of these probes, the last one ended by a stop."""
    tracker = Tracker(period_us=PERIOD)
    closed = [interval for each in probes for interval in tracker.feed(each)]
    return closed + tracker.stop()


def spans(intervals: list[Interval]) -> list[tuple[float, float, str]]:
    """Start, end and state, in seconds."""
    return [(i.started_us / 1e6, i.ended_us / 1e6, i.state.value) for i in intervals]


def test_equal_verdicts_are_one_interval() -> None:
    """A quiet day is one row, from the first probe to where the last was observed."""
    assert spans(run(probe(0), probe(5), probe(10))) == [(0, 10.1, "up")]


def test_a_quiet_month_is_written_down_as_it_goes() -> None:
    """The record is never more than ten minutes behind, and the rows join without a gap."""
    tracker = Tracker(period_us=PERIOD)
    closed = [interval for second in range(0, 1900, 5) for interval in tracker.feed(probe(second))]

    assert spans(closed) == [(0, 600, "up"), (600, 1200, "up"), (1200, 1800, "up")]
    assert spans(tracker.stop()) == [(1800, 1895.1, "up")]


def test_a_verdict_holds_until_the_next_probe_begins() -> None:
    """Down lasts from the first failed probe to the first good one."""
    found = run(probe(0), probe(5, State.DOWN, "refused"), probe(10, State.DOWN, "refused"), probe(15))

    assert spans(found) == [(0, 5, "up"), (5, 15, "down"), (15, 15.1, "up")]


def test_another_reason_is_another_interval() -> None:
    """How it was down changes the row."""
    found = run(probe(0, State.DOWN, "refused"), probe(5, State.DOWN, "timeout"))

    assert [(i.reason, i.ended_us) for i in found] == [("refused", 5_000_000), ("timeout", 5_100_000)]


def test_a_gap_is_unknown_never_up() -> None:
    """Without a probe for more than two periods only what was observed is up."""
    found = run(probe(0), probe(5), probe(15.1))

    assert spans(found) == [(0, 5.1, "up"), (5.1, 15.1, "unknown"), (15.1, 15.2, "up")]
    assert found[1].reason == PROBES_MISSED


def test_two_periods_are_no_gap_yet() -> None:
    """One late probe does not make an unknown."""
    assert spans(run(probe(0), probe(10))) == [(0, 10.1, "up")]


def test_after_a_kill_what_followed_the_checkpoint_is_unknown() -> None:
    """A restart loses at most what came after the last verdict, however soon it comes."""
    before = Tracker(period_us=PERIOD)
    before.feed(probe(0))
    before.feed(probe(5))
    after = Tracker(period_us=PERIOD, restored=before.open)

    closed = after.feed(probe(7)) + after.stop()

    assert spans(closed) == [(0, 5.1, "up"), (5.1, 7, "unknown"), (7, 7.1, "up")]
    assert closed[1].reason == MONITOR_STOPPED


def test_a_slow_verdict_does_not_reach_into_the_next_probe() -> None:
    """A verdict that took longer than a period is observed for one period only."""
    tracker = Tracker(period_us=PERIOD)

    tracker.feed(Probe(0, 13_000_000, State.SLOW, "not stored in time"))

    assert tracker.open == Interval(0, PERIOD, State.SLOW, "not stored in time")


def test_a_clock_set_back_neither_overlaps_nor_reopens() -> None:
    """Time already accounted for stays as it was."""
    found = run(probe(100), probe(105), probe(50, State.DOWN, "refused"), probe(106))

    assert spans(found) == [(100, 105.1, "up"), (105.1, 106, "down"), (106, 106.1, "up")]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200_000_000),
            st.integers(0, 20_000_000),
            st.sampled_from(State),
            st.sampled_from("ab"),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sets(st.integers(0, 40)),
)
def test_any_probes_make_intervals_without_overlap_or_gap(
    drawn: list[tuple[int, int, State, str]], kills: set[int]
) -> None:
    """Whatever the probes, clocks and restarts: each interval begins where the one before ended."""
    tracker = Tracker(period_us=PERIOD)
    closed: list[Interval] = []
    for number, (started_us, took_us, state, reason) in enumerate(drawn):
        if number in kills:
            tracker = Tracker(period_us=PERIOD, restored=tracker.open)
        closed += tracker.feed(Probe(started_us, started_us + took_us, state, reason))
    closed += tracker.stop()

    assert all(i.ended_us > i.started_us for i in closed)
    assert all(before.ended_us == after.started_us for before, after in pairwise(closed))
