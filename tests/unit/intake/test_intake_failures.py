"""Throttling: only after the bound, only that address, only that minute, and bounded itself."""

import pytest

from intake import failures
from intake.failures import Failures
from tests.manual_clock import ManualClock


def test_only_beyond_the_bound_and_only_that_address() -> None:
    """The bound itself is still allowed; another address is unaffected."""
    counted = Failures(per_minute=3, clock=ManualClock())

    assert [counted.exceeded("192.0.2.1") for _ in range(5)] == [False, False, False, True, True]
    assert not counted.exceeded("192.0.2.2")


def test_a_minute_later_all_is_forgotten() -> None:
    """Nobody is slowed down for longer than the minute."""
    clock = ManualClock()
    counted = Failures(per_minute=1, clock=clock)
    assert [counted.exceeded("192.0.2.1") for _ in range(2)] == [False, True]

    clock.advance(60)

    assert not counted.exceeded("192.0.2.1")


def test_a_full_table_fails_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand addresses at once never grow the table past its bound, and those counted stay counted."""
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 2)
    counted = Failures(per_minute=1, clock=ManualClock())
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3"):
        assert not counted.exceeded(address)

    assert counted.exceeded("192.0.2.1")
    assert not counted.exceeded("192.0.2.3")
