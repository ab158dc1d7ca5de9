"""The state shown between two reads of the gate follows the gate's clock, and never goes back."""

import pytest

from intake.windows import Window

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("latched", "seconds_later", "shown"),
    [
        ("scheduled", 0, "scheduled"),
        ("scheduled", 4.9, "scheduled"),
        ("scheduled", 5.0, "open"),
        ("scheduled", 10.0, "closed"),
        ("open", 0, "open"),
        ("open", 9.9, "open"),
        ("open", 10.0, "closed"),
        ("closed", 0, "closed"),
    ],
)
def test_the_state_follows_the_times(latched: str, seconds_later: float, shown: str) -> None:
    """Opens at five seconds, closes at ten; what the gate has latched stays."""
    window = Window(opens_us=5 * SECOND, closes_us=10 * SECOND, state=latched, now_us=0, read_s=100.0)

    assert window.state_at(100.0 + seconds_later) == shown
