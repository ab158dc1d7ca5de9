"""The timeline says `up` only where a monitor saw it, and `planned` only where somebody asked for it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.availability.timeline import DIED, NOT_LOOKED, STOPPED, Stretch, Timeline, Turn, draw
from ops.monitor.intervals import Interval, State

S = 1_000_000
UP, SLOW, DOWN, UNKNOWN = State.UP, State.SLOW, State.DOWN, State.UNKNOWN


def lane(*rows: tuple[float, float, State]) -> list[Interval]:
    """One monitor's intervals, in seconds."""
    return [Interval(int(a * S), int(b * S), state, "" if state is UP else "why") for a, b, state in rows]


def drawn(*lanes: Sequence[Interval], turns: Sequence[Turn] = (), to: float = 100) -> Timeline:
    """The timeline of the first hundred seconds."""
    return draw(lanes, turns, from_us=0, to_us=int(to * S))


def told(timeline: Timeline) -> list[tuple[float, float, str, str, bool]]:
    """The stretches in seconds, readable."""
    return [(s.from_us / S, s.to_us / S, s.state.value, s.reason, s.planned) for s in timeline.stretches]


def test_without_records_nothing_is_known() -> None:
    """No monitor, no claim."""
    empty = drawn()
    assert told(empty) == [(0, 100, "unknown", NOT_LOOKED, False)]
    assert (empty.available, empty.available_of_all, empty.outages) == (None, 0.0, ())


def test_the_worst_that_any_monitor_saw_holds() -> None:
    """Two monitors: what one missed the other fills in, and where they differ the worse one holds."""
    timeline = drawn(
        lane((0, 40, UP), (40, 50, SLOW), (60, 90, UP)), lane((10, 20, DOWN), (20, 70, UP), (95, 200, UP))
    )
    assert [(a, b, state) for a, b, state, *_ in told(timeline)] == [
        (0, 10, "up"),
        (10, 20, "down"),
        (20, 40, "up"),
        (40, 50, "slow"),
        (50, 90, "up"),
        (90, 95, "unknown"),
        (95, 100, "up"),
    ]
    assert timeline.available == pytest.approx(85 / 95)
    assert timeline.available_of_all == pytest.approx(0.85)


def test_an_outage_is_unplanned_unless_somebody_asked() -> None:
    """What monitors saw down, as one outage, with its reasons in order."""
    rows = [
        Interval(0, 10 * S, UP),
        Interval(10 * S, 15 * S, DOWN, "refused"),
        Interval(15 * S, 20 * S, DOWN, "timeout"),
        Interval(20 * S, 100 * S, UP),
    ]
    (outage,) = drawn(rows).outages
    assert (outage.from_us, outage.to_us, outage.planned) == (10 * S, 20 * S, False)
    assert outage.reasons == ("refused", "timeout")


def test_a_stop_on_purpose_is_a_planned_outage() -> None:
    """The monitor stops with the service; its start, and first probes that come too early, belong to it."""
    turns = [Turn(0, "a", started=True), Turn(30 * S, "a", started=False), Turn(60 * S, "a", started=True)]
    timeline = drawn(lane((0, 29, UP), (29, 62, UNKNOWN), (62, 67, DOWN), (67, 100, UP)), turns=turns)
    assert told(timeline) == [
        (0, 29, "up", "", False),
        (29, 30, "unknown", "why", False),
        (30, 60, "down", STOPPED, True),
        (60, 62, "unknown", "why", False),
        (62, 67, "down", "why", True),
        (67, 100, "up", "", False),
    ]
    (outage,) = timeline.outages
    assert (outage.from_us, outage.to_us, outage.planned) == (30 * S, 67 * S, True)


def test_a_sudden_end_is_an_unplanned_outage() -> None:
    """A start without a stop: from the last that anybody saw until the start, nobody was there."""
    turns = [Turn(0, "a", started=True), Turn(60 * S, "a", started=True)]
    timeline = drawn(lane((1, 29, UP), (61, 100, UP)), turns=turns)
    assert told(timeline)[2] == (29, 60, "down", DIED, False)
    (outage,) = timeline.outages
    assert (outage.from_us, outage.to_us, outage.planned, outage.reasons) == (29 * S, 60 * S, False, (DIED,))


