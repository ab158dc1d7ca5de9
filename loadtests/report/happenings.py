"""What was done to a run and when: phases, windows of time, overlays and faults, on the report's clock."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadtests.report.axis import Axis
from loadtests.report.reading import RunDirectory, number

MARKS_MAX: Final = 2_000
TOLD_MAX: Final = 40
TEXT_MAX: Final = 300
NAME_MAX: Final = 60
BANDS: Final = ("overlay", "fault")
KINDS: Final = ("phase", "window", *BANDS)
REAL_FACTOR_MAX: Final = 1.001
LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def marks(files: RunDirectory, axis: Axis | None) -> list[dict[str, Any]]:
    """Every mark in order of time; what has a letter is shown as a band with it in every plot."""
    found: list[dict[str, Any]] = []
    seen = set()
    for line in _lines(files):
        begins, ends = number(line.get("from_us")), number(line.get("to_us"))
        kind, name = line.get("kind"), line.get("name")
        if kind not in KINDS or not isinstance(name, str) or begins is None:
            continue
        if len(found) >= MARKS_MAX:
            break
        if (kind, name, begins) in seen:
            continue
        seen.add((kind, name, begins))
        ended = begins if ends is None else max(begins, ends)
        found.append(
            {
                "kind": kind,
                "name": "".join(filter(str.isprintable, name))[:NAME_MAX],
                "from_us": round(begins),
                "to_us": round(ended),
                "from_s": None if axis is None else round(axis.run_s(begins), 3),
                "to_s": None if axis is None else round(axis.run_s(ended), 3),
                "told": told_plainly(line.get("told")),
            }
        )
    found.sort(key=lambda mark: (mark["from_us"], mark["name"]))
    return found


def _lines(files: RunDirectory) -> Iterator[dict[str, Any]]:
    """What the run marked, and what its overlays marked themselves."""
    yield from files.lines("marks.jsonl")
    for name in files.names("overlays/*.jsonl"):
        for line in files.lines(name):
            inner = line.get("marks")
            yield from (mark for mark in inner if isinstance(mark, dict)) if isinstance(inner, list) else ()


def lettered(found: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Name to letter, for everything that was done to the deployment, in the order in which it began."""
    names = list(dict.fromkeys(mark["name"] for mark in found if mark["kind"] in BANDS))
    return {
        name: LETTERS[at] if at < len(LETTERS) else f"{LETTERS[at % len(LETTERS)]}{at // len(LETTERS)}"
        for at, name in enumerate(names)
    }


def apart(marks: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """The stretches that the marks cover; those that overlap or touch are one."""
    spans: list[tuple[int, int]] = []
    for mark in marks:
        if spans and mark["from_us"] <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], mark["to_us"]))
        else:
            spans.append((mark["from_us"], mark["to_us"]))
    return spans


def windows(files: RunDirectory) -> list[dict[str, Any]]:
    """How the ballot's own time was played: each window with its factor; 1 is real time."""
    names = ("from_run_s", "to_run_s", "from_ballot_s", "to_ballot_s")
    found: list[dict[str, Any]] = []
    for row in files.rows("windows.json")[:MARKS_MAX]:
        edges = {name: number(row.get(name)) for name in names}
        if any(value is None for value in edges.values()):
            continue
        run = (edges["to_run_s"] or 0) - (edges["from_run_s"] or 0)
        ballot = (edges["to_ballot_s"] or 0) - (edges["from_ballot_s"] or 0)
        factor = number(row.get("factor")) or (ballot / run if run > 0 else 1.0)
        found.append({"name": str(row.get("name", "")), **edges, "factor": round(factor, 3)})
    found.sort(key=lambda row: row["from_run_s"])
    return _filled(found)


def real(window: dict[str, Any]) -> bool:
    """Whether a window was played in real time."""
    return bool(window["factor"] <= REAL_FACTOR_MAX)


def _filled(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The windows, and between them what was played faster and is not listed."""
    told: list[dict[str, Any]] = []
    for window in found:
        if told:
            before = told[-1]
            run = window["from_run_s"] - before["to_run_s"]
            ballot = window["from_ballot_s"] - before["to_ballot_s"]
            if run > 0 and ballot > run:
                told.append(
                    {
                        "name": "between",
                        "from_run_s": before["to_run_s"],
                        "to_run_s": window["from_run_s"],
                        "from_ballot_s": before["to_ballot_s"],
                        "to_ballot_s": window["from_ballot_s"],
                        "factor": round(ballot / run, 3),
                    }
                )
        told.append(window)
    return told


def told_plainly(value: Any) -> dict[str, Any]:
    """What whoever made the mark has told, small values only: a report is no place for records."""
    kept: dict[str, Any] = {}
    for name, said in list(value.items())[:TOLD_MAX] if isinstance(value, dict) else ():
        if isinstance(said, dict):
            counts = {str(key): count for key, count in list(said.items())[:TOLD_MAX] if _small(count)}
            kept[str(name)[:60]] = counts
        elif _small(said):
            kept[str(name)[:60]] = said[:TEXT_MAX] if isinstance(said, str) else said
    return kept


def _small(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
