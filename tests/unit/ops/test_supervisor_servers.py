"""Whoever tends the servers goes on, whatever one round of it comes to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ops.supervisor import Supervisor

if TYPE_CHECKING:
    import pytest

WAIT_S = 30.0


class Servers:
    """Fails once in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.asked = 0
        self.again = threading.Event()

    def ensure_running(self) -> tuple[str, ...]:
        """The first time a bug, afterwards all is well."""
        self.asked += 1
        if self.asked == 1:
            raise KeyError("voterdb")
        self.again.set()
        return ()


def test_a_bug_in_one_round_is_loud_and_not_the_last(capfd: pytest.CaptureFixture[str]) -> None:
    """The servers are looked at again after a fault that is ours, which is shown whole."""
    stop, found = threading.Event(), Servers()

    def look() -> None:
        if found.again.is_set():
            stop.set()

    ended = threading.Timer(WAIT_S, stop.set)
    ended.start()
    Supervisor([], found).run(stop, each_round=look)
    ended.cancel()
    assert found.again.is_set()
    told = capfd.readouterr().err
    assert "KeyError: 'voterdb'" in told
    assert "trying again in" in told
