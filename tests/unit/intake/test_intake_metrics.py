"""Counting in plain integers ends in the same numbers as counting in Prometheus' own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from intake import metrics
from intake.metrics import Outcomes, Spread
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    import pytest


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


class Full(Outcomes):
    """Outcomes whose file has no room until it has been asked `times`."""

    def __init__(self, times: int) -> None:
        super().__init__("test_intake_full", "A test's.")
        self.times = times

    def flush(self) -> None:
        """Fail as a full disk does."""
        self.times -= 1
        if self.times >= 0:
            raise OSError(28, "No space left on device")
        super().flush()


async def test_a_flush_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are still written, this one later, once; and stopping raises nothing."""
    full, beside = Full(3), Outcomes("test_intake_beside", "A test's.")
    monkeypatch.setattr(metrics, "VOTES", full)
    monkeypatch.setattr(metrics, "ACCESS", beside)
    full.count("accepted")
    beside.count("ready")

    task = asyncio.create_task(metrics.flush_forever(ManualClock()))
    for _ in range(3):  # it starts, then flushes once each time it gets its turn
        await asyncio.sleep(0)
    assert full.times > 0
    assert REGISTRY.get_sample_value("test_intake_beside_total", {"outcome": "ready"}) == 1
    for _ in range(5):
        await asyncio.sleep(0)
    assert full.times < 0
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert REGISTRY.get_sample_value("test_intake_full_total", {"outcome": "accepted"}) == 1


def test_an_outcome_that_cannot_be_written_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added as soon as it can be, and the others not a second time."""
    counted = Outcomes("test_intake_one_full", "A test's.")
    labels = counted._shared.labels

    def full(outcome: str) -> object:
        if outcome == "new":
            raise OSError(28, "No space left on device")
        return labels(outcome)

    for outcome in ("new", "accepted"):
        counted.count(outcome)
    with monkeypatch.context() as patched:
        patched.setattr(counted._shared, "labels", full)
        for _ in range(2):
            with suppress(OSError):
                counted.flush()
        assert REGISTRY.get_sample_value("test_intake_one_full_total", {"outcome": "accepted"}) == 1
    counted.flush()

    for outcome in ("new", "accepted"):
        assert REGISTRY.get_sample_value("test_intake_one_full_total", {"outcome": outcome}) == 1
