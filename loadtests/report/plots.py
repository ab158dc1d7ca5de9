"""Which plots a report has, what each shows, and its words for who cannot see it."""

from collections.abc import Mapping
from typing import Any, Final

from loadtests.report import saying
from loadtests.report.axis import Values, mean
from loadtests.report.drawing import Backdrop, Bar, Lane, Line, Panel
from loadtests.report.happenings import BANDS
from loadtests.report.plotting import Plot, plotted, timeline

SECOND_MS: Final = 1000.0
LATE_MS_MAX: Final = 100.0
QUEUE_SECONDS_MAX: Final = 2.0
CAUSES_SHOWN_MAX: Final = 6
PARTS_SHOWN_MAX: Final = 6
MEANINGS: Final = {
    "400": "400, a request that makes no sense",
    "403": "403, a code that was not accepted",
    "404": "404, no such ballot or page",
    "409": "409, the ballot is not open",
    "429": "429, too many wrong codes from one address",
    "503": "503, not confirmed, try again",
    "none": "no answer at all",
    "hung up": "no answer waited for, on purpose",
}


def arrivals(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """Votes due, sent and accepted."""
    rates = told["curves"].get("rates", {})
    lines = (
        Line("due by the plan", rates.get("planned", []), mean, thick=6, soft=True),
        Line("sent, second tries too", rates.get("sent", []), mean, thick=2.2),
        Line("accepted", rates.get("accepted", []), mean, thick=1, style=0),
    )
    busiest = told["measures"].get("busiest_second", {})
    label = (
        "Votes a second over the run: how many were due by the plan, were sent and were accepted."
        f" In the busiest second {saying.count(busiest.get('planned'))} were due and"
        f" {saying.count(busiest.get('sent'))} were sent."
    )
    panel = Panel("votes a second", lines, saying.rate, height=220)
    return plotted("arrivals", label, (panel,), back)


def answers(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """How long voters waited, from the moment their vote was due."""
    times = told["curves"].get("latency_ms", {})
    names = {"max": "the slowest", "p99": "99 of 100 within", "p95": "95 of 100 within", "p50": "half within"}
    thick = {"max": 1.0, "p99": 2.2, "p95": 1.7, "p50": 1.7}
    lines = tuple(Line(words, times.get(name, []), thick=thick[name]) for name, words in names.items())
    measured = told["measures"].get("latency_ms") or {}
    label = (
        "How long voters waited for their receipt, over the run, on a scale where each line is ten times"
        f" the one below. Over the whole run half had it {saying.wait(measured.get('p50'))}"
        f" and 99 of 100 {saying.wait(measured.get('p99'))}."
    )
    panels = [
        Panel(
            "time to the receipt",
            lines,
            saying.milliseconds,
            log=True,
            limit=SECOND_MS,
            limit_words="1 second, which 99 of 100 must not exceed in the busiest minute",
            height=240,
        )
    ]
    never = told["curves"].get("never", [])
    if any(never):
        title = f"votes that never brought a receipt: {saying.count(told['measures'].get('never'))} in all"
        panels.append(
            Panel(title, (Line("by when they were due", never, filled=True),), saying.rate, height=64)
        )
    refused = told["curves"].get("refused_ms", {})
    if refused:
        refusals = (
            Line("the slowest refusal", refused.get("max", [])),
            Line("half within", refused.get("p50", [])),
        )
        panels.append(Panel("time to a refusal", refusals, saying.milliseconds, height=90))
    return plotted("answers", label, tuple(panels), back)


def refusals(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """Answers other than a receipt, a panel a cause."""
    found: Mapping[str, Values] = told["curves"].get("refusals", {})
    totals = told["measures"].get("refusals", {})
    panels = tuple(
        Panel(
            f"{meaning(cause)}: {saying.count(totals.get(cause))} in all",
            (Line("a second", values, mean, filled=True),),
            saying.rate,
            height=64,
        )
        for cause, values in list(found.items())[:CAUSES_SHOWN_MAX]
    )
    causes = ", ".join(f"{meaning(cause)} {saying.count(totals.get(cause))}" for cause in found)
    label = f"Answers a second other than a receipt, one panel a cause. In all: {causes}."
    return plotted("refusals", label, panels, back)


def queue(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """What waited between acceptance and the voter database."""
    found, measured = told["curves"], told["measures"]
    seen = found.get("turnout", {})
    limit = "2 seconds, which the oldest must not exceed while nothing is broken on purpose"
    panels = (
        Panel(
            "votes in the queue, not yet stored",
            (Line("votes", found.get("queue_depth", []), filled=True),),
            saying.rate,
            height=110,
        ),
        Panel(
            "age of the oldest of them",
            (Line("seconds", found.get("queue_oldest_s", [])),),
            saying.seconds,
            limit=QUEUE_SECONDS_MAX,
            limit_words=limit,
            height=110,
        ),
        Panel(
            "from acceptance to storage, 99 of 100 within",
            (Line("seconds", found.get("store_lag_s", [])),),
            saying.seconds,
            height=110,
        ),
        Panel(
            "turnout of the first ballot, as its official sees it",
            (
                Line("accepted", seen.get("accepted", []), thick=4, soft=True),
                Line("stored", seen.get("stored", [])),
            ),
            saying.rate,
            height=110,
        ),
        Panel(
            "turnout: accepted less stored",
            (Line("votes", found.get("unstored", [])),),
            saying.rate,
            height=90,
        ),
    )
    label = (
        "How many accepted votes waited to be stored, how old the oldest was, how long storing took, and by"
        " how much the stored turnout ran behind the accepted one."
        f" At most {saying.count(measured.get('queue_depth_max'))} waited, the oldest for"
        f" {saying.seconds(measured.get('queue_oldest_s_max'))}; the turnout's stored votes ran behind its"
        f" accepted ones by {saying.count(measured.get('unstored_max'))} at most."
    )
    return plotted("queue", label, panels, back)


def resources(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """CPU and memory, a panel a kind of process."""
    names = list(told["curves"].get("cores", {}))[:PARTS_SHOWN_MAX]
    shown = [row for row in told["processes"] if row["name"] in names]
    top = max((row["cores_most"] for row in shown), default=0.0) or 1.0
    cores = tuple(
        Panel(
            f"{name}: cores in use",
            (Line("cores", told["curves"]["cores"][name], filled=True),),
            saying.rate,
            height=58,
            top=top,
        )
        for name in names
    )
    held = Panel(
        "memory held",
        tuple(Line(name, told["curves"]["bytes"].get(name, [])) for name in names),
        saying.size,
        height=150,
    )
    most = ", ".join(f"{row['name']} {row['cores_most']:.2g} cores" for row in shown)
    label = f"CPU and memory by process over the run. The most that each used within a second: {most}."
    return plotted("resources", label, (*cores, held), back)


def lateness(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """By how much a vote was sent later than it was due, by the generator or because all devices waited."""
    waited = told["curves"].get("waited_ms", [])
    kept = (Line("because every device was kept waiting", waited),) if waited else ()
    panel = Panel(
        "latest vote of each moment, sent after it was due",
        (Line("late by the generator", told["curves"].get("late_ms", [])), *kept),
        saying.milliseconds,
        limit=LATE_MS_MAX,
        limit_words="100 milliseconds, which 99 of 100 votes must not exceed, or the run is void",
        height=110,
    )
    most = saying.milliseconds(told["measures"].get("late_ms_max"))
    return plotted(
        "lateness",
        f"By how much the generator sent votes later than they were due: at most {most}.",
        (panel,),
        back,
    )


def meaning(cause: str) -> str:
    """A cause as words; one that nobody foresaw by its own name."""
    return MEANINGS.get(cause, cause)


def happened(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """Overlays and faults, a lane each."""
    names = told["letters"]
    if not names:
        return None
    rows = tuple(
        Lane(
            f"{letter}  {name}",
            tuple(
                Bar(mark["from_s"], mark["to_s"], heavy=True)
                for mark in told["marks"]
                if mark["name"] == name and mark["kind"] in BANDS
            ),
        )
        for name, letter in names.items()
    )
    label = f"What was done to the deployment while votes came, on the run's own clock: {', '.join(names)}."
    return timeline("happened", label, rows, back)


def availability(told: Mapping[str, Any], back: Backdrop) -> Plot | None:
    """What three watchers saw, and beneath it the faults that were injected."""
    watchers = told["availability"].get("watchers", {})
    rows = [
        Lane(
            seen["what"],
            tuple(
                Bar(
                    one["from_s"],
                    one["to_s"],
                    one["state"] == "down",
                    one["state"],
                    one["state"] == "unknown",
                )
                for one in seen["intervals"]
            ),
        )
        for seen in watchers.values()
    ]
    if not any(row.bars for row in rows):
        return None
    faults = tuple(
        Bar(mark["from_s"], mark["to_s"], heavy=True, word=mark["name"])
        for mark in told["marks"]
        if mark["kind"] == "fault"
    )
    rows.append(Lane("faults injected", faults))
    told_in_words = "; ".join(
        f"{seen['what']}: {saying.plural(seen['outages'], 'outage')}" for seen in watchers.values()
    )
    label = (
        f"When votes could be cast, as three watchers saw it, and when faults were injected. {told_in_words}."
    )
    return timeline("availability", label, tuple(rows), back)
