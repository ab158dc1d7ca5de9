"""Whether a backup still gets on, felt by another thread: one that a target keeps waiting cannot say so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from runtime import logs

if TYPE_CHECKING:
    from ops.backup.keys import What

STUCK_S: Final = 180.0
"""Longer than bringing a large backup to a slow disk takes."""
SAY_AGAIN_S: Final = 300.0
log = logs.get("backup")


class Pulse:
    """Beats while something is done at the target; rests while nothing is, or others are waited for."""

    def __init__(self, what: What) -> None:
        self._what = what
        self._at: float | None = None
        self._said_at: float | None = None

    def beat(self) -> None:
        """Something was done just now."""
        self._at = time.monotonic()

    def rest(self) -> None:
        """Nothing is being done."""
        self._at = None

    @property
    def resting(self) -> bool:
        """Whether nothing is being done."""
        return self._at is None

    def watch(self) -> None:
        """Raise an alarm, and again every five minutes, while nothing gets on."""
        at, now = self._at, time.monotonic()
        if at is None or now - at <= STUCK_S:
            return
        if self._said_at is None or now - self._said_at >= SAY_AGAIN_S:
            self._said_at = now
            log.alarm("backup_stuck", what=self._what, seconds=round(now - at))
