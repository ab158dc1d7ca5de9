"""An open-loop run's summary: the generators' files made into one, lateness looked at, papers added up.

    python -m loadtests.crowds.openresult --ahead DIR --out DIR

Each generator's part is reckoned in a process of its own (reckoning.py). The exit code is 0 unless files are
missing: what voters saw is for the reader of `summary.json` to judge.
"""

import json
import math
import multiprocessing
import shutil
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.crowds import ahead, casts, comers
from loadtests.crowds.buckets import added, as_json, from_json, quantile, upper_ms
from loadtests.crowds.lateness import LATE_MS_MAX, MANY, VERY_LATE_MS_MAX, allowed
from loadtests.crowds.ledger import answers_file, receipts_file, seconds_file
from loadtests.crowds.openloop import START_FILE, generator_file, progress_file, ready_file
from loadtests.crowds.reckoning import REFERENCE, UNEXPECTED_MAX, Found, Part
from loadtests.voting.desk import DeskFileFault

CPU_SHARE_MAX = 0.9
MERGED = ("receipts", "sealed", "unsettled")


def reckon(folder: Path, out: Path, generator: int, start_us: int) -> Found:
    """One generator's part."""
    return Part(folder, out, generator, start_us=start_us).reckon()


def make(folder: Path, out: Path) -> dict[str, Any]:
    """Reckon every part, merge the files in `out`, and return the summary (`summary.json` too)."""
    told = ahead.description(folder)
    count: int = told["generators"]
    start_us: int = json.loads((out / START_FILE).read_text(encoding="utf-8"))["start_us"]
    there = [number for number in range(count) if answers_file(out, number).exists()]
    with ProcessPoolExecutor(
        max(len(there), 1), mp_context=multiprocessing.get_context("spawn")
    ) as processes:
        waiting = [processes.submit(reckon, folder, out, number, start_us) for number in there]
        found = [each.result() for each in waiting]
    generators = [
        json.loads(generator_file(out, number).read_text(encoding="utf-8"))
        for number in there
        if generator_file(out, number).exists()
    ]
    seconds, never = _merge(out, there, [casts.waits(each.votes, start_us / 1e6) for each in found])
    casts.save(out, [each.votes for each in found])
    summary = {
        **_voters(told, found),
        "seconds": max((each["seconds"] for each in generators), default=0.0),
        **_kept_time(told, generators),
        **_latencies(seconds, never),
        "papers": _papers(told, found),
    }
    if len(generators) < count:
        summary["void"] = True
        summary["void_reasons"].append(f"{count - len(generators)} of {count} generators never finished.")
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _merge(
    out: Path, there: Sequence[int], waits: Sequence[Mapping[int, tuple[Counter[int], int]]]
) -> tuple[dict[str, Counter[int]], int]:
    """Make one file of each kind out of the generators'; the histograms of all seconds, and who had nothing.

    How long voters waited stands at the second in which their votes were first due.
    """
    waited, nobody, never = dict(zip(there, waits, strict=True)), (Counter[int](), 0), 0
    for name in MERGED:
        with (out / f"{name}.jsonl").open("wb") as whole:
            for number in there:
                part = out / f"{name}-{number}.jsonl"
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, whole)
                part.unlink()
    sums: dict[str, Counter[int]] = {
        name: Counter() for name in ("latency", "service", "refused", "turned_away")
    }
    with (out / "seconds.jsonl").open("w", encoding="utf-8") as whole_text:
        for line in _in_order(out, there):
            latency, without = waited[line["generator"]].get(line["s"], nobody)
            line |= {"latency": as_json(latency), "never": without}
            never += without
            whole_text.write(json.dumps(line) + "\n")
            for name, total in sums.items():
                total.update(from_json(line[name]))
    for number in there:
        receipts_file(out, number).unlink()
        for file in (ready_file(out, number), progress_file(out, number)):
            file.unlink(missing_ok=True)
    return sums, never


def _in_order(out: Path, there: Sequence[int]) -> list[dict[str, Any]]:
    """The lines of all generators by second."""
    lines: list[dict[str, Any]] = []
    for number in there:
        with seconds_file(out, number).open(encoding="utf-8") as part:
            lines += [json.loads(line) for line in part]
        seconds_file(out, number).unlink()
    return sorted(lines, key=lambda line: (line["s"], line["generator"]))


def _voters(told: Mapping[str, Any], found: Sequence[Found]) -> dict[str, Any]:
    """What became of the voters."""
    counts = sum((each.counts for each in found), Counter[str]())
    counts["mistyped, caught"] = told["sealed"]["mistyped_caught"]
    every = np.concatenate([each.references for each in found]) if found else np.empty(0, REFERENCE)
    references, holders = np.unique(every, return_counts=True)
    unexpected = [sentence for each in found for sentence in each.unexpected]
    for number in np.flatnonzero(holders > 1):
        unexpected.append(f"{holders[number]} voters hold reference {references[number].decode()}")
        counts["unexpected"] += 1
    moments = [each for each in found if each.last_us]
    return {
        "scenario": told["scenario"],
        "voters": told["voters"],
        "voted": sum(sum(each.receipted.values()) for each in found),
        "counts": {name: count for name, count in sorted(counts.items()) if count},
        "unexpected": unexpected[:UNEXPECTED_MAX],
        "unexpected_count": counts["unexpected"],
        "gave_up": counts["without a receipt"],
        "first_gave_up": [member for each in found for member in each.gave_up][:UNEXPECTED_MAX],
        "accepted_first_us": min((each.first_us for each in moments), default=None),
        "accepted_last_us": max((each.last_us for each in moments), default=None),
        "sealed": told["sealed"],
    }


