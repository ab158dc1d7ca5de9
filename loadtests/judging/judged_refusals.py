"""What must hold of refusals: that they come in time, by a clock that is the generator's own.

The service may take 250 ms beyond its deadline. An answer waits besides until the generator comes to itself,
and that is no lateness of the service's: the generator keeps how late it did, second by second.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from loadtests.crowds import buckets
from loadtests.crowds.ledger import REFUSED_MS_MAX
from loadtests.judging.verdict import Judgement, Weight, not_recorded

WHAT: Final = "refusals come in time"
OVER_SHARE_MAX: Final = 0.001
MUST: Final = f"99.9% within {REFUSED_MS_MAX:,} ms, the rest but for the generator's own lateness"
AROUND_S: Final = (-1, 0, 1)
"""The seconds whose lag may be an answer's: what came at the end of a second is read in the next."""

REFERENCES_MAX: Final = 10
Place = tuple[int, int]


def refusals(lines: Iterable[Mapping[str, Any]]) -> Judgement:
    """Fails when the service was too slow for one; void when only the generator's own lateness says so."""
    told = 0
    total, over, slowest = 0, 0, 0.0
    lag_ms: defaultdict[Place, float] = defaultdict(float)
    late: list[tuple[Place, float]] = []
    for line in lines:
        told += 1
        generator, at_s = int(line.get("generator", 0)), int(line["s"])
        lag_ms[generator, at_s] = max(lag_ms[generator, at_s], float(line.get("lag_ms_max", 0.0)))
        refused = buckets.from_json(line.get("refused", {}))
        if not refused:
            continue
        total += sum(refused.values())
        worst = float(line.get("refused_ms_max", buckets.upper_ms(max(refused))))
        slowest = max(slowest, worst)
        if worst > REFUSED_MS_MAX:
            late += [
                ((generator, int(second)), float(took))
                for second, took in (line.get("over_ms") or {str(at_s): worst}).items()
            ]
            over += int(line.get("refused_over", refused.total()))
    if not told:
        return not_recorded(WHAT, MUST, weight=Weight.FAILS_ON_TIME)
    if not total:
        return Judgement(WHAT, MUST, "none was needed", ok=True, weight=Weight.FAILS_ON_TIME)
    own = {place: max(lag_ms.get((place[0], place[1] + by), 0.0) for by in AROUND_S) for place, _ in late}
    beyond = [(place, took) for place, took in late if took - own[place] > REFUSED_MS_MAX]
    found = f"{total:,} refusals, {over:,} later, the slowest within {slowest:,.0f} ms"
    named = tuple(
        f"at {place[1]}: {took:,.0f} ms, the generator itself {own[place]:,.0f} ms late"
        for place, took in (beyond or late)[:REFERENCES_MAX]
    )
    many = over > OVER_SHARE_MAX * total
    weight = Weight.VOIDS if many and not beyond else Weight.FAILS_ON_TIME
    return Judgement(WHAT, MUST, found, ok=not beyond and not many, weight=weight, references=named)
