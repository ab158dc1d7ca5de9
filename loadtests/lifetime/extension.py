"""The close is put off while people vote: the desk moves it shortly before it would have come."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from loadtests.lifetime import many
from loadtests.lifetime.poll import Poll
from loadtests.staging.aside import Aside
from loadtests.staging.kept import US, now_us
from loadtests.staging.stage import StageFault

FILE: Final = "extension.json"
BEFORE_S: Final = 60.0
SHARE_MAX: Final = 0.5
"""So long before the first close is the later one announced, at most half of the time that is left to it: in
the siege that is in the middle of its faults, for who puts a close off does it because something is wrong."""


class Extension(Aside):
    """While the block lasts, waits for the moment and moves the close of all `polls` to the last one."""

    def __init__(
        self,
        polls: Sequence[Poll],
        first_us: int,
        last_us: int,
        *,
        write: Callable[[str, Any], None],
        before_s: float = BEFORE_S,
    ) -> None:
        self._polls = polls
        self._first_us, self._last_us = first_us, last_us
        self._write = write
        self._before_s = before_s
        super().__init__("extension")

    def _work(self) -> None:
        """Wait, announce it, and keep what came of it."""
        left_s = (self._first_us - now_us()) / US
        if self._stop.wait(max(0.0, left_s - min(self._before_s, left_s * SHARE_MAX))):
            return
        told: dict[str, Any] = {"first_us": self._first_us, "last_us": self._last_us, "asked_us": now_us()}
        try:
            many.extend(self._polls, self._last_us)
        except StageFault as fault:
            told["wrong"] = str(fault)
        self._write(FILE, told | {"done_us": now_us()})
