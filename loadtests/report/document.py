"""`report.json`: everything that the page shows, made from the run directory alone."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtests.report import counted
from loadtests.report.axis import Axis, Values, add
from loadtests.report.happenings import lettered, marks, told_plainly
from loadtests.report.plan import plan
from loadtests.report.reading import RunDirectory, listed, number
from loadtests.report.record import record
from loadtests.report.system import last_second, system
from loadtests.report.traffic import GOOD, HISTOGRAMS, Span, quantiles, span, traffic
from loadtests.report.turnouts import turnouts

FORMAT: Final = 1
NAME: Final = "report.json"
LINES_MAX: Final = 10_000
CURVES_MAX: Final = 20
REFERENCES_MAX: Final = 100
FIRST: Final = ("edge", "queue", "worker", "voterdb", "generator")
LAST: Final = "conductor"
OF_VOTERS: Final = (
    *("voters", "voted", "gave_up", "seconds", "counts", "unexpected_count", "planned", "sent", "unsent"),
    *("late_ms", "latency_ms", "service_ms", "refused_ms", "void", "void_reasons"),
    *("generator_cpu", "generator_cpu_max", "generator_cpu_us", "client_was_bottleneck"),
)
VERDICTS: Final = ("pass", "fail", "void")


def build(folder: Path) -> dict[str, Any]:
    """The report of the run in `folder`; what was not recorded there is empty."""
    files = RunDirectory(folder)
    seconds = span(files)
    axis = _axis(files, seconds)
    happened = marks(files, axis)
    told: dict[str, Any] = {
        "report": FORMAT,
        "run": files.table("run.json"),
        "verdict": _verdict(files),
        "axis": None if axis is None else axis.to_dict(),
        "marks": happened,
        "letters": lettered(happened),
        "schedule": plan(files),
        "measures": {},
        "curves": {},
        "processes": [],
    }
    if axis is not None:
        told |= _measured(files, axis, seconds)
    told |= {
        "availability": record(files, axis),
        "figures": files.rows("figures.json")[:LINES_MAX],
        "result": counted.result(files),
        "check": counted.check(files),
        "voters": _voters(files),
        "quiet": counted.quiet(files, axis),
        "overlays": _overlays(files, axis),
    }
    told |= {"not_recorded": files.missing, "faults": files.faults}
    return told


def write(folder: Path, told: Mapping[str, Any]) -> Path:
    """Put it beside the run's other files; it appears whole."""
    path, draft = folder / NAME, folder / f".{NAME}"
    draft.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return draft.replace(path)


def _axis(files: RunDirectory, seconds: Span | None) -> Axis | None:
    sampled = last_second(files)
    if seconds is not None:
        return Axis.over(
            seconds.first_s, seconds.last_s, until_s=seconds.last_s if sampled is None else sampled[1]
        )
    if sampled is not None:
        return Axis.over(int(sampled[0]), int(sampled[1]), until_s=sampled[1])
    return None


