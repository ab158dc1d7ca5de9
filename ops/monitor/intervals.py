"""Probes in, intervals out: without overlap, without gap, and never `up` for time nobody looked at.

Pure: no clock of its own. A probe's verdict holds from the probe's start to the next probe's start. When no
probe follows within two periods the verdict holds only as far as it was observed, and the rest is `unknown`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

MONITOR_STOPPED = "the monitor was not running"
PROBES_MISSED = "no probe was made"
#: A quiet month is not one interval, written down when it ends: voterdb has every ten minutes of it.
LENGTH_US_MAX = 600_000_000


class State(enum.Enum):
    """What a voter would have found. The values are those of `ballot.availability.state`."""

    UP = "up"
    SLOW = "slow"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to vote: when it began, when its verdict was in, and what it showed."""

    started_us: int
    ended_us: int
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in one state, `started_us` included, `ended_us` not."""

    started_us: int
    ended_us: int
    state: State
    reason: str = ""


class Tracker:
    """Turns verdicts, fed in the order the probes began, into intervals.

    `open` is the interval still growing; its `ended_us` is how far it has been observed. Whoever keeps it on
    disk and hands it back as `restored` after a kill loses as `unknown` what came after it, and no more.
    """

    def __init__(self, *, period_us: int, restored: Interval | None = None) -> None:
        if period_us <= 0:
            raise ValueError("the period must be positive")
        self._period_us = period_us
        self._last_started_us: int | None = None
        self.open = restored

    def feed(self, probe: Probe) -> list[Interval]:
        """Take one verdict and return the intervals it brought to an end, oldest first."""
        closed: list[Interval] = []
        start_us = probe.started_us
        if self.open is not None:
            # A clock set back cannot reopen time already accounted for.
            start_us = max(start_us, self.open.ended_us)
            closed = self._reach(self.open, start_us)
        self._last_started_us = start_us
        observed_us = max(start_us, min(probe.ended_us, start_us + self._period_us))
        closed += self._continue(Interval(start_us, observed_us, probe.state, probe.reason))
        return closed

    def stop(self) -> list[Interval]:
        """End the open interval where observation ended; what follows is `unknown` until the next start."""
        if self.open is None:
            return []
        return self._continue(
            Interval(self.open.ended_us, self.open.ended_us, State.UNKNOWN, MONITOR_STOPPED),
        )

    def _reach(self, current: Interval, start_us: int) -> list[Interval]:
        """Bring the open interval up to `start_us`: by its own state, or by `unknown` across a gap."""
        last_us = self._last_started_us
        if last_us is not None and start_us - last_us <= 2 * self._period_us:
            self.open = replace(current, ended_us=start_us)
            return []
        reason = MONITOR_STOPPED if last_us is None else PROBES_MISSED
        return self._continue(Interval(current.ended_us, start_us, State.UNKNOWN, reason))

    def _continue(self, following: Interval) -> list[Interval]:
        """Append `following`, which begins where the open interval ends, as one with its equal."""
        current = self.open
        if (
            current is not None
            and (current.state, current.reason) == (following.state, following.reason)
            and current.ended_us - current.started_us < LENGTH_US_MAX
        ):
            self.open = replace(current, ended_us=following.ended_us)
            return []
        self.open = following
        return [current] if current is not None and current.ended_us > current.started_us else []
