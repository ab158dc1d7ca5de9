"""What must hold of the real voters of a run: that they got their receipts, and how long they waited.

From `casts.npz`: a wait counts from the moment a vote was first to be sent, over all attempts, and whoever
got no receipt waits for ever. What else goes on excuses only who came meanwhile, by name, and never all.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.crowds import casts
from loadtests.crowds.casts import Casts
from loadtests.crowds.timetable import Kind
from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.report.reading import RunDirectory
from loadtests.voting.voter import TRANSIENT

CAST_S_MAX: Final = 1.0
CAST_BESIDE_S_MAX: Final = 5.0
LATE_S_MAX: Final = 0.1
SHARE: Final = 0.99
MINUTE_S: Final = 60
US: Final = 1_000_000

RECOVERY_S: Final = 30.0
"""So long after a fault or a capped line voters may still not get through."""

BESIDE_SHARE_MIN: Final = 0.99
STOPPED_SHARE_MIN: Final = 0.5
"""How many must hold a receipt of those who came under an overlay, and of those who came while a part was
killed or the line capped, its recovery included: they come again for as long as people do."""

ON_THE_LINE: Final = frozenset({"cap"})
STOPPING: Final = "a fault or a capped line"
BURST: Final = "burst"
WAIT: Final = "p99 of a cast at the peak minute"
HOLD: Final = "voters who sent a vote hold a receipt"

Marks = Sequence[Mapping[str, Any]]
Some = NDArray[np.bool_]


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Every judgement on voters."""
    votes = casts.load(run.path(casts.FILE))
    told = run.table("run.json")
    if votes is None or not isinstance(told.get("start_us"), int):
        yield not_recorded(HOLD, "every one")
        yield not_recorded(WAIT, f"<= {CAST_S_MAX:g} s", weight=Weight.FAILS_ON_TIME)
        return
    ground = Ground(votes, list(run.lines("marks.jsonl")), told["start_us"])
    if told.get("only") == BURST:
        yield goodput(votes, told.get(BURST))
    else:
        yield from hold(ground)
        if not ground.names and not told.get("overlays"):
            yield at_once(votes)
        yield from waits(ground)
    yield in_time(ground)


class Ground:
    """The votes of a run, and which of them were sent for the first time while what else went on."""

    def __init__(self, votes: Casts, marks: Marks, start_us: int) -> None:
        self.votes = votes
        self._start_us = start_us
        overlays = [mark for mark in marks if mark.get("kind") == "overlay"]
        faults = [mark for mark in marks if mark.get("kind") == "fault"]
        lines = [mark for mark in overlays if mark["name"] in ON_THE_LINE]
        real = [mark for mark in marks if mark.get("kind") == "window" and mark["told"].get("factor") == 1]
        self.names = {str(mark["name"]) for mark in overlays}
        self.stopped = self._within([*faults, *lines], after_s=RECOVERY_S)
        self.beside = self._within([*overlays, *faults]) | self.stopped
        self.real = self._within(real) if real else np.ones(len(votes), np.bool_)
        self.windows = [self._within([mark]) for mark in real]

    def _within(self, marks: Marks, *, after_s: float = 0.0) -> Some:
        """Which votes' first attempt met one of these stretches of time."""
        from_s, to_s = self.votes["at_s"], np.maximum(self.votes["answered_s"], self.votes["at_s"])
        met = np.zeros(len(from_s), np.bool_)
        for mark in marks:
            begins_s = (mark["from_us"] - self._start_us) / US
            ends_s = (mark["to_us"] - self._start_us) / US + after_s
            met |= (from_s <= ends_s) & (to_s >= begins_s)
        return met