def _measured(files: RunDirectory, axis: Axis, seconds: Span | None) -> dict[str, Any]:
    """Curves over the run, and the numbers that a person, a comparison and the capacity model ask for."""
    measures: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    if seconds is not None:
        read = traffic(files, axis, seconds)
        minute = seconds.busiest_minute()
        measures = {
            "planned": sum(seconds.planned.values()),
            "sent": sum(seconds.sent.values()),
            "accepted": read.totals["accepted"],
            "repeated": read.totals["repeated"],
            "refusals": {
                cause: times for cause, times in read.totals.most_common() if cause not in GOOD and times
            },
            "busiest_second": {
                "planned": max(seconds.planned.values()),
                "sent": max(seconds.sent.values()),
                "accepted": max(seconds.accepted.values()),
            },
            "busiest_minute": None
            if minute is None
            else {
                "from_s": minute[0] - axis.origin_s,
                "planned": minute[1],
                "latency_ms": quantiles(read.busiest, read.busiest_never),
            },
            "never": read.nothing,
            "late_ms_max": max((late for late in read.late_ms if late is not None), default=None),
        } | {
            f"{name}_ms": quantiles(read.whole_run[name], read.nothing if name == "latency" else 0)
            for name in HISTOGRAMS
        }
        curves = {
            "rates": read.rates(),
            "latency_ms": _rounded(read.latencies()),
            "never": read.never if read.nothing else [],
            "refused_ms": _rounded(read.latencies("refused")),
            "refusals": read.refusals(),
            "late_ms": read.late_ms,
            "waited_ms": read.waited_ms if any(read.waited_ms) else [],
        }
    watched = turnouts(files, axis)
    if watched.readings:
        curves["turnout"] = {"accepted": watched.accepted, "stored": watched.stored}
        curves["unstored"] = watched.unstored
        measures["unstored_max"] = _most(watched.unstored)
    sampled = system(files, axis)
    if sampled.samples:
        accepted = measures.get("accepted") or round(sampled.accepted.total)
        curves |= {
            "queue_depth": sampled.depth,
            "queue_oldest_s": sampled.oldest_s,
            "store_lag_s": sampled.lag_s,
            "probe_up": sampled.probe,
            "cores": {name: part.cores for name, part in _largest(sampled.parts)},
            "bytes": {name: part.bytes_held for name, part in _largest(sampled.parts)},
        }
        measures |= {
            "queue_depth_max": _most(sampled.depth),
            "queue_oldest_s_max": _most(sampled.oldest_s),
            "store_lag_s_max": _most(sampled.lag_s),
            "quarantined": sampled.quarantined,
        }
        return {
            "measures": measures,
            "curves": curves,
            "processes": sampled.processes(votes=accepted),
        }
    return {"measures": measures, "curves": curves}


def _largest(parts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What stands between a voter and the count first, then what used most."""
    places = {name: place for place, name in enumerate(FIRST)} | {LAST: len(parts) + len(FIRST)}
    return sorted(
        parts.items(),
        key=lambda item: (places.get(item[0], len(FIRST)), -item[1].spent.total, item[0]),
    )[:CURVES_MAX]


def _most(values: Values) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _rounded(curves: Mapping[str, Values]) -> dict[str, Values]:
    return {
        name: [None if value is None else round(value, 1) for value in values]
        for name, values in curves.items()
    }


def _verdict(files: RunDirectory) -> dict[str, Any]:
    """The verdict and what it was made of; `verdict` is null when the run came to none."""
    value = files.table("verdict.json")
    verdict = value.get("verdict")
    rows = value.get("judgements")
    return {
        "verdict": verdict if verdict in VERDICTS else None,
        "judgements": [
            {
                "what": str(row.get("what", "")),
                "must": _said(row.get("must")),
                "found": _said(row.get("found")),
                "ok": row["ok"] if isinstance(row.get("ok"), bool) else None,
                "void": row.get("void") is True,
                "references": [str(one)[:80] for one in listed(row.get("references"))[:REFERENCES_MAX]],
                "references_left_out": max(0, len(listed(row.get("references"))) - REFERENCES_MAX),
            }
            for row in listed(rows)[:LINES_MAX]
            if isinstance(row, dict)
        ],
    }


def _said(value: Any) -> str:
    """What had to be or was found, as text; numbers with thousands."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else re.sub(r"\s+", " ", str(value))[:400]


def _voters(files: RunDirectory) -> dict[str, Any]:
    """What the voters' side says of itself, in numbers; members and choices stay in its own file."""
    value = files.table("summary.json")
    return {name: value[name] for name in OF_VOTERS if name in value}


def _overlays(files: RunDirectory, axis: Axis | None) -> dict[str, Any]:
    """What each overlay did a second, over the run, and what it told of itself in the end."""
    told: dict[str, Any] = {}
    for name in files.names("overlays/*.jsonl")[:CURVES_MAX]:
        done: Values = [] if axis is None else axis.empty()
        last: dict[str, Any] = {}
        for line in files.lines(name):
            did = line.get("did")
            if axis is not None and isinstance(did, dict):
                add(done, axis.step_us(line.get("at_us")), sum(map(_count, did.values())) / axis.step_s)
            last = told_plainly(line["told"]) if isinstance(line.get("told"), dict) else last
        told[Path(name).stem] = {"a_second": done, "told": last}
    return told


def _count(value: Any) -> float:
    return number(value) or 0.0
