"""What must hold of a burst: that so much was offered, and that as much gets in as in the worst second.

Both of the burst's own minute. People who were refused come again for minutes afterwards, when nothing
presses any more; what they get then is no figure of the burst.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from loadtests.crowds import casts
from loadtests.crowds.casts import Casts
from loadtests.judging.stretches import MINUTE_S, quantile
from loadtests.judging.verdict import Judgement, Weight, not_recorded

OFFERED: Final = "so many votes were sent as the burst is to be"
GOODPUT: Final = "voters hold a receipt within the burst's minute"
DELAYED_S_MAX: Final = 1.0
DELAYED_SHARE_MAX: Final = 0.01
"""So much later than planned a vote is first sent at most, but for so many: whoever waits for an answer sends
nothing, and a service that lets all devices wait is offered less than was said."""

ANSWER_S: Final = 10.0
"""So long a device waits for an answer: one that was sent in the minute's last second may come so late."""


def judged(votes: Casts, times: Any) -> Iterator[Judgement]:
    """Both, of a burst of so many `times` the worst second."""
    voters = votes[np.isin(votes["kind"], casts.VOTES)]
    if not isinstance(times, int | float) or times <= 0 or not len(voters):
        yield not_recorded(GOODPUT, "as many as in the worst second")
        return
    yield offered(voters)
    yield goodput(voters, times)


def offered(voters: Casts) -> Judgement:
    """Each vote was first sent when it was due, for whatever reason it may not have been."""
    delayed_s = voters["sent_s"] - voters["at_s"]
    late = int((delayed_s > DELAYED_S_MAX).sum())
    within = int((voters["sent_s"] <= voters["at_s"].min() + MINUTE_S).sum())
    found = f"{within / MINUTE_S:,.0f} of {len(voters) / MINUTE_S:,.0f} a second in the minute,"
    found += (
        f" {late / len(voters):.1%} later, p99 {quantile(delayed_s, 1 - DELAYED_SHARE_MAX) * 1000:,.0f} ms"
    )
    must = f"at most {DELAYED_SHARE_MAX:.0%} over {DELAYED_S_MAX:g} s after their moment"
    return Judgement(OFFERED, must, found, ok=late <= DELAYED_SHARE_MAX * len(voters), weight=Weight.VOIDS)


def goodput(voters: Casts, times: float) -> Judgement:
    """Of so many times the worst second, at least what the worst second itself would be gets through."""
    counted = voters[~np.isnan(voters["waited_s"])]  # a vote that lost to the voter's other device is none
    until_s = voters["at_s"].max() + ANSWER_S
    got = int((counted["at_s"] + counted["waited_s"] <= until_s).sum())
    share_min = min(1.0, 1 / times)
    must = f"at least {share_min:.0%} of them, as many as in the worst second"
    found = f"{got:,} of {len(counted):,}, {got / max(1, len(counted)):.2%}: {got / MINUTE_S:,.0f} a second"
    return Judgement(GOODPUT, must, found, ok=got > 0 and got >= share_min * len(counted))
