"""The rows of the page's tables, in words and numbers as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadtests.report import saying
from loadtests.report.axis import MICROSECONDS, clock
from loadtests.report.happenings import BANDS, apart

ROWS_MAX: Final = 400
DONE_MAX: Final = 40
IN_ORDER_MAX: Final = 60
Rows = Sequence[tuple[str, ...]]


def figures(told: Mapping[str, Any]) -> dict[str, Any]:
    """In the order of the paper; in a group of hundreds of ballots what differs comes first."""
    rows = list(told["figures"])
    if len(rows) > IN_ORDER_MAX:
        rows.sort(key=lambda row: not row.get("difference"))
    shown = [
        (
            str(row.get("question", "")),
            str(row.get("option", "")),
            saying.count(row.get("published")),
            saying.count(row.get("counted")),
            f"{saying.count(row.get('difference'))} differs" if row.get("difference") else "0",
        )
        for row in rows[:ROWS_MAX]
    ]
    return {"figures": shown, "figures_left_out": max(0, len(rows) - ROWS_MAX)}


def books(told: Mapping[str, Any]) -> dict[str, Any]:
    """The terms, by how much each equation is out, and what the checker counted."""
    result = told["result"] if "books" in told["result"] else told["check"]
    differences = result.get("books_differences") or {}
    return {
        "books": [(saying.named(name), saying.count(term)) for name, term in result.get("books", {}).items()],
        "equations": [(name, saying.count(value)) for name, value in differences.items()],
        "check_counts": [
            (saying.named(name), saying.count(value)) for name, value in told["check"]["counts"].items()
        ],
    }


def quiet(told: Mapping[str, Any]) -> Rows:
    """The turnout when nobody was voting, beside what the books said at that moment."""
    return [
        (
            "-" if one["at_s"] is None else clock(one["at_s"]),
            *(
                saying.count(one[side].get(name))
                for name in ("accepted", "stored")
                for side in ("turnout", "books")
            ),
            "the same" if one["turnout"] == one["books"] else "differs",
        )
        for one in told["quiet"]
    ][:ROWS_MAX]


def windows(told: Mapping[str, Any]) -> Rows:
    """Which stretches were played in real time and which faster."""
    return [
        (
            window["name"],
            "in real time" if window["real"] else f"{window['factor']:,.0f} times as fast",
            saying.seconds(window["to_ballot_s"] - window["from_ballot_s"]),
            saying.seconds(window["to_run_s"] - window["from_run_s"]),
            saying.count(window["votes"]),
        )
        for window in told["schedule"].get("windows", [])[:ROWS_MAX]
    ]


def done(told: Mapping[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    """Letter, name, times in words, and what it told of itself."""
    rows = []
    for name, letter in told["letters"].items():
        marks = [mark for mark in told["marks"] if mark["name"] == name and mark["kind"] in BANDS]
        spans = apart(marks)
        length = sum(ends - begins for begins, ends in spans) / MICROSECONDS
        at = [] if marks[0]["from_s"] is None else [_clock(marks[0], begins) for begins, _ in spans]
        where = " and ".join(dict.fromkeys((*at[:1], *at[-1:])))
        if len(spans) == 1:
            times = f"Once, at {where or 'a time that was not recorded'}, for {saying.seconds(length)}."
        else:
            times = f"{len(spans)} times between {where}, {saying.seconds(length)} in all."
        told_of = [mark["told"] for mark in marks if mark["told"]]
        kept = told_of[0] if told_of else told["overlays"].get(name, {}).get("told", {})
        lines = [
            f"{saying.named(key)}: {saying.anything(value)}"
            for key, value in kept.items()
            if not key.endswith("_us") and value not in ({}, None, "")
        ]
        rows.append((letter, name, times, lines))
    return rows[:DONE_MAX]


def _clock(mark: Mapping[str, Any], at_us: int) -> str:
    return clock(mark["from_s"] + (at_us - mark["from_us"]) / MICROSECONDS)


def phases(told: Mapping[str, Any]) -> Rows:
    """What the run did when."""
    return [
        (
            mark["name"],
            "-" if mark["from_s"] is None else clock(mark["from_s"]),
            saying.seconds((mark["to_us"] - mark["from_us"]) / MICROSECONDS),
        )
        for mark in told["marks"]
        if mark["kind"] == "phase"
    ][:ROWS_MAX]


def intervals(told: Mapping[str, Any]) -> Rows:
    """All that was not up, by who saw it."""
    return [
        (
            watcher["what"],
            one["state"] + {None: "", True: ", planned", False: ", not planned"}[one["planned"]],
            "-" if one["from_s"] is None else clock(one["from_s"]),
            saying.seconds((one["to_us"] - one["from_us"]) / MICROSECONDS),
            one["reason"],
        )
        for name, watcher in told["availability"].get("watchers", {}).items()
        for one in watcher["intervals"]
        if one["state"] != "up" and (name, one["state"]) != ("voters", "unknown")
    ][:ROWS_MAX]


def processes(told: Mapping[str, Any]) -> Rows:
    """What each kind of process used."""
    return [
        (
            row["name"],
            saying.seconds(row["cpu_s"]),
            saying.NOTHING if row["cpu_us_per_vote"] is None else f"{row['cpu_us_per_vote']:,.0f} µs",
            f"{row['cores_most']:.2f}",
            saying.size(row["rss_bytes_most"]),
        )
        for row in told["processes"]
    ]


def voters(told: Mapping[str, Any]) -> Rows:
    """What the voters did, and how often."""
    counts = told["voters"].get("counts")
    rows = [("voters", told["voters"].get("voters")), ("of them with a receipt", told["voters"].get("voted"))]
    rows.append(("who tried and have none", _number(told["voters"].get("gave_up"))))
    rows += counts.items() if isinstance(counts, dict) else []
    return [(saying.named(name), saying.count(value)) for name, value in rows if value is not None][:ROWS_MAX]


def _number(value: Any) -> int | None:
    """A count, whether it is told as one or as a list."""
    return len(value) if isinstance(value, list | dict) else value if isinstance(value, int) else None


def machine(told: Mapping[str, Any]) -> Rows:
    """The run and the machine, a line each."""
    run = told["run"]
    names = (
        "scenario", "variant", "source", "entitled", "votes", "ballots", "scale", "only", "speed", "seed",
        "overlays", "generators", "started_at", "commit",
    )  # fmt: skip
    there = [name for name in names if run.get(name) not in (None, "", [])]
    # A seed is to be typed again: no thousands in it.
    rows = [
        (saying.named(name), str(run[name]) if name == "seed" else saying.anything(run[name]))
        for name in there
    ]
    machine = run.get("machine")
    for name, value in machine.items() if isinstance(machine, dict) else ():
        said = saying.anything(value)
        if name.endswith("_bytes"):
            said = saying.size(value)
        elif name.endswith("_us"):
            said = saying.milliseconds(value / 1000) if isinstance(value, int | float) else said
        rows.append((saying.named(name.removesuffix("_bytes").removesuffix("_us")), said))
    return rows
