"""The run in plain words: the verdict first, then what a scrutineer, a union or a court would ask next."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadtests.report import saying
from loadtests.report.happenings import BANDS
from loadtests.report.plots import meaning

WORDS: Final = {"pass": "Pass", "fail": "Fail", "void": "Void", None: "No verdict"}
SIGNS: Final = {"pass": "\N{CHECK MARK}", "fail": "\N{MULTIPLICATION SIGN}", "void": "?", None: "?"}
MEAN: Final = {
    "pass": "Everything that had to hold in this run held.",
    "fail": "Something that had to hold in this run did not hold.",
    "void": "This run proves nothing, for or against: what it was to show could not be shown.",
    None: "This run came to no verdict. What was recorded until it ended is shown here.",
}
CAUSES_SAID_MAX: Final = 3
SAID_MAX: Final = 20
UNSURE: Final = frozenset({"503", "none"})
ON_PURPOSE: Final = "hung up"
BROKEN_MAX: Final = 8


def heading(told: Mapping[str, Any]) -> str:
    """What was played, as a title."""
    run = told["run"]
    return str(run.get("title") or run.get("scenario") or "A run without a name")


def lead(told: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences."""
    verdict = told["verdict"]["verdict"]
    judgements = told["verdict"]["judgements"]
    said = [MEAN[verdict]]
    if verdict == "pass":
        said.append(
            f"{saying.plural(len(judgements), 'thing was', 'things were')} looked at, one by one, below."
        )
    elif broken(told):
        held = sum(1 for row in judgements if row["ok"] is not False)
        said.append(
            f"Of {len(judgements)} things that were looked at, {len(judgements) - held} did not hold:"
        )
    return said


def broken(told: Mapping[str, Any]) -> list[str]:
    """What did not hold, and what was found instead, lost votes before what made the run void."""
    rows = sorted(
        (row for row in told["verdict"]["judgements"] if row["ok"] is False),
        key=lambda row: bool(row["void"]),
    )
    said = [
        f"\N{LEFT DOUBLE QUOTATION MARK}{row['what']}\N{RIGHT DOUBLE QUOTATION MARK}: found {row['found']}"
        + (", which makes the run void" if row["void"] else "")
        for row in rows
    ]
    more = len(said) - BROKEN_MAX
    return said if more <= 1 else [*said[:BROKEN_MAX], f"and {more} more, below"]


def wrong(told: Mapping[str, Any]) -> list[str]:
    """The steps of the run that failed, as it told them itself."""
    said = told["run"].get("wrong")
    return [str(one)[:400] for one in said[:SAID_MAX]] if isinstance(said, list) else []


def scaled(told: Mapping[str, Any]) -> bool:
    """Whether the figures are the published ones made smaller, so that the run is a part of the ballot."""
    run = told["run"]
    return run.get("scale") not in {None, 1} or bool(run.get("only"))


def facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Question and answer, the most important first; what was not recorded is left to the sections."""
    makers = (_votes, _counted, _waited, _busiest, _refused, _down, _done, _load)
    return [fact for make in makers for fact in make(told)]


def _votes(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    measured, voters = told["measures"], told["voters"]
    if "accepted" not in measured:
        return
    came, have = voters.get("voters"), voters.get("voted")
    if isinstance(came, int) and isinstance(have, int):
        text = f"{saying.plural(came, 'voter')} came, and {saying.count(have)} of them have a receipt."
    else:
        text = f"{saying.plural(measured['accepted'], 'vote was', 'votes were')} accepted."
    due = saying.count(measured["planned"])
    text += f" With double clicks and wrong codes {due} requests were due"
    unsent = voters.get("unsent")
    again = measured["sent"] + (unsent if isinstance(unsent, int) else 0) - measured["planned"]
    text += (
        f"; {saying.plural(again, 'was', 'were')} sent again because nothing settled them"
        if again > 0
        else ""
    )
    yield "How many voted?", text + (f"; {saying.count(unsent)} were never sent." if unsent else ".")


def _counted(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    differences = told["check"]["differences"]
    if differences is not None:
        yield (
            "Was every accepted vote counted, once?",
            "Yes: the checker, which goes through books, receipts and signatures again, found no difference."
            if differences == 0
            else f"No: the checker found {saying.plural(differences, 'difference')}.",
        )
    rows = told["figures"]
    if not rows:
        return
    wrong = sum(1 for row in rows if row.get("difference"))
    which = "the published figures (scaled to this run)" if scaled(told) else "the published figures"
    text = (
        f"Yes: the count equals {which} in all {len(rows)} lines, to the last vote."
        if not wrong
        else f"No: the count differs from {which} in {wrong} of {len(rows)} lines."
    )
    came, have = told["voters"].get("voters"), told["voters"].get("voted")
    if wrong and isinstance(came, int) and isinstance(have, int) and have < came:
        text += f" {saying.plural(came - have, 'voter')} came and went without a receipt."
    yield "Is the result the published one?", text


def _waited(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    measured = told["measures"].get("latency_ms")
    if not measured:
        return
    half, most, slowest = (saying.wait(measured[name]) for name in ("p50", "p99", "max"))
    text = f"Half had their receipt {half}, 99 of 100 {most}, the slowest {slowest}."
    if never := told["measures"].get("never"):
        text += f" {saying.plural(never, 'vote')} brought no receipt however often sent."
    minute = told["measures"].get("busiest_minute")
    if minute and minute["latency_ms"]:
        text += (
            f" In the busiest minute ({saying.count(minute['planned'])} votes due)"
            f" 99 of 100 had it {saying.wait(minute['latency_ms']['p99'])}."
        )
    yield "How long did voters wait?", text


def _busiest(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    busiest, minute = told["measures"].get("busiest_second"), told["measures"].get("busiest_minute")
    if busiest:
        text = f"In the busiest second {saying.count(busiest['planned'])} votes were due"
        text += f", in the busiest minute {saying.count(minute['planned'])}." if minute else "."
        yield "How busy was it?", text


def _refused(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    causes = told["measures"].get("refusals")
    if causes is None:
        return
    unsure = {cause: times for cause, times in causes.items() if cause in UNSURE}
    refused = {cause: times for cause, times in causes.items() if cause not in UNSURE | {ON_PURPOSE}}
    said = []
    if refused:
        said.append(
            f"{saying.plural(sum(refused.values()), 'request was', 'requests were')} refused:"
            f" {_listed(refused)}."
            " Wrong and used codes, and votes after the close, are sent on purpose and have to be refused."
        )
    if unsure:
        said.append(
            f"{saying.plural(sum(unsure.values()), 'vote was', 'votes were')} not confirmed at once:"
            f" {_listed(unsure)}."
            " Whoever gets no receipt is told that trying again is safe, and does."
        )
    yield "Was anybody turned away?", " ".join(said) or "No request was answered with anything but a receipt."


def _listed(causes: Mapping[str, int]) -> str:
    most = [
        f"{saying.count(times)} ({meaning(cause)})" for cause, times in list(causes.items())[:CAUSES_SAID_MAX]
    ]
    return ", ".join(most) + (", and others" if len(causes) > CAUSES_SAID_MAX else "")


def _down(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    watchers = told["availability"].get("watchers", {})
    seen = [(watcher["what"], watcher) for watcher in watchers.values() if watcher["share"] is not None]
    if not seen:
        return
    said = [
        f"{saying.share(watcher['share'])} of the time, says {what}"
        + (f" ({saying.plural(watcher['outages'], 'outage')})" if watcher["outages"] else "")
        for what, watcher in seen
    ]
    agree = told["availability"]["agree"]
    text = "; ".join(said) + "."
    if agree is not None:
        text += " They agree within one period." if agree else " They do not agree."
    yield "Could votes be cast all the time?", text


def _done(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = list(told["letters"])
    if names:
        times = sum(1 for mark in told["marks"] if mark["kind"] in BANDS)
        yield (
            "What was done to it meanwhile?",
            f"{', '.join(names)}: {saying.plural(times, 'time')} in all, as lettered bands in every plot.",
        )
    elif told["marks"]:
        yield "What was done to it meanwhile?", "Nothing but voting: no attack and no fault."


def _load(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    late = told["voters"].get("late_ms")
    cpu = told["voters"].get("generator_cpu_max")
    said: list[str] = []
    if isinstance(late, dict) and "p99" in late:
        worst = saying.milliseconds(late.get("max"))
        said.append(
            f"99 of 100 were sent within {saying.milliseconds(late['p99'])} of being due, the latest {worst}"
            " after it."
        )
    if isinstance(cpu, int | float):
        said.append(f"The busiest process that sent them used {saying.percent(cpu)} of one core at most.")
    if said:
        yield "Was the load what the plan said?", " ".join(said)
