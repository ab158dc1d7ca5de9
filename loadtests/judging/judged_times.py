"""What must hold of a run's times: the generator's, the queue's and the monitors'.

Where the limits come from: the pass lines of the scenarios. How long voters waited: judged_voters.py; how
long they were refused for: judged_refusals.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtests.crowds.lateness import FEW, LATE_MS_MAX
from loadtests.judging import judged_refusals
from loadtests.judging.stretches import RECOVERY_S, stops
from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.outside.voters import UNANSWERED
from loadtests.report.reading import RunDirectory

QUEUE_SECONDS_MAX: Final = 2.0
SAMPLED_SHARE_MIN: Final = 0.5
UNANSWERED_BESIDE_MAX: Final = 0.01
UNSEEN_SECONDS_MAX: Final = 3
UP_BUT_SECONDS_MAX: Final = 30.0
"""How long in all votes may not be taken under what must not stop them: a flood, most faults."""

COUNTED_SECONDS_MAX: Final = 300
COUNTING: Final = ("ballot close", "ballot tally", "ballot verify")
"""How the phases in which results are made begin."""

ANSWER_S: Final = 10.0
"""So long a device waits for an answer."""

US: Final = 1_000_000
WORST_LISTED: Final = 10
Marks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Second:
    """All generators' requests planned for one second."""

    at_s: int
    sent: int
    unanswered: int


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Every judgement on times."""
    marks = list(run.lines("marks.jsonl"))
    told = list(seconds(run.lines("seconds.jsonl")))
    summary = run.table("summary.json")
    yield kept_to_schedule(summary)
    yield not_the_bottleneck(summary)
    yield from queue(list(run.lines("samples.jsonl")), told, marks)
    yield judged_refusals.refusals(run.lines("seconds.jsonl"))
    yield answered(told, marks)
    if (ballots := int(run.table("run.json").get("ballots", 1))) > 1:
        yield counted_soon(run.table("run.json").get("phases", []), ballots)
    yield agreement(run.table("availability.json"))
    yield up(run.table("availability.json"))


def seconds(lines: Iterable[Mapping[str, Any]]) -> Iterator[Second]:
    """The lines of `seconds.jsonl`, those of one second together, in order; those in which somebody came.

    Of others there may be a line that says how late the generator came to itself, and no more.
    """
    found: dict[int, Second] = {}
    for line in lines:
        if not line.get("sent") and not line.get("planned"):
            continue
        at_s = int(line["s"])
        before = found.get(at_s, Second(at_s, 0, 0))
        found[at_s] = Second(
            at_s,
            before.sent + int(line.get("sent", 0)),
            before.unanswered + int(line.get("outcomes", {}).get(UNANSWERED, 0)),
        )
    return iter(found[at_s] for at_s in sorted(found))


def kept_to_schedule(summary: Mapping[str, Any]) -> Judgement:
    """The open loop was one: every arrival sent, and in time."""
    what = "the generator kept to its schedule"
    must = f"one in a hundred over {LATE_MS_MAX:g} ms late (of a few: {FEW}), none over 1 s, none unsent"
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
    shares, highest = summary.get("generator_cpu"), summary.get("generator_cpu_max")
    if "client_was_bottleneck" not in summary or not isinstance(shares, list) or highest is None:
        return not_recorded(what, must, weight=Weight.VOIDS)
    late = ", and late" if summary.get("void") else ""
    found = f"{highest:.2f} of a core in the worst 10 s, {len(shares)} generators{late}"
    return Judgement(what, must, found, ok=not summary["client_was_bottleneck"], weight=Weight.VOIDS)


def covered(at_s: int, marks: Marks) -> bool:
    """Whether that second has a part of one of the stretches."""
    return any(mark["from_us"] < (at_s + 1) * US and mark["to_us"] > at_s * US for mark in marks)


def stretched(marks: Marks, *, before_s: float = 0.0, after_s: float) -> list[dict[str, Any]]:
    """The same stretches, each begun earlier and ended later."""
    return [
        {**mark, "from_us": mark["from_us"] - before_s * US, "to_us": mark["to_us"] + after_s * US}
        for mark in marks
    ]


def queue(samples: Marks, told: Sequence[Second], marks: Marks) -> Iterator[Judgement]:
    """How long the oldest entry waited for its worker while votes came, but for faults and their recovery."""
    what, must = "the queue is never old", f"oldest entry <= {QUEUE_SECONDS_MAX:g} s, each second"
    faults = stretched([mark for mark in marks if mark.get("kind") == "fault"], after_s=RECOVERY_S)
    judged_s = {each.at_s for each in told if not covered(each.at_s, faults)}
    if told and not judged_s:
        yield Judgement(what, must, "every second lies in a fault or the time after it", ok=True)
        return
    known = [each for each in samples if each.get("queue_oldest_s") is not None]
    within = [
        each
        for each in known
        if told and told[0].at_s <= each["at_us"] // US <= told[-1].at_s
        if not covered(each["at_us"] // US, faults)
    ]
    yield _looked(known, judged_s, marks)
    if not within or len(within) < SAMPLED_SHARE_MIN * len(judged_s):
        yield not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
        return
    old = [each for each in within if each["queue_oldest_s"] > QUEUE_SECONDS_MAX]
    most = max(each["queue_oldest_s"] for each in within)
    found = f"at most {most:.2f} s, over it in {len(old):,} of {len(within):,} samples"
    when = tuple(f"at {each['at_us']}: {each['queue_oldest_s']:.2f} s" for each in old[:WORST_LISTED])
    yield Judgement(what, must, found, ok=not old, weight=Weight.FAILS_ON_TIME, references=when)


def _looked(known: Sequence[Mapping[str, Any]], judged_s: set[int], marks: Marks) -> Judgement:
    """Somebody looked at the queue all the time that the figures are about: no answer is no short queue."""
    must = f"within {UNSEEN_SECONDS_MAX} s of each second of real time"
    real = [mark for mark in marks if mark.get("kind") == "window" and mark["told"].get("factor") == 1]
    wanted = {at_s for at_s in judged_s if not real or covered(at_s, real)}
    seen = {
        each["at_us"] // US + away
        for each in known
        for away in range(-UNSEEN_SECONDS_MAX, UNSEEN_SECONDS_MAX + 1)
    }
    unseen = sorted(wanted - seen)
    found = f"nobody looked at {len(unseen):,} of {len(wanted):,} seconds"
    when = tuple(f"at {at_s}" for at_s in unseen[:WORST_LISTED])
    return Judgement(
        "the queue was looked at", must, found, ok=not unseen, weight=Weight.VOIDS, references=when
    )


def answered(told: Sequence[Second], marks: Marks) -> Judgement:
    """A request without any answer is a refusal that never came; what is to stop votes excuses its own.

    How many voters may fail for good meanwhile is judged by itself, so nobody is excused without a bound.
    Any other fault may cost what was under way at its instant, and like an overlay one in a hundred.
    """
    what = "every request is answered"
    must = (
        f"all, and {1 - UNANSWERED_BESIDE_MAX:.0%} under an overlay or a fault; but where votes are stopped"
    )
    if not told:
        return not_recorded(what, must, weight=Weight.FAILS_ON_TIME)
    overlays = [mark for mark in marks if mark.get("kind") == "overlay"]
    faults = [mark for mark in marks if mark.get("kind") == "fault" and not stops(mark)]
    stopping, shaking = (
        stretched(some, before_s=ANSWER_S, after_s=RECOVERY_S)
        for some in ([mark for mark in marks if stops(mark)], faults)
    )
    places: dict[str, Second] = {}
    for each in told:
        if covered(each.at_s, stopping):
            place = "where votes are stopped"
        elif covered(each.at_s, shaking):
            place = "in a fault"
        else:
            place = "under an overlay" if covered(each.at_s, overlays) else "when nothing went on"
        before = places.get(place, Second(0, 0, 0))
        places[place] = Second(0, before.sent + each.sent, before.unanswered + each.unanswered)
    most = {
        "when nothing went on": 0.0,
        "under an overlay": UNANSWERED_BESIDE_MAX,
        "in a fault": UNANSWERED_BESIDE_MAX,
        "where votes are stopped": 1.0,
    }
    least = {"in a fault": len(faults)}
    ok = all(
        in_it.unanswered <= max(most[place] * in_it.sent, least.get(place, 0))
        for place, in_it in places.items()
    )
    found = ", ".join(f"{places[place].unanswered:,} {place}" for place in most if place in places)
    return Judgement(what, must, f"without: {found}", ok=ok, weight=Weight.FAILS_ON_TIME)


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


def up(availability: Mapping[str, Any]) -> Judgement:
    """How long anybody saw that no votes were taken, but for what was to stop them, or a burst."""
    what = "votes are taken all the time"
    must = f"at most {UP_BUT_SECONDS_MAX:g} s without, but for what was to stop them"
    down_s = availability.get("unplanned_s")
    if not isinstance(down_s, int | float):
        return not_recorded(what, must)
    return Judgement(what, must, f"{down_s:,.1f} s without", ok=down_s <= UP_BUT_SECONDS_MAX)
