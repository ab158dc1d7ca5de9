"""What must hold of the streaming turnout while people vote, and of the memory of who serves and stores them.

The turnout is set beside the receipts: how many votes had been accepted at the moment in which it was read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from ballot.encoding import Malformed, parse_time
from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.lifetime.turnouts import FILE
from loadtests.report.reading import RunDirectory

US: Final = 1_000_000
LAG_S_MAX: Final = 5.0
QUIET_S: Final = LAG_S_MAX
RECOVERS_S: Final = 30.0
SHARE: Final = 0.99
SAMPLES_MIN: Final = 3
GAP_S_MAX: Final = 60.0
"""The turnout may be so far behind what was accepted; so long after the last vote it must be exact."""

PARTS: Final = ("edge", "worker")
MEMORY_SAMPLES_MIN: Final = 120
GROWS_MAX: Final = 1.1
GROWS_BESIDE_MAX: Final = 2.0
GROWS_BYTES: Final = 16 << 20
"""By so much the memory may have grown from the second quarter of the votes to the last; it may be twice as
large where there are overlays, which hold connections and come from thousands of addresses."""

LAG: Final = "the turnout keeps up with the votes"
EXACT: Final = "the turnout is exact whenever nobody votes"
WORST_LISTED: Final = 10


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Every judgement on them."""
    told = run.table("run.json")
    samples = list(run.lines(FILE))
    ballot = samples[0].get("ballot") if samples else None
    accepted = times(run, ballot)
    faults = [mark for mark in run.lines("marks.jsonl") if mark.get("kind") == "fault"]
    yield from turnout(samples, accepted, faults, unknown=unknown(run))
    if accepted:
        taken = [each for each in run.lines("samples.jsonl") if accepted[0] <= each["at_us"] <= accepted[-1]]
        yield from memory(taken, beside=bool(told.get("overlays")))


def times(run: RunDirectory, ballot: Any) -> list[int]:
    """When each vote of that ballot was accepted, by its receipt, in order."""
    found = []
    for line in run.lines("receipts.jsonl"):
        if line.get("ballot") == ballot:
            try:
                found.append(parse_time(str(line.get("accepted_at", ""))))
            except Malformed:
                continue  # another judgement names it
    return sorted(found)


def unknown(run: RunDirectory) -> int:
    """How many votes may have been accepted of which nobody holds a receipt."""
    count = int(run.table("summary.json").get("gave_up", 0))
    for overlay in run.rows("overlays.json"):
        count += int(overlay.get("unconfirmed", 0))
    return count


def turnout(
    samples: Sequence[Mapping[str, Any]],
    accepted: Sequence[int],
    faults: Sequence[Mapping[str, Any]] = (),
    *,
    unknown: int,
) -> Iterator[Judgement]:
    """How far it was behind at each sample while people voted; and exactness where nobody had for a while."""
    limit = f"99 in 100 readings at most {LAG_S_MAX:g} s behind, none ahead"
    exactly = f"what was accepted and stored, {QUIET_S:g} s after a vote and {RECOVERS_S:g} s after a fault"
    during = [each for each in samples if accepted and accepted[0] <= each["at_us"] <= accepted[-1] + US]
    lasted_s = (accepted[-1] - accepted[0]) / US if accepted else 0.0
    if len(during) < min(SAMPLES_MIN, lasted_s / GAP_S_MAX) or not samples or not accepted:
        yield not_recorded(LAG, limit)
        return
    behind = sorted(behind_s(each, accepted) for each in during if not broken(each, faults))
    ahead = tuple(
        f"at {each['at_us']}: {each['accepted']:,} in the turnout, {there:,} accepted"
        for each in samples
        if each["accepted"] > (there := bisect_right(accepted, each["at_us"])) + unknown
    )
    worst = behind[int(SHARE * (len(behind) - 1))] if behind else 0.0
    found = f"p99 {worst:.1f} s behind in {len(behind):,} readings, {len(ahead):,} ahead"
    yield Judgement(
        LAG,
        limit,
        found,
        ok=worst <= LAG_S_MAX and not ahead,
        weight=Weight.FAILS if ahead else Weight.FAILS_ON_TIME,
        references=ahead[:WORST_LISTED],
    )
    quiet = [each for each in samples if nobody_voted(each, accepted) and not broken(each, faults)]
    wrong = tuple(
        f"at {each['at_us']}: {each['accepted']:,} and {each['stored']:,} in the turnout, {there:,} accepted"
        for each in quiet
        if not (
            (there := bisect_right(accepted, each["at_us"])) <= each["accepted"] <= there + unknown
            and each["stored"] == each["accepted"]
        )
    )
    found = f"exact in {len(quiet) - len(wrong):,} of {len(quiet):,} readings"
    yield Judgement(EXACT, exactly, found, ok=not wrong, references=wrong[:WORST_LISTED])


def behind_s(reading: Mapping[str, Any], accepted: Sequence[int]) -> float:
    """For how long the first vote that is not in it had been accepted."""
    counted = int(reading["accepted"])
    if counted >= bisect_left(accepted, reading["from_us"]):
        return 0.0
    return float(reading["from_us"] - accepted[counted]) / US


def broken(reading: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something that counts had just been killed by the run itself."""
    return any(fault["from_us"] <= reading["at_us"] <= fault["to_us"] + RECOVERS_S * US for fault in faults)


def nobody_voted(reading: Mapping[str, Any], accepted: Sequence[int]) -> bool:
    """Whether the last vote before it is long past."""
    before = bisect_left(accepted, reading["from_us"] - QUIET_S * US)
    return before == bisect_right(accepted, reading["at_us"])


def memory(samples: Sequence[Mapping[str, Any]], *, beside: bool) -> Iterator[Judgement]:
    """That of the edges and the workers, while people voted; nothing where that was too short to tell."""
    if len(samples) < MEMORY_SAMPLES_MIN:
        return
    quarter = len(samples) // 4
    times_max = GROWS_BESIDE_MAX if beside else GROWS_MAX
    for part in PARTS:
        held = [resident(each, part) for each in samples]
        early, late = (
            median(known) if (known := [each for each in stretch if each]) else 0
            for stretch in (held[quarter : 2 * quarter], held[-quarter:])
        )
        most = early * times_max + GROWS_BYTES
        what, must = (
            f"the memory of the {part}s is flat",
            f"at most {most / 2**20:,.0f} MB in the last quarter",
        )
        if not early or not late:
            yield not_recorded(what, must)
            continue
        found = (
            f"{early / 2**20:,.0f} MB in the second quarter of the votes, {late / 2**20:,.0f} MB in the last"
        )
        yield Judgement(what, must, found, ok=late <= most)


def resident(told: Mapping[str, Any], part: str) -> int:
    """Bytes in memory of all processes of that part."""
    return sum(int(each["rss_bytes"]) for each in told.get("processes", ()) if each.get("name") == part)
