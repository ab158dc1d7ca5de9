"""Throttling: only after the bound, only that address, only that minute, and bounded itself."""

import sys

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


def test_who_is_over_the_bound_is_known_for_this_minute_and_the_next() -> None:
    """Asking counts nothing; who goes on stays throttled, who stops is free in two minutes."""
    clock = ManualClock()
    counted = Failures(per_minute=2, clock=clock)
    for _ in range(2):
        counted.exceeded("2001:db8::1")
        assert not counted.throttled("2001:db8::1")
    assert counted.exceeded("2001:db8::2")
    assert counted.throttled("2001:db8::3")
    assert not counted.throttled("192.0.2.2")

    clock.advance(60)
    assert counted.throttled("2001:db8::1")
    assert not counted.exceeded("2001:db8::1")
    clock.advance(60)
    assert not counted.throttled("2001:db8::1")


def test_after_a_quiet_time_nobody_is_throttled() -> None:
    """Two minutes without a refusal: what was before them is no longer looked at."""
    clock = ManualClock()
    counted = Failures(per_minute=1, clock=clock)
    for _ in range(2):
        counted.exceeded("192.0.2.1")
    assert counted.throttled("192.0.2.1")

    clock.advance(120)

    assert not counted.throttled("192.0.2.1")


def test_a_full_table_throttles_nobody_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not counted is never over the bound."""
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 1)
    counted = Failures(per_minute=1, clock=ManualClock())
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"):
        counted.exceeded(address)

    assert not counted.throttled("192.0.2.2")


def test_a_full_table_fails_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand addresses at once never grow the table past its bound, and those counted stay counted."""
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 2)
    counted = Failures(per_minute=1, clock=ManualClock())
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3"):
        assert not counted.exceeded(address)

    assert counted.exceeded("192.0.2.1")
    assert not counted.exceeded("192.0.2.3")


def test_a_full_table_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the log learns that addresses go uncounted, in one line however many there are."""
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 2)
    clock = ManualClock()
    counted = Failures(per_minute=1, clock=clock)
    for _ in range(2):
        for number in range(10):
            counted.exceeded(f"192.0.2.{number}")
        clock.advance(60)

    assert capfd.readouterr().err.count("table of failures full") == 2


def test_the_table_s_memory_is_bounded() -> None:
    """More addresses than it may hold, IPv4 and IPv6 networks, take no more than the stated ten megabytes."""
    counted = Failures(per_minute=1, clock=ManualClock())
    for number in range(1_000):
        counted.exceeded(f"2001:db8:ffff:{number:x}::1")
    for number in range(failures.ADDRESSES_MAX):
        counted.exceeded(f"198.51.{number >> 8}.{number & 255}")

    table = counted._counts
    held = sys.getsizeof(table) + sum(sys.getsizeof(key) + sys.getsizeof(table[key]) for key in table)
    assert len(table) == failures.ADDRESSES_MAX
    assert held < 10 * 2**20
    assert counted.exceeded("198.51.0.1")