def _kept_time(told: Mapping[str, Any], generators: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the generators kept to the schedule, and what they cost."""
    late = added(from_json(each["late"]) for each in generators)
    max_ms = max((each["late_ms_max"] for each in generators), default=0.0)
    p99_ms = min(quantile(late, 0.99), max_ms)  # a bucket's end may lie above the longest in it
    sent = sum(each["sent"] for each in generators)
    unsent = told["requests"] - sent
    reasons = []
    if unsent:
        reasons.append(f"{unsent:,} of {told['requests']:,} requests were never sent.")
    many = late.total()
    over = sum(count for index, count in late.items() if min(upper_ms(index), max_ms) > LATE_MS_MAX)
    if over > allowed(many) and many >= MANY:
        reasons.append(f"One request in a hundred was sent {p99_ms:,.0f} ms late or later.")
    elif over > allowed(many):
        reasons.append(f"{over:,} of {many:,} requests were sent over {LATE_MS_MAX:g} ms late.")
    if max_ms > VERY_LATE_MS_MAX:
        reasons.append(f"A request was sent {max_ms:,.0f} ms late.")
    there = [each["all_there_s"] for each in generators if each["rows"]]
    if any(there_s is None or there_s > told["first_s"] for there_s in there):
        reasons.append("The first request was due before all users of a generator were there.")
    own = sum((Counter[str](each["own_failures"]) for each in generators), Counter())
    if own:
        causes = ", ".join(sorted(own))
        reasons.append(f"{own.total():,} requests failed on the generator's own side: {causes}.")
    shares = [each["cpu_share"] for each in generators]
    highest = max((each["cpu_share_max"] for each in generators), default=0.0)
    return {
        "planned": told["requests"],
        "sent": sent,
        "unsent": unsent,
        "late_ms": {"p50": _ms(min(quantile(late, 0.5), max_ms)), "p99": _ms(p99_ms), "max": max_ms},
        "void": bool(reasons),
        "void_reasons": reasons,
        "generator_cpu": shares,
        "generator_cpu_max": highest,
        "generator_cpu_us": [each["cpu_us"] for each in generators],
        "generator_memory_bytes": [each["memory_bytes"] for each in generators],
        "client_was_bottleneck": bool(reasons) or highest >= CPU_SHARE_MAX,
        "waited": {
            "count": sum(each["waited"] for each in generators),
            "max_ms": max((each["waited_ms_max"] for each in generators), default=0.0),
        },
        "odd_count": sum(each["odd_count"] for each in generators),
        "odd": [sentence for each in generators for sentence in each["odd"]][:UNEXPECTED_MAX],
    }


def _latencies(histograms: Mapping[str, Counter[int]], never: int) -> dict[str, Any]:
    """Quantiles of the whole run: of votes from first due to the receipt; of answers since they were sent."""
    names = {
        "latency_ms": ("latency", never),
        "service_ms": ("service", 0),
        "refused_ms": ("refused", 0),
        "turned_away_ms": ("turned_away", 0),
    }
    told: dict[str, Any] = {}
    for name, (which, more) in names.items():
        found = {
            title: quantile(histograms[which], share, never=more)
            for title, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        }
        told[name] = {title: _ms(each) if math.isfinite(each) else None for title, each in found.items()}
    told["latency_ms"]["never"] = never
    return told


def _papers(told: Mapping[str, Any], found: Sequence[Found]) -> dict[str, dict[str, comers.Counts]]:
    """What the holders of receipts chose, and what is not known, by ballot id."""
    sums: dict[str, Counter[tuple[int, int]]] = {}
    for name in ("receipted", "beyond", "unconfirmed", "in_place", "displaced", "closed"):
        sums[name] = sum((getattr(each, name) for each in found), Counter())
    return {
        name: {
            told["ballots"][ballot]["id"]: counts
            for ballot, counts in comers.added_up(numbers, told["papers"]).items()
        }
        for name, numbers in sums.items()
    }


def _ms(milliseconds: float) -> float:
    return round(milliseconds, 3)


def _arguments() -> Iterator[Path]:
    parser = ArgumentParser(description="Verify an open-loop run's receipts and write its summary.")
    parser.add_argument("--ahead", type=Path, required=True, help="the folder of the votes sealed ahead")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    told = parser.parse_args()
    yield from (told.ahead, told.out)


def main() -> int:
    """The command."""
    folder, out = _arguments()
    try:
        make(folder, out)
    except (DeskFileFault, OSError) as error:
        sys.stderr.write(f"The run cannot be summed up: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
