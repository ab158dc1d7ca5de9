"""What must hold of a run's times: the generator's, the answers', the queue's and the monitors'.

Where the limits come from: the pass lines of the scenarios. Latencies count from the planned moment.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtests import buckets
from loadtests.report.reading import RunDirectory
from loadtests.verdict import Judgement, Weight, not_recorded

CAST_MS_MAX: Final = 1_000
CAST_BESIDE_MS_MAX: Final = 5_000
QUEUE_SECONDS_MAX: Final = 2.0
SAMPLED_SHARE_MIN: Final = 0.5
DEADLINE_MS: Final = 2_000
REFUSED_MS_MAX: Final = DEADLINE_MS + 250
ROUNDED: Final = 1.05
"""A latency read from buckets is at most so much above the true one."""

COUNTED_SECONDS_MAX: Final = 300
COUNTING: Final = ("ballot close", "ballot tally", "ballot verify")
"""How the phases in which results are made begin."""

MINUTE_S: Final = 60
US: Final = 1_000_000
WORST_LISTED: Final = 10
SHARE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Second:
    """All generators' requests planned for one second."""

    at_s: int
    planned: int
    latency: Counter[int]
    refused: Counter[int]


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Every judgement on times."""
    marks = list(run.lines("marks.jsonl"))
    told = list(seconds(run.lines("seconds.jsonl")))
    summary = run.table("summary.json")
    yield kept_to_schedule(summary)
    yield not_the_bottleneck(summary)
    yield from cast_at_the_peak(told, marks)
    if not {mark.get("kind") for mark in marks} & {"fault"}:
        yield queue(list(run.lines("samples.jsonl")), told)
    yield refusals(told)
    if (ballots := int(run.table("run.json").get("ballots", 1))) > 1:
        yield counted_soon(run.table("run.json").get("phases", []), ballots)
    yield agreement(run.table("availability.json"))


def seconds(lines: Iterable[Mapping[str, Any]]) -> Iterator[Second]:
    """The lines of `seconds.jsonl`, those of one second together, in order."""
    found: dict[int, Second] = {}
    for line in lines:
        at_s = int(line["s"])
        before = found.get(at_s, Second(at_s, 0, Counter(), Counter()))
        found[at_s] = Second(
            at_s,
            before.planned + int(line.get("planned", 0)),
            before.latency + buckets.from_json(line.get("latency", {})),
            before.refused + buckets.from_json(line.get("refused", {})),
        )
    return iter(found[at_s] for at_s in sorted(found))


def kept_to_schedule(summary: Mapping[str, Any]) -> Judgement:
    """The open loop was one: every arrival sent, and in time."""
    what, must = "the generator kept to its schedule", "p99 <= 100 ms late, none over 1 s, none unsent"
    late = summary.get("late_ms")
    if not isinstance(late, dict) or "void" not in summary:
        return not_recorded(what, must, weight=Weight.VOIDS)
    unsent = int(summary.get("unsent", 0))
    found = f"p99 {late['p99']:.0f} ms, at most {late['max']:.0f} ms, {unsent:,} unsent"
    why = tuple(str(reason) for reason in summary.get("void_reasons", ()))
    return Judgement(what, must, found, ok=not summary["void"], weight=Weight.VOIDS, references=why)


def not_the_bottleneck(summary: Mapping[str, Any]) -> Judgement:
    """The generator had CPU to spare."""
    what, must = "the client was not the bottleneck", "in time, with less than 0.9 of a core a process"
    shares = summary.get("generator_cpu")
    if "client_was_bottleneck" not in summary or not isinstance(shares, list):
        return not_recorded(what, must, weight=Weight.VOIDS)
    late = ", and late" if summary.get("void") else ""
    found = f"{max(shares, default=0):.2f} of a core, {len(shares)} generators{late}"
    return Judgement(what, must, found, ok=not summary["client_was_bottleneck"], weight=Weight.VOIDS)


def cast_at_the_peak(told: Sequence[Second], marks: Sequence[Mapping[str, Any]]) -> Iterator[Judgement]:
    """The p99 of a cast in the busiest minute in real time: with nothing beside it, and under one overlay."""
    real = [mark for mark in marks if mark.get("kind") == "window" and mark["told"].get("factor") == 1]
    beside = [mark for mark in marks if mark.get("kind") in {"overlay", "fault"}]
    names = {str(mark["name"]) for mark in beside if mark["kind"] == "overlay"}
    in_real = [each for each in told if not real or covered(each, real)]
    calm = [each for each in in_real if not covered(each, beside)]
    if calm or not beside:
        yield _cast("p99 of a cast at the peak minute", calm, CAST_MS_MAX)
    if len(names) == 1:
        name = names.pop()
        under = [each for each in told if covered(each, beside)]
        yield _cast(f"p99 of a cast at the peak minute under {name}", under, CAST_BESIDE_MS_MAX)


def covered(second: Second, marks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether that second has a part of one of the stretches."""
    return any(
        mark["from_us"] < (second.at_s + 1) * US and mark["to_us"] > second.at_s * US for mark in marks
    )


