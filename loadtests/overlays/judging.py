"""The sums that several overlays judge by; no I/O."""

from collections.abc import Collection
from typing import Final

from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import LATE

UNSETTLED: Final = frozenset({"429", "503", "none", LATE})
"""What may come of any request to the API: it is told to try again, or gets no answer at all."""


LAG_S_MAX: Final = 1.0


def got(told: Told, came: str) -> int:
    """How often `came` came of something."""
    return int(told.get("got", {}).get(came, 0))


def did(told: Told, what: str) -> int:
    """How often `what` was done."""
    return int(told.get("did", {}).get(what, 0))


def none_of(told: Told, what: str, outcomes: Collection[str]) -> Judgement:
    """None of these came."""
    found = sum(got(told, came) for came in outcomes)
    return Judgement(what, "0", f"{found:,}", ok=found == 0)


def only(told: Told, what: str, kind: str, allowed: Collection[str]) -> Judgement:
    """Whatever came of `kind` is one of the `allowed` answers, and something was asked at all."""
    came = {
        outcome.removeprefix(f"{kind} "): count
        for outcome, count in told.get("got", {}).items()
        if outcome.startswith(f"{kind} ")
    }
    strange = {outcome: count for outcome, count in came.items() if outcome not in allowed}
    found = ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(came.items())) or "nothing asked"
    must = f"only {', '.join(sorted(allowed))}"
    return Judgement(what, must, found, ok=bool(came) and not strange, void=not came)


def equal(what: str, must: int, found: int) -> Judgement:
    """Two counts are the same."""
    return Judgement(what, f"{must:,}", f"{found:,}", ok=must == found)


def at_most(what: str, must: float, found: float, unit: str, *, lag_s: float = 0.0) -> Judgement:
    """A figure is no larger than it may be; void when we ourselves were kept from looking for too long."""
    told = f"{found:,.0f} {unit}" + (
        f" (this process was kept waiting for {lag_s:,.1f} s)" if lag_s > LAG_S_MAX else ""
    )
    ok = found <= must
    return Judgement(what, f"at most {must:,.0f} {unit}", told, ok=ok, void=not ok and lag_s > LAG_S_MAX)
