"""The clock of the open loop: late because nobody was there is one thing, late because all waited another."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from loadtests.crowds import openloop
from loadtests.crowds.line import Line
from loadtests.crowds.openloop import Job, OpenLoop
from loadtests.crowds.timetable import Kind


class Stepped:
    """Time that passes only while somebody sleeps; what `run_callback` is given is done at once."""

    def __init__(self, then: Callable[[float], None]) -> None:
        self.now_s = 100.0
        self._then = then
        self.loop = self

    def monotonic(self) -> float:
        """The time."""
        return self.now_s

    process_time = monotonic

    def sleep(self, seconds: float) -> None:
        """It passes."""
        self.now_s += seconds
        self._then(self.now_s - 100.0)

    def get_hub(self) -> "Stepped":
        """It is its own."""
        return self

    def run_callback(self, done: Callable[..., None], *arguments: object) -> None:
        """At once."""
        done(*arguments)


class Sent(SimpleNamespace):
    """Notes what a user was handed; None is the end."""

    def switch(self, handed: tuple[Job, bool] | None) -> None:
        """Here it is."""
        if handed is not None:
            self.handed.append(handed)


def job(at_s: float, row: int) -> Job:
    """A vote at that moment."""
    return (at_s, row, row, 0, 0, 0, 10, 1)


@pytest.mark.parametrize(
    ("free_again_s", "enough", "there_s", "waited"),
    [
        (0.0, True, 0.0, [False, False]),
        (8.0, True, 0.0, [False, True]),
        (8.0, False, 0.0, [False, False]),
        (0.0, True, 16.0, [False, False]),
        (8.0, True, 16.0, [False, False]),
    ],
    ids=["at once", "hangs", "too few users", "not there yet", "not there yet, then hangs"],
)
def test_all_users_waiting_is_told_from_being_late(
    monkeypatch: pytest.MonkeyPatch, free_again_s: float, enough: bool, there_s: float, waited: list[bool]
) -> None:
    """One user, two votes: the second finds nobody free only if the first has no answer yet.

    With fewer users than were asked for, or while they are not there yet, nothing is excused.
    """
    handed: list[tuple[Job, bool]] = []
    user = Sent(handed=handed)
    loop = object.__new__(OpenLoop)
    ledger = SimpleNamespace(plan=lambda _at_s: None, lagged=lambda _now_s, _lag_s: None)
    fields = {
        "_idle": [],
        "_retries": [],
        "_going_on": 0,
        "_ledger": ledger,
        "_nobody_free_s": -1.0,
        "_enough": enough,
        "_lines": [],
        "_users": 1,
        "_all_there_s": math.inf,
    }
    for name, value in {**fields, "_start_s": 100.0, "_rows": [], "_settled": bytearray(2)}.items():
        setattr(loop, name, value)
    monkeypatch.setattr(loop, "_planned", lambda: iter([job(1.0, 0), job(2.0, 1)]))
    monkeypatch.setattr(loop, "_flush", lambda _now_s: None)

    def answered(now_s: float) -> None:
        if now_s >= there_s and not loop._lines:
            loop._lines.append(object.__new__(Line))
            loop._idle.append(user)
        if handed and not loop._idle and now_s >= max(there_s, handed[-1][0][0]) + free_again_s:
            loop._going_on -= 1
            loop._idle.append(user)

    clock = Stepped(answered)
    monkeypatch.setattr(openloop, "gevent", clock)
    monkeypatch.setattr(openloop, "time", clock)

    answered(0.0)
    loop.run(goes_on=lambda: clock.now_s < 200)

    assert [late for _, late in handed] == waited


def test_what_a_run_that_is_broken_off_never_sent_is_planned_all_the_same() -> None:
    """Nobody else would count it; a repeat of a vote that was never taken is no request."""
    planned: list[float] = []
    loop = object.__new__(OpenLoop)
    ledger = SimpleNamespace(plan=planned.append)
    for name, value in {"_ledger": ledger, "_settled": bytearray(4)}.items():
        setattr(loop, name, value)
    again: Job = (4.0, 3, 3, 0, int(Kind.AGAIN), 0, 10, 1)

    loop._never_sent([job(2.0, 1), job(3.0, 2), again])

    assert planned == [2.0, 3.0]


def test_a_run_that_is_broken_off_counts_what_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the loop itself: two votes were due, nobody was there to send them."""
    planned: list[float] = []
    loop = object.__new__(OpenLoop)
    ledger = SimpleNamespace(plan=planned.append, lagged=lambda _now_s, _lag_s: None)
    fields = {"_idle": [], "_retries": [], "_going_on": 0, "_ledger": ledger, "_settled": bytearray(2)}
    fields |= {"_lines": [], "_users": 1, "_all_there_s": math.inf}
    for name, value in {**fields, "_start_s": 100.0, "_nobody_free_s": -1.0}.items():
        setattr(loop, name, value)
    monkeypatch.setattr(loop, "_planned", lambda: iter([job(1.0, 0), job(2.0, 1)]))
    monkeypatch.setattr(loop, "_flush", lambda _now_s: None)
    clock = Stepped(lambda _now_s: None)
    monkeypatch.setattr(openloop, "gevent", clock)
    monkeypatch.setattr(openloop, "time", clock)

    loop.run(goes_on=lambda: clock.now_s < 103)

    assert planned == [1.0, 2.0]


