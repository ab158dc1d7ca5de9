"""What must hold of the real voters of a run: that they got their receipts, and how long they waited.

From `casts.npz`: a wait counts from the moment a vote was first to be sent, over all attempts, and whoever
got no receipt waits for ever. What else goes on excuses only who came meanwhile, by name, and never all.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from loadtests.crowds import casts
from loadtests.crowds.casts import Casts
from loadtests.crowds.lateness import FEW, LATE_MS_MAX, MANY, VERY_LATE_MS_MAX, allowed
from loadtests.judging import judged_burst
from loadtests.judging.stretches import ON_THE_LINE, RECOVERY_S, Ground, Some, Stretch, busiest, quantile
from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.report.reading import RunDirectory
from loadtests.voting.voter import TRANSIENT

CAST_S_MAX: Final = 1.0
CAST_BESIDE_S_MAX: Final = 5.0
SHARE: Final = 0.99

BESIDE_SHARE_MIN: Final = 0.99
STOPPED_SHARE_MIN: Final = 0.5
"""How many must hold a receipt of those who came under an overlay or while something was broken, and of those
who came while votes were stopped on purpose, the recovery included: they come again as long as people do."""

BURST: Final = "burst"
WAIT: Final = "p99 of a cast at the peak minute"
HOLD: Final = "voters who sent a vote hold a receipt"


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
        yield from judged_burst.judged(votes, told.get(BURST))
    else:
        yield from hold(ground)
        if not ground.names and not told.get("overlays"):
            yield at_once(votes)
        yield from waits(ground)
    yield in_time(ground)


def during(name: str) -> str:
    """How the time of a fault or a capped line is called."""
    return f"during {name} and {RECOVERY_S:g} s after"


def hold(ground: Ground) -> Iterator[Judgement]:
    """Who sent a vote holds a receipt: everybody, or by what went on when they came, so many of them.

    Each fault and each capped line by itself: none makes up for what was lost in another.
    """
    voters: Any = np.isin(ground.votes["kind"], casts.VOTES)
    overlay = ground.beside & ~ground.stopped & ~ground.shaken
    for what, some, share_min in (
        (HOLD, ~ground.beside, 1.0),
        (f"{HOLD}, under an overlay", overlay, BESIDE_SHARE_MIN),
    ):
        came = ground.votes["held"][voters & some]
        if len(came):
            yield _share(what, [came], share_min)
    for stretches, share_min in ((ground.stopping, STOPPED_SHARE_MIN), (ground.shaking, BESIDE_SHARE_MIN)):
        for name in sorted({stretch.name for stretch in stretches}):
            each = [ground.votes["held"][voters & one.some] for one in stretches if one.name == name]
            if came := [one for one in each if len(one)]:
                yield _share(f"{HOLD}, {during(name)}", came, share_min)


def _share(what: str, times: Sequence[Some], share_min: float) -> Judgement:
    """So many of those who came each time; the worst is what is told."""
    worst = min(times, key=lambda held: float(held.mean()) if len(held) else 0.0)
    got = int(worst.sum())
    must = "every one" if share_min == 1 else f"at least {share_min:.0%}"
    must += "" if len(times) == 1 else ", each time"
    found = f"{got:,} of {len(worst):,}" + (f", {got / len(worst):.2%}" if len(worst) else "")
    found += "" if len(times) == 1 else f" the worst of {len(times):,} times"
    return Judgement(what, must, found, ok=bool(len(worst)) and got >= share_min * len(worst))


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
    """How long the slowest in a hundred waited in the busiest minute of real time.

    Also under one overlay alone, and while something was broken that must not stop votes.
    """
    calm = ground.votes[ground.real & ~ground.beside]
    if len(calm) or not ground.beside.any():
        yield _wait(WAIT, calm, CAST_S_MAX)
    if len(ground.names) == 1:
        yield from _under(ground, next(iter(ground.names)))
    for name in sorted({stretch.name for stretch in ground.shaking}):
        yield from _shaken(ground, name, [stretch for stretch in ground.shaking if stretch.name == name])


def _under(ground: Ground, name: str) -> Iterator[Judgement]:
    """Under the only overlay of a run; whom it stopped on purpose is judged by how many got through."""
    what = f"{WAIT} under {name}"
    some = ground.beside if name in ON_THE_LINE else ground.beside & ~ground.stopped
    under = ground.votes[some]
    if name in ON_THE_LINE:
        under = under[under["held"]]
    if len(under):
        yield _wait(what, under, CAST_BESIDE_S_MAX)
    elif not ground.stopped.any():
        found = "nobody came under it"
        yield Judgement(what, _limit(CAST_BESIDE_S_MAX), found, ok=False, weight=Weight.VOIDS)


def _shaken(ground: Ground, name: str, stretches: Sequence[Stretch]) -> Iterator[Judgement]:
    """During each fault of that name by itself; the worst is what is told."""
    each = [ground.votes[stretch.some] for stretch in stretches]
    waited = [one["waited_s"][~np.isnan(one["waited_s"])] for one in each]
    if waited := [one for one in waited if len(one)]:
        worst_s = max(quantile(one, SHARE) for one in waited)
        found = _told(worst_s) + (f" the worst of {len(waited):,} times" if len(waited) > 1 else "")
        yield Judgement(
            f"p99 of a cast {during(name)}",
            _limit(CAST_BESIDE_S_MAX),
            found,
            ok=worst_s <= CAST_BESIDE_S_MAX,
            weight=Weight.FAILS_ON_TIME,
        )


def _wait(what: str, votes: Casts, s_max: float) -> Judgement:
    some = busiest(votes[~np.isnan(votes["waited_s"])])
    if not len(some):
        return not_recorded(what, _limit(s_max), weight=Weight.FAILS_ON_TIME)
    found_s = quantile(some["waited_s"], SHARE)
    none = int(np.isinf(some["waited_s"]).sum())
    found = f"{_told(found_s)}, {len(some):,} votes planned in it"
    found += f", {none:,} without a receipt" if none else ""
    return Judgement(what, _limit(s_max), found, ok=found_s <= s_max, weight=Weight.FAILS_ON_TIME)


def _limit(s_max: float) -> str:
    return f"<= {s_max * 1000:,.0f} ms"


def _told(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if math.isfinite(seconds) else "no receipt at all"


def in_time(ground: Ground) -> Judgement:
    """The generator was in time in the minutes that the figures are about, not only in all the others."""
    what = "the generator was in time in the busiest minute and each window"
    must = f"one in a hundred over {LATE_MS_MAX:g} ms late, of under {MANY:,} at most {FEW}; none over 1 s"
    some = busiest(ground.votes[ground.real])
    if not len(some):
        return not_recorded(what, must, weight=Weight.VOIDS)
    parts = [part for part in (some, *(ground.votes[window] for window in ground.windows)) if len(part)]
    late = [part["late_s"] * 1000 for part in parts]
    over = [int((late_ms > LATE_MS_MAX).sum()) for late_ms in late]
    ok = all(
        many <= allowed(len(late_ms)) and late_ms.max() <= VERY_LATE_MS_MAX
        for many, late_ms in zip(over, late, strict=True)
    )
    worst_ms = max(quantile(late_ms, SHARE) for late_ms in late)
    found = f"p99 {worst_ms:,.0f} ms and {max(over):,} over that at most,"
    found += f" {len(some):,} votes planned in that minute"
    return Judgement(what, must, found, ok=ok, weight=Weight.VOIDS)