def _cast(what: str, told: Sequence[Second], ms_max: int) -> Judgement:
    must = f"<= {ms_max:,} ms"
    busiest = peak(told)
    if busiest is None:
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    planned, latency = busiest
    found_ms = buckets.quantile(latency, SHARE)
    found = f"{found_ms:,.0f} ms, {planned:,} votes planned in it"
    return Judgement(what, must, found, ok=found_ms <= ms_max * ROUNDED, weight=Weight.FAILS_ON_TIME)


def peak(told: Sequence[Second]) -> tuple[int, Counter[int]] | None:
    """The votes planned in the busiest minute and how long they took; None when nothing was sent."""
    most, planned, busiest = 0, 0, (0, 0)
    minute: deque[Second] = deque()
    for each in told:
        minute.append(each)
        planned += each.planned
        while minute[0].at_s <= each.at_s - MINUTE_S:
            planned -= minute.popleft().planned
        if planned > most:
            most, busiest = planned, (minute[0].at_s, each.at_s)
    if not most:
        return None
    latency = buckets.added(each.latency for each in told if busiest[0] <= each.at_s <= busiest[1])
    return (most, latency) if latency else None


def queue(samples: Sequence[Mapping[str, Any]], told: Sequence[Second]) -> Judgement:
    """How long the oldest entry waited for its worker, if somebody looked for most of the time."""
    what, must = "the queue is never old", f"oldest entry <= {QUEUE_SECONDS_MAX:g} s"
    known = [each for each in samples if each.get("queue_oldest_s") is not None]
    lasted_s = told[-1].at_s - told[0].at_s if told else 0
    if not known or len(known) < SAMPLED_SHARE_MIN * lasted_s:
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    old = [each for each in known if each["queue_oldest_s"] > QUEUE_SECONDS_MAX]
    most = max(each["queue_oldest_s"] for each in known)
    found = f"at most {most:.2f} s, over it in {len(old):,} of {len(known):,} samples"
    when = tuple(f"at {each['at_us']}: {each['queue_oldest_s']:.2f} s" for each in old[:WORST_LISTED])
    return Judgement(what, must, found, ok=not old, weight=Weight.FAILS_ON_TIME, references=when)


def refusals(told: Sequence[Second]) -> Judgement:
    """How long it took to be told to try again."""
    what, must = "refusals come in time", f"every one within {REFUSED_MS_MAX:,} ms"
    if not told:
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    refused = buckets.added(each.refused for each in told)
    if not refused:
        return Judgement(what, must, "none was needed", ok=True, weight=Weight.FAILS_ON_TIME)
    slowest = buckets.upper_ms(max(refused))
    found = f"{sum(refused.values()):,} refusals, the slowest within {slowest:,.0f} ms"
    return Judgement(what, must, found, ok=slowest <= REFUSED_MS_MAX * ROUNDED, weight=Weight.FAILS_ON_TIME)


def counted_soon(phases: Sequence[Mapping[str, Any]], ballots: int) -> Judgement:
    """From the close of all ballots to their signed results."""
    what, must = f"{ballots:,} ballots are counted and signed", f"within {COUNTED_SECONDS_MAX:,} s"
    took = [phase["seconds"] for phase in phases if str(phase.get("name", "")).startswith(COUNTING)]
    if not took:
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    return Judgement(
        what, must, f"in {sum(took):,.0f} s", sum(took) <= COUNTED_SECONDS_MAX, Weight.FAILS_ON_TIME
    )


def agreement(availability: Mapping[str, Any]) -> Judgement:
    """Inside monitor, outside monitor, voters and injected faults tell of the same outages."""
    what, must = "the availability record agrees", "within one probe period"
    if "agree" not in availability:
        return not_recorded(what, must)
    differences = tuple(str(each) for each in availability.get("differences", ()))
    found = "agrees" if availability["agree"] else f"{len(differences):,} differences"
    return Judgement(what, must, found, ok=bool(availability["agree"]), references=differences)
