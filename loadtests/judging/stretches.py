"""The votes of a run, and what else went on when each was first sent: no excuse is larger than its stretch.

A fault and a capped line have a stretch each, their recovery included, and each is judged by itself. Only
what the run did to stop votes may stop them: a capped line, and a fault of which its own mark says
`expects_down`. Whatever else was killed, votes are taken meanwhile.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.crowds.casts import Casts

US: Final = 1_000_000
MINUTE_S: Final = 60

RECOVERY_S: Final = 30.0
"""So long after a fault or a capped line voters may still not get through."""

ON_THE_LINE: Final = frozenset({"cap"})
Mark = Mapping[str, Any]
Some = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Who first sent a vote during one fault or capped line, or until it must be over."""

    name: str
    some: Some


def stops(mark: Mark) -> bool:
    """Whether that mark is of something the run did to stop votes; one that does not say so is not."""
    return _on_the_line(mark) or (mark.get("kind") == "fault" and _told(mark).get("expects_down") is True)


class Ground:
    """The votes of a run, and which of them met what."""

    def __init__(self, votes: Casts, marks: Sequence[Mark], start_us: int) -> None:
        self.votes = votes
        self._start_us = start_us
        overlays = [mark for mark in marks if mark.get("kind") == "overlay"]
        apart = [mark for mark in marks if mark.get("kind") == "fault" or _on_the_line(mark)]
        real = [mark for mark in marks if mark.get("kind") == "window" and _told(mark).get("factor") == 1]
        self.names = {str(mark["name"]) for mark in overlays}
        self.stopping = [self._stretch(mark) for mark in apart if stops(mark)]
        self.stopped = self._any(self.stopping)
        self.shaking = [self._stretch(mark, but=self.stopped) for mark in apart if not stops(mark)]
        self.shaken = self._any(self.shaking)
        self.beside = self._within(overlays) | self.stopped | self.shaken
        self.real = self._within(real) if real else np.ones(len(votes), np.bool_)
        self.windows = [self._within([mark]) for mark in real]

    def _stretch(self, mark: Mark, *, but: Some | None = None) -> Stretch:
        met = self._within([mark], after_s=RECOVERY_S)
        return Stretch(str(mark["name"]), met if but is None else met & ~but)

    def _any(self, stretches: Iterable[Stretch]) -> Some:
        met = np.zeros(len(self.votes), np.bool_)
        for stretch in stretches:
            met |= stretch.some
        return met

    def _within(self, marks: Sequence[Mark], *, after_s: float = 0.0) -> Some:
        """Which votes' first attempt met one of these stretches of time."""
        from_s, to_s = self.votes["at_s"], np.maximum(self.votes["answered_s"], self.votes["at_s"])
        met = np.zeros(len(from_s), np.bool_)
        for mark in marks:
            begins_s = (mark["from_us"] - self._start_us) / US
            ends_s = (mark["to_us"] - self._start_us) / US + after_s
            met |= (from_s <= ends_s) & (to_s >= begins_s)
        return met


def _on_the_line(mark: Mark) -> bool:
    return mark.get("kind") == "overlay" and mark.get("name") in ON_THE_LINE


def _told(mark: Mark) -> Mark:
    told = mark.get("told")
    return told if isinstance(told, dict) else {}


def busiest(votes: Casts) -> Casts:
    """Those of the minute with most votes; votes are in the order of their moments."""
    if not len(votes):
        return votes
    ends = np.searchsorted(votes["at_s"], votes["at_s"] + MINUTE_S)
    begins = int(np.argmax(ends - np.arange(len(votes))))
    return votes[begins : ends[begins]]


def quantile(values: NDArray[np.float64], share: float) -> float:
    """The value within which `share` of them lie, exactly."""
    return float(np.sort(values)[max(1, math.ceil(share * len(values) - 1e-9)) - 1])
