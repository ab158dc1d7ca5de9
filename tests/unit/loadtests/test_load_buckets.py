"""Quantiles read from buckets are never below the truth and at most 5 % above it; histograms add up."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.crowds import buckets

TIMES = st.lists(st.floats(min_value=0.1, max_value=1e6), min_size=1, max_size=60)


@given(TIMES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_close_to_the_truth(times: list[float], share: float) -> None:
    """Between the exact one and 5 % above it."""
    held: dict[int, int] = {}
    for time in times:
        held[buckets.bucket(time)] = held.get(buckets.bucket(time), 0) + 1
    exact = sorted(times)[max(1, -int(-share * len(times) // 1)) - 1]

    told = buckets.quantile(held, share)

    assert exact * (1 - 1e-6) <= told <= exact * 1.05 * (1 + 1e-6)


@pytest.mark.parametrize(("milliseconds", "index"), [(0.0, 0), (0.1, 0), (0.105, 1), (0.1051, 2)])
def test_where_a_bucket_ends(milliseconds: float, index: int) -> None:
    """Bucket i ends at 0.1 ms x 1.05^i, which it holds."""
    assert buckets.bucket(milliseconds) == index


def test_nothing_has_a_quantile_of_nothing() -> None:
    """No times, no milliseconds."""
    assert buckets.quantile({}, 0.99) == 0


def test_histograms_survive_json_and_add_up() -> None:
    """What two generators wrote is one histogram again."""
    one, other = {3: 2, 5: 1}, {5: 4}

    whole = buckets.added(buckets.from_json(buckets.as_json(each)) for each in (one, other))

    assert whole == {3: 2, 5: 5}


def test_many_at_once_are_where_each_is() -> None:
    """To the last, in every bucket."""
    some = [*(buckets.upper_ms(index) for index in range(0, buckets.BUCKETS_MAX, 7)), 0.0, 0.1051, 37.2, 1e12]

    assert buckets.bucket_of_each(np.array(some)).tolist() == [buckets.bucket(each) for each in some]


def test_who_waits_for_ever_counts_as_the_slowest() -> None:
    """What lies among them has no end; what lies before is as long as it is."""
    told = {3: 97}

    assert buckets.quantile(told, 0.5, never=3) == buckets.upper_ms(3)
    assert buckets.quantile(told, 0.99, never=3) == math.inf
    assert buckets.quantile({}, 0.5, never=1) == math.inf
