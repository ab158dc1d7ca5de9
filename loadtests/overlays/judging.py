"""The sums that several overlays judge by; no I/O."""

from collections.abc import Collection
from typing import Final

from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import LATE, NOT_SENT

UNSETTLED: Final = frozenset({"429", "503", "none", LATE})
"""What may come of any request to the API: it is told to try again, or gets no answer at all."""


LAG_S_MAX: Final = 1.0
ACHIEVED_MIN: Final = 0.9
BEGUN_SLACK: Final = 2
ANSWERED_MIN: Final = 0.1
"""Of what was asked for so much must have been sent, but for what had just become due at the end; and of that
so much must have been answered: a flood that nobody noticed shows nothing."""

UNANSWERED: Final = ("none", "no connection", NOT_SENT)


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
    strange = {outcome: count for outcome, count in came.items() if outcome not in {*allowed, NOT_SENT}}
    found = ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(came.items())) or "nothing asked"
    must = f"only {', '.join(sorted(allowed))}"
    return Judgement(what, must, found, ok=bool(came) and not strange, void=not came)


def equal(what: str, must: int, found: int) -> Judgement:
    """Two counts are the same."""
    return Judgement(what, f"{must:,}", f"{found:,}", ok=must == found)


def at_most(what: str, must: float, found: float, unit: str, *, lag_s: float = 0.0) -> Judgement:
    """A figure is no larger than it may be; void when that we were kept from looking so long may be why."""
    told = f"{found:,.0f} {unit}" + (
        f" (this process was kept waiting for {lag_s:,.1f} s)" if lag_s > LAG_S_MAX else ""
    )
    ok, own = found <= must, lag_s * (1000 if unit == "ms" else 1)
    void = not ok and lag_s > LAG_S_MAX and found - own <= must
    return Judgement(what, f"at most {must:,.0f} {unit}", told, ok=ok, void=void)


def achieved(told: Told) -> list[Judgement]:
    """It did nearly as much as was asked for, for as long, and got as far as the server; else it is void."""
    paced = told.get("paced") or {}
    asked, begun = float(paced.get("asked", 0)), int(paced.get("begun", 0))
    came: dict[str, int] = told.get("got", {})
    stuck = sum(count for outcome, count in came.items() if outcome.endswith(NOT_SENT))
    answered = sum(count for outcome, count in came.items() if not outcome.endswith(UNANSWERED))
    sent, total = max(0, begun - stuck), sum(came.values())
    enough = begun > 0 and sent + BEGUN_SLACK >= ACHIEVED_MIN * asked and not paced.get("cut_short")
    early = ", stopped before its time" if paced.get("cut_short") else ""
    noticed = answered > ANSWERED_MIN * total
    return [
        Judgement(
            "requests begun, of those asked for",
            f"at least {ACHIEVED_MIN:.0%}",
            f"{sent:,} of {asked:,.0f}{early}",
            ok=enough,
            void=not enough,
        ),
        Judgement(
            "requests that got an answer",
            f"more than {ANSWERED_MIN:.0%}",
            f"{answered:,} of {total:,}",
            ok=noticed,
            void=not noticed,
        ),
    ]
