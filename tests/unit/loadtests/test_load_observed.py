"""Looks become intervals that never claim time nobody looked at, and lose none that somebody did."""

import pytest

from loadtests.outside.observed import (
    DOWN,
    NOT_LOOKED,
    SLOW,
    UNKNOWN,
    UP,
    Interval,
    Look,
    fewer,
    from_looks,
    merged,
    shares,
    within,
)

S = 1_000_000


def look(at: float, state: str = UP, *, took: float = 0.1) -> Look:
    """One look at second `at`."""
    return Look(int(at * S), int((at + took) * S), state, "" if state == UP else "why")


def test_a_look_holds_until_the_next() -> None:
    """Verdicts join up, whatever order they came in, and equal neighbours are one interval."""
    found = from_looks([look(2, DOWN), look(0), look(1), look(3)], period_us=S)
    assert found == [
        Interval(0, 2 * S, UP),
        Interval(2 * S, 3 * S, DOWN, "why"),
        Interval(3 * S, 3 * S + S // 10, UP),
    ]


def test_time_without_a_look_is_unknown() -> None:
    """A look claims as much as it watched and no more when none followed within two periods."""
    found = from_looks([look(0, took=0.4), look(5, took=9.0)], period_us=S)
    assert found == [
        Interval(0, 400_000, UP),
        Interval(400_000, 5 * S, UNKNOWN, NOT_LOOKED),
        Interval(5 * S, 6 * S, UP),
    ]


def test_a_clock_set_back_makes_no_negative_interval() -> None:
    """Two looks at one instant, and a verdict before its own beginning, leave only sound intervals."""
    found = from_looks([look(1), look(1, DOWN), Look(2 * S, S, UP)], period_us=S)
    assert all(each.from_us < each.to_us for each in found)
    assert [each.state for each in found] == [DOWN]


def test_a_window_is_covered_without_a_gap() -> None:
    """Clipped to a window, every instant has a state, and none has two."""
    seen = [Interval(0, 4, UP), Interval(3, 6, DOWN), Interval(8, 9, SLOW)]
    found = within(seen, 1, 12)
    assert found == [
        Interval(1, 4, UP),
        Interval(4, 6, DOWN),
        Interval(6, 8, UNKNOWN, NOT_LOOKED),
        Interval(8, 9, SLOW),
        Interval(9, 12, UNKNOWN, NOT_LOOKED),
    ]
    assert within([], 1, 2) == [Interval(1, 2, UNKNOWN, NOT_LOOKED)]


def test_too_many_are_told_as_fewer() -> None:
    """Short gaps between equal sightings close before anything is cut; a change of state never closes."""
    thin = [
        Interval(second * S, (second + 1) * S, UNKNOWN if second % 2 else UP, "") for second in range(100)
    ]
    assert fewer(thin, 200) == thin
    assert fewer(thin, 2) == [Interval(0, 99 * S, UP), thin[99]]
    outage = [*thin[:50], Interval(50 * S, 51 * S, DOWN, "why"), *thin[51:]]
    assert [each.state for each in fewer(outage, 6)] == [UP, UNKNOWN, DOWN, UNKNOWN, UP, UNKNOWN]
    assert len(fewer(outage, 3)) == 3


def test_shares_count_unknown_as_neither() -> None:
    """The share in which votes were taken is of the time that was looked at, which is told beside it."""
    seen = [Interval(0, 6, UP), Interval(6, 7, SLOW), Interval(7, 8, DOWN), Interval(8, 16, UNKNOWN)]
    assert shares(seen) == (7 / 8, 0.5)
    assert shares([Interval(0, 5, UNKNOWN)]) == (None, 0.0)
    assert shares([]) == (None, 0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        None,
        {"from_us": 2, "to_us": 1, "state": "up", "reason": ""},
        {"from_us": 1, "to_us": 2, "state": "fine", "reason": ""},
    ],
)
def test_what_is_no_interval_is_not_read_as_one(fields: object) -> None:
    """A file that somebody else wrote is checked."""
    with pytest.raises(ValueError, match="interval"):
        Interval.from_json(fields)


def test_an_interval_survives_its_file() -> None:
    """Written and read, it is the same; merging what is merged changes nothing."""
    kept = [Interval(1, 2, DOWN, "http 503"), Interval(2, 3, DOWN, "timeout")]
    assert [Interval.from_json(each.as_json()) for each in kept] == merged(kept) == kept