def hold(ground: Ground) -> Iterator[Judgement]:
    """Who sent a vote holds a receipt: everybody, or by what went on when they came, so many of them."""
    voters = ground.votes["kind"] == Kind.CAST
    overlay = ground.beside & ~ground.stopped
    for what, some, share_min in (
        (HOLD, ~ground.beside, 1.0),
        (f"{HOLD}, under an overlay", overlay, BESIDE_SHARE_MIN),
        (f"{HOLD}, during {STOPPING} and {RECOVERY_S:g} s after", ground.stopped, STOPPED_SHARE_MIN),
    ):
        came = ground.votes["held"][voters & some]
        if len(came):
            yield _share(what, came, share_min)


def goodput(votes: Casts, times: Any) -> Judgement:
    """Of so many times the worst second, at least what the worst second itself would be gets through."""
    what = f"{HOLD}, of more than can be taken"
    if not isinstance(times, int | float) or times <= 0:
        return not_recorded(what, "as many as in the worst second")
    return _share(what, votes["held"][votes["kind"] == Kind.CAST], min(1.0, 1 / times))


def _share(what: str, held: Some, share_min: float) -> Judgement:
    got = int(held.sum())
    must = "every one" if share_min == 1 else f"at least {share_min:.0%}"
    found = f"{got:,} of {len(held):,}" + (f", {got / len(held):.2%}" if len(held) else "")
    return Judgement(what, must, found, ok=bool(len(held)) and got >= share_min * len(held))


def at_once(votes: Casts) -> Judgement:
    """With nothing beside it, no vote is refused or left without an answer, even if it gets through later."""
    again = int(np.isin(votes["first"], list(TRANSIENT)).sum())
    return Judgement(
        "every vote is taken when it is first sent",
        "none refused, none without an answer",
        f"{again:,} of {len(votes):,} had to be sent again",
        ok=not again,
        weight=Weight.FAILS_ON_TIME,
    )


def waits(ground: Ground) -> Iterator[Judgement]:
    """How long the slowest in a hundred waited in the busiest minute of real time, and under one overlay."""
    calm = ground.votes[ground.real & ~ground.beside]
    if len(calm) or not ground.beside.any():
        yield _wait(WAIT, calm, CAST_S_MAX)
    name = next(iter(ground.names), "") if len(ground.names) == 1 else ""
    if name:
        some = ground.beside if name in ON_THE_LINE else ground.beside & ~ground.stopped
        under = ground.votes[some]
        if name in ON_THE_LINE:  # who did not get through is judged by how many they are
            under = under[under["held"]]
        yield _wait(f"{WAIT} under {name}", under, CAST_BESIDE_S_MAX)


def _wait(what: str, votes: Casts, s_max: float) -> Judgement:
    must = f"<= {s_max * 1000:,.0f} ms"
    some = busiest(votes[~np.isnan(votes["waited_s"])])
    if not len(some):
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    found_s = quantile(some["waited_s"], SHARE)
    none = int(np.isinf(some["waited_s"]).sum())
    found = f"{found_s * 1000:,.0f} ms" if math.isfinite(found_s) else "no receipt at all"
    found += f", {len(some):,} votes planned in it" + (f", {none:,} without a receipt" if none else "")
    return Judgement(what, must, found, ok=found_s <= s_max, weight=Weight.FAILS_ON_TIME)


def in_time(ground: Ground) -> Judgement:
    """The generator was in time in the minutes that the figures are about, not only in all the others."""
    what = "the generator was in time in the busiest minute and each window"
    must = f"p99 <= {LATE_S_MAX * 1000:g} ms late"
    some = busiest(ground.votes[ground.real])
    if not len(some):
        return not_recorded(what, must, weight=Weight.VOIDS)
    parts = [some, *(ground.votes[window] for window in ground.windows)]
    late_s = max(quantile(part["late_s"], SHARE) for part in parts if len(part))
    found = f"p99 {late_s * 1000:,.0f} ms at most, {len(some):,} votes planned in that minute"
    return Judgement(what, must, found, ok=late_s <= LATE_S_MAX, weight=Weight.VOIDS)


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
