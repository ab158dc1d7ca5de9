"""The availability record of a run: what each of three watchers saw, and whether they agree."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadtests.report import tried
from loadtests.report.axis import MICROSECONDS, Axis
from loadtests.report.reading import RunDirectory, number

FILE: Final = "availability.json"
WATCHERS: Final = {
    "inside": "the deployment's own monitor",
    "outside": "a second monitor outside it",
    "voters": "the voters themselves",
}
INTERVALS_MAX: Final = 5_000
DIFFERENCES_MAX: Final = 200
UP: Final = frozenset({"up", "slow"})
EDGES: Final = {
    "from_us": ("from_us", "started_us", "from"),
    "to_us": ("to_us", "ended_us", "to"),
}


def record(files: RunDirectory, axis: Axis | None) -> dict[str, Any]:
    """The record with the report's clock beside the wall's; empty when there is none."""
    value = files.table(FILE)
    if not value:
        return {}
    watchers = {}
    for name, what in WATCHERS.items():
        intervals = _intervals(value.get(name), axis)
        watchers[name] = {"what": what, "intervals": intervals, **_sums(intervals)}
    differences = value.get("differences")
    return {
        "period_s": number(value.get("period_s")),
        "agree": value.get("agree") if isinstance(value.get("agree"), bool) else None,
        "differences": [_plain(row) for row in differences[:DIFFERENCES_MAX]]
        if isinstance(differences, list)
        else [],
        "watchers": watchers,
        "attempts": tried.kept(value.get("attempts")),
    }


def _intervals(rows: Any, axis: Axis | None) -> list[dict[str, Any]]:
    found = []
    for row in rows[:INTERVALS_MAX] if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        edges = {edge: _first(row, names) for edge, names in EDGES.items()}
        begins, ends = edges["from_us"], edges["to_us"]
        if begins is None or ends is None or ends < begins:
            continue
        found.append(
            {
                "from_us": round(begins),
                "to_us": round(ends),
                "from_s": None if axis is None else round(axis.run_s(begins), 3),
                "to_s": None if axis is None else round(axis.run_s(ends), 3),
                "state": str(row.get("state", "unknown"))[:20],
                "reason": str(row.get("reason") or "")[:200],
                "planned": row.get("planned") if isinstance(row.get("planned"), bool) else None,
            }
        )
    return sorted(found, key=lambda interval: interval["from_us"])


def _first(row: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((value for name in names if (value := number(row.get(name))) is not None), None)


def _sums(intervals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds by state, outages and the share of observed time in which a vote could be cast."""
    seconds: dict[str, float] = {}
    for interval in intervals:
        length = (interval["to_us"] - interval["from_us"]) / MICROSECONDS
        seconds[interval["state"]] = seconds.get(interval["state"], 0.0) + length
    down = [interval for interval in intervals if interval["state"] == "down"]
    longest = max((interval["to_us"] - interval["from_us"] for interval in down), default=0)
    observed = sum(length for state, length in seconds.items() if state != "unknown")
    up = sum(length for state, length in seconds.items() if state in UP)
    return {
        "seconds": {state: round(length, 3) for state, length in sorted(seconds.items())},
        "outages": len(down),
        "longest_outage_s": round(longest / MICROSECONDS, 3),
        "share": round(up / observed, 6) if observed else None,
    }


def _plain(row: Any) -> str:
    """A difference as one line, whatever form it was told in."""
    if isinstance(row, str):
        return row[:400]
    if isinstance(row, dict):
        return ", ".join(f"{name} {value}" for name, value in row.items())[:400]
    return str(row)[:400]
