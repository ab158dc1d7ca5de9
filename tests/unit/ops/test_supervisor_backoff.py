"""Back-off: quick at first, never longer than five seconds, forgotten after health."""

from ops.backoff import Backoff


def test_it_doubles_to_five_seconds() -> None:
    """A process that dies at once is started ever less often, but at least every five seconds."""
    backoff = Backoff()

    assert [backoff.after_death(0.0) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_ten_seconds_of_health_forget_the_past() -> None:
    """A process that ran well is restarted within a second again."""
    backoff = Backoff()
    for _ in range(5):
        backoff.after_death(0.0)

    assert backoff.after_death(10.0) < 1.0
    assert backoff.after_death(0.0) == 0.4