def test_a_process_that_comes_late_to_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is due and nobody is late; but an answer of that moment was read 300 ms after it came."""
    lags: list[float] = []
    loop = object.__new__(OpenLoop)
    ledger = SimpleNamespace(lagged=lambda _now_s, lag_s: lags.append(lag_s))
    fields = {"_idle": [], "_retries": [], "_going_on": 1, "_ledger": ledger}
    fields |= {"_lines": [], "_users": 1, "_all_there_s": math.inf}
    for name, value in {**fields, "_start_s": 100.0, "_nobody_free_s": -1.0}.items():
        setattr(loop, name, value)
    monkeypatch.setattr(loop, "_planned", lambda: iter([]))
    monkeypatch.setattr(loop, "_flush", lambda _now_s: None)
    clock = Stepped(lambda now_s: setattr(clock, "now_s", clock.now_s + 0.3) if 1 < now_s < 1.3 else None)
    monkeypatch.setattr(openloop, "gevent", clock)
    monkeypatch.setattr(openloop, "time", clock)

    loop.run(goes_on=lambda: clock.now_s < 102)

    assert max(lags) == pytest.approx(0.3)
    assert sum(lag > 0.01 for lag in lags) == 1


def test_wrong_codes_go_round_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address has few of them, while votes go to whoever was last busy."""
    devices = openloop.WRONG_AMONG + 20
    counts = [[0, 0] for _ in range(devices)]
    loop = object.__new__(OpenLoop)
    fields = {
        "_ledger": SimpleNamespace(plan=lambda _at_s: None),
        "_settled": bytearray(4),
        "_all_there_s": 0.0,
    }
    for name, value in {**fields, "_going_on": 0, "_enough": True, "_nobody_free_s": -1.0}.items():
        setattr(loop, name, value)

    class Device:
        """Counts votes and wrong codes, and is idle again at once."""

        def __init__(self, number: int) -> None:
            self.number = number

        def switch(self, handed: tuple[Job, bool]) -> None:
            """Here it is."""
            counts[self.number][handed[0][4] == Kind.FOREIGN] += 1
            loop._idle.append(self)

    loop._idle = [Device(number) for number in range(devices)]
    monkeypatch.setattr(openloop, "gevent", Stepped(lambda _now_s: None))
    wrong: Job = (1.0, 1, 1, 0, int(Kind.FOREIGN), 0, 10, 1)
    for _ in range(10 * openloop.WRONG_AMONG):
        loop._hand_over(wrong)
    assert max(of_wrong for _, of_wrong in counts) <= 10
    for _ in range(50):
        loop._hand_over(job(2.0, 2))
    assert max(votes for votes, _ in counts) == 50


def test_what_goes_again_was_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try is sent, but nobody foresaw it: it is no arrival."""
    planned: list[float] = []
    loop = object.__new__(OpenLoop)
    user = Sent(handed=[])
    fields = {"_ledger": SimpleNamespace(plan=planned.append), "_all_there_s": 0.0, "_nobody_free_s": -1.0}
    fields |= {"_going_on": 0, "_enough": True, "_idle": [user, user]}
    for name, value in fields.items():
        setattr(loop, name, value)
    monkeypatch.setattr(openloop, "gevent", Stepped(lambda _now_s: None))

    loop._hand_over(job(1.0, 0))
    loop._hand_over((9.0, *job(1.0, 0)[1:7], 2))

    assert planned == [1.0]
    assert len(user.handed) == 2