def test_a_start_that_never_works_is_no_part_of_the_plan() -> None:
    """What is still down a minute after the start was not asked for, so the whole outage was not."""
    turns = [Turn(0, "a", started=True), Turn(10 * S, "a", started=False), Turn(20 * S, "a", started=True)]
    timeline = drawn(lane((0, 10, UP), (21, 99, DOWN)), turns=turns)
    assert [(a, b, planned) for a, b, state, _, planned in told(timeline) if state == "down"] == [
        (10, 20, True),
        (21, 80, True),
        (80, 99, False),
    ]
    assert [outage.planned for outage in timeline.outages] == [False]


def test_what_was_seen_to_work_was_not_away() -> None:
    """One host of two stops: the monitors still see votes taken, or know nothing, but not an outage."""
    turns = [Turn(0, "a", started=True), Turn(0, "b", started=True), Turn(30 * S, "a", started=False)]
    timeline = drawn(lane((0, 80, UP)), turns=turns)
    assert timeline.outages == ()
    assert told(timeline)[-1] == (80, 100, "unknown", NOT_LOOKED, False)


def test_the_last_host_that_stops_ends_the_service() -> None:
    """Both were asked: planned. One died: not."""
    turns = [
        Turn(0, "a", started=True),
        Turn(0, "b", started=True),
        Turn(30 * S, "a", started=False),
        Turn(80 * S, "b", started=False),
    ]
    (outage,) = drawn(lane((0, 80, UP)), turns=turns).outages
    assert (outage.from_us, outage.planned) == (80 * S, True)
    turns[3] = Turn(80 * S, "b", started=False, asked=False)
    (outage,) = drawn(lane((0, 80, UP)), turns=turns).outages
    assert not outage.planned


def test_long_silence_parts_two_outages() -> None:
    """Nobody knows what was in between, so it is not called an outage."""
    timeline = drawn(lane((0, 10, DOWN), (75, 80, DOWN)))
    assert [(each.from_us // S, each.to_us // S) for each in timeline.outages] == [(0, 10), (75, 80)]


intervals = st.lists(
    st.tuples(st.integers(0, 120), st.integers(1, 40), st.sampled_from(State)), max_size=12
).map(lambda rows: [Interval(a * S, (a + n) * S, state) for a, n, state in rows])
histories = st.lists(
    st.builds(
        Turn, st.integers(0, 130).map(lambda s: s * S), st.sampled_from("ab"), st.booleans(), st.booleans()
    ),
    max_size=8,
)


@given(st.lists(intervals, max_size=3), histories)
def test_every_moment_has_one_state(lanes: list[list[Interval]], turns: list[Turn]) -> None:
    """No gap, no overlap, sums that add up; never up where no monitor said so."""
    timeline = drawn(*lanes, turns=turns)
    edges = [timeline.from_us, *(edge for s in timeline.stretches for edge in (s.from_us, s.to_us))]
    assert all(a.to_us == b.from_us for a, b in pairwise(timeline.stretches))
    assert (edges[0], edges[-1]) == (timeline.stretches[0].from_us, 100 * S)
    assert sum(timeline.length_us.values()) == 100 * S
    for stretch in timeline.stretches:
        assert stretch.from_us < stretch.to_us
        if stretch.state in {UP, SLOW}:
            assert witnessed(stretch, lanes)


def witnessed(stretch: Stretch, lanes: list[list[Interval]]) -> bool:
    """Whether each moment of it was seen in that state by some monitor, and down by none."""
    seen = [each for rows in lanes for each in rows]
    for moment in range(stretch.from_us, stretch.to_us, S):
        states = {each.state for each in seen if each.started_us <= moment < each.ended_us}
        if stretch.state not in states or DOWN in states:
            return False
    return True
