"""How late a generator may be: a hundredth of many requests, a few of a few, none by a second."""

import pytest

from loadtests.crowds import openresult
from loadtests.crowds.buckets import bucket
from loadtests.crowds.lateness import allowed


@pytest.mark.parametrize(
    ("of", "may"), [(0, 0), (1, 1), (3, 2), (12, 6), (40, 10), (999, 10), (1_000, 10), (158_400, 1_584)]
)
def test_so_many_may_be_late(of: int, may: int) -> None:
    """A hundredth of many; of a few at most ten and half."""
    assert allowed(of) == may


@pytest.mark.parametrize(
    ("of", "late", "late_ms", "void"),
    [
        (40, 1, 101.0, False),
        (40, 11, 150.0, True),
        (40, 1, 1_100.0, True),
        (2_000, 20, 150.0, False),
        (2_000, 21, 150.0, True),
        (2_000, 2_000, 99.0, False),
    ],
    ids=["one of few", "many of few", "a second", "a hundredth", "more", "in time"],
)
def test_a_whole_run_is_void_by_the_same_rule(of: int, late: int, late_ms: float, void: bool) -> None:
    """From the histogram that a generator keeps: one of forty is no hundredth of them."""
    generator = {
        "late": {str(bucket(1.0)): of - late, str(bucket(late_ms)): late},
        "late_ms_max": late_ms,
        "sent": of,
        "cpu_share": 0.1,
        "cpu_share_max": 0.2,
        "cpu_us": 50.0,
        "memory_bytes": 1,
        "waited": 0,
        "waited_ms_max": 0.0,
        "odd": [],
        "odd_count": 0,
        "rows": of,
        "all_there_s": -5.0,
        "own_failures": {},
    }
    told = openresult._kept_time({"requests": of, "first_s": 0.0}, [generator])
    assert told["void"] is void, told["void_reasons"]
