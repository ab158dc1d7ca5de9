"""What is told of two runs side by side, row by row, and what forbids to compare them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from loadtests.report import saying

SAME: Final = {
    "scenario": "scenario",
    "variant": "variant",
    "scale": "scale",
    "only": "part of the ballot",
    "speed": "speed",
    "overlays": "overlays",
    "seed": "seed",
}
MACHINE: Final = ("cores", "cpu", "memory_bytes")
PARTS_MAX: Final = 24
TEXT_MAX: Final = 40
COMMIT_MAX: Final = 12
CELL_MAX: Final = 24
CHANCE: Final = (
    "One run each: a difference of some per cent may be chance. Repeat both before you believe it."
)
Told = Mapping[str, Any]
Pair = tuple[Any, Any]
Say = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing told of both runs; `change` is of the second against the first, where both are numbers."""

    group: str
    what: str
    first: str
    second: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side."""

    names: tuple[str, str]
    cautions: tuple[str, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "cautions": list(self.cautions),
            "rows": [asdict(row) for row in self.rows],
        }

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"A: {self.names[0]}"
        yield f"B: {self.names[1]}"
        yield ""
        yield from (f"Caution: {text}" for text in self.cautions)
        cells = [(row.what, _cut(row.first), _cut(row.second)) for row in self.rows]
        wide = [max(map(len, column)) for column in zip(("", "A", "B"), *cells, strict=True)]
        group = None
        for row, (what, first, second) in zip(self.rows, cells, strict=True):
            if row.group != group:
                group = row.group
                yield ""
                yield f"{group.upper():{wide[0]}}  {'A':>{wide[1]}}  {'B':>{wide[2]}}  change"
            yield f"{what:{wide[0]}}  {first:>{wide[1]}}  {second:>{wide[2]}}  {row.change}".rstrip()


def compared(first: Told, second: Told, paths: tuple[Path, Path]) -> Comparison:
    """Both runs, row by row."""
    makers = (_head, _verdicts, _votes, _waiting, _queue, _refusals, _availability, _processes)
    return Comparison(
        names=(_name(first, paths[0]), _name(second, paths[1])),
        cautions=tuple(_cautions(first, second)),
        rows=tuple(row for make in makers for row in make(first, second)),
    )


def _cut(text: str) -> str:
    return text if len(text) <= CELL_MAX else f"{text[: CELL_MAX - 1]}\N{HORIZONTAL ELLIPSIS}"


def _name(told: Told, path: Path) -> str:
    run = told["run"]
    title = run.get("title") or run.get("scenario") or "a run"
    return f"{title}, {saying.moment(run.get('started_at'))} ({path})"


def _cautions(first: Told, second: Told) -> Iterator[str]:
    """What a reader must know before believing a difference."""
    differ = [words for name, words in SAME.items() if first["run"].get(name) != second["run"].get(name)]
    if differ:
        yield f"They did not play the same; what differs: {', '.join(differ)}."
    if _machine(first) != _machine(second):
        yield "They ran on machines that are not alike: times and CPU do not compare."
    for name, told in (("A", first), ("B", second)):
        verdict = told["verdict"]["verdict"]
        if verdict is None:
            yield f"{name} came to no verdict."
        elif verdict != "pass":
            yield f"The verdict on {name} is {verdict}."
    yield CHANCE


def _machine(told: Told) -> list[Any]:
    machine = told["run"].get("machine")
    return [machine.get(name) if isinstance(machine, dict) else None for name in MACHINE]


def _head(first: Told, second: Told) -> Iterator[Row]:
    for name in (*SAME, "commit"):
        one, other = first["run"].get(name), second["run"].get(name)
        if one not in (None, "", []) or other not in (None, "", []):
            change = "" if one == other else "differs"
            longest = COMMIT_MAX if name == "commit" else TEXT_MAX
            yield Row("The runs", SAME.get(name, name), _said(one, longest), _said(other, longest), change)


def _said(value: Any, longest: int) -> str:
    # A seed is to be typed again: no thousands in it.
    return (str(value) if isinstance(value, int) else saying.anything(value))[:longest] or "-"


def _verdicts(first: Told, second: Told) -> Iterator[Row]:
    """The verdicts, and each judgement that did not hold in one of the runs."""
    one, other = (str(told["verdict"]["verdict"]) for told in (first, second))
    yield Row("Verdict", "verdict", one, other, "" if one == other else "differs")
    left, right = ({row["what"]: row for row in told["verdict"]["judgements"]} for told in (first, second))
    for what in dict.fromkeys((*left, *right)):
        pair = (_judged(left.get(what)), _judged(right.get(what)))
        if pair != ("held", "held"):
            yield Row("Verdict", what, *pair, "" if pair[0] == pair[1] else "differs")


def _judged(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not judged"
    if row["ok"]:
        return "held"
    return f"{'void' if row.get('void') else 'not held'}: {row['found']}"[:TEXT_MAX]


def _votes(first: Told, second: Told) -> Iterator[Row]:
    one, other = first["measures"], second["measures"]
    names = {"planned": "requests to vote due", "sent": "sent", "accepted": "votes accepted"}
    for name, words in names.items():
        yield from _row("Votes", words, (one.get(name), other.get(name)), saying.count)
    for name in ("planned", "accepted"):
        most = (one.get("busiest_second", {}).get(name), other.get("busiest_second", {}).get(name))
        yield from _row("Votes", f"{name} in the busiest second", most, saying.count)


def _waiting(first: Told, second: Told) -> Iterator[Row]:
    one, other = first["measures"], second["measures"]
    kinds = {"latency_ms": "", "service_ms": ", since it was sent", "refused_ms": ", if refused"}
    quantiles = {"p50": "half within", "p99": "99 of 100 within", "max": "the slowest"}
    for kind, which in kinds.items():
        for quantile, words in quantiles.items():
            pair = (_within(one.get(kind), quantile), _within(other.get(kind), quantile))
            yield from _row("Waiting", words + which, pair, saying.milliseconds)
    yield from _row(
        "Waiting", "votes without a receipt", (one.get("never"), other.get("never")), saying.count
    )
    minute = (_minute(one), _minute(other))
    yield from _row("Waiting", "99 of 100 within, busiest minute", minute, saying.milliseconds)
    late = (one.get("late_ms_max"), other.get("late_ms_max"))
    yield from _row("Waiting", "latest sending", late, saying.milliseconds)


def _minute(measures: Mapping[str, Any]) -> Any:
    return _within((measures.get("busiest_minute") or {}).get("latency_ms"), "p99")


def _within(times: Mapping[str, Any] | None, quantile: str) -> Any:
    """Milliseconds; for ever, where so many had no receipt."""
    if not times or quantile not in times:
        return None
    return math.inf if times[quantile] is None else times[quantile]


def _queue(first: Told, second: Told) -> Iterator[Row]:
    names: dict[str, tuple[str, Say]] = {
        "queue_depth_max": ("most votes in the queue", saying.count),
        "queue_oldest_s_max": ("oldest vote in the queue", saying.seconds),
        "store_lag_s_max": ("slowest storing, 99 of 100 within", saying.seconds),
    }
    for name, (words, say) in names.items():
        yield from _row("Queue", words, (first["measures"].get(name), second["measures"].get(name)), say)


def _refusals(first: Told, second: Told) -> Iterator[Row]:
    left, right = (told["measures"].get("refusals", {}) for told in (first, second))
    for cause in dict.fromkeys((*left, *right)):
        pair = (left.get(cause, 0), right.get(cause, 0))
        yield from _row("Answers other than a receipt", cause, pair, saying.count)


def _availability(first: Told, second: Told) -> Iterator[Row]:
    left, right = (told["availability"].get("watchers", {}) for told in (first, second))
    kinds: dict[str, tuple[str, Say]] = {
        "share": ("Time in which votes could be cast", saying.share),
        "outages": ("Outages", saying.count),
    }
    for key, (group, say) in kinds.items():
        for name in dict.fromkeys((*left, *right)):
            pair = (left.get(name, {}).get(key), right.get(name, {}).get(key))
            yield from _row(group, (left.get(name) or right[name])["what"], pair, say, ratio=False)


def _processes(first: Told, second: Told) -> Iterator[Row]:
    left, right = ({row["name"]: row for row in told["processes"]} for told in (first, second))
    kinds: dict[str, tuple[str, Say]] = {
        "cpu_us_per_vote": ("CPU a vote", lambda value: f"{value:,.0f} \N{MICRO SIGN}s"),
        "cores_most": ("Most cores in use", saying.rate),
        "rss_bytes_most": ("Most memory", saying.size),
    }
    for key, (group, say) in kinds.items():
        for name in list(dict.fromkeys((*left, *right)))[:PARTS_MAX]:
            yield from _row(group, name, (left.get(name, {}).get(key), right.get(name, {}).get(key)), say)


def _row(group: str, what: str, pair: Pair, say: Say, *, ratio: bool = True) -> Iterator[Row]:
    """A row of two numbers; none when neither run has one."""
    first, second = pair
    if first is None and second is None:
        return
    if first is None or second is None:
        change = ""
    elif first == second:
        change = "the same"
    elif first and ratio and math.isfinite(first + second):
        change = f"{(second - first) / first * 100:+.0f} %"
    else:
        change = "more" if second > first else "less"
    left = saying.NOTHING if first is None else say(first)
    right = saying.NOTHING if second is None else say(second)
    yield Row(group, what, left, right, change)
