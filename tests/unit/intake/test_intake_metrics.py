"""Counting in plain integers ends in the same numbers as counting in Prometheus' own."""

from prometheus_client import REGISTRY

from intake.metrics import Outcomes, Spread


def test_outcomes_are_added_once() -> None:
    """What was counted shows after a flush, and the next flush adds only what came since."""
    counted = Outcomes("test_intake_outcomes", "A test's.")

    for _ in range(2):
        counted.count("accepted")
        counted.flush()
    counted.flush()

    assert REGISTRY.get_sample_value("test_intake_outcomes_total", {"outcome": "accepted"}) == 2


def test_a_spread_is_a_histogram() -> None:
    """Each value is at most its bucket's bound; the sum and the count are those of all values."""
    spread = Spread("test_intake_spread", "A test's.", (1, 2, 4))

    for value in (0.5, 1, 1.5, 4, 9):
        spread.observe(value)
        spread.flush()

    found = [
        REGISTRY.get_sample_value("test_intake_spread_bucket", {"le": bound})
        for bound in ("1.0", "2.0", "4.0", "+Inf")
    ]
    assert found == [2, 3, 4, 5]
    assert REGISTRY.get_sample_value("test_intake_spread_sum") == 16
