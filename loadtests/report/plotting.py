"""A plot made whole: drawn for a desk and for a phone, with its words, its legend and the table behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadtests.report import curves, lanes, saying
from loadtests.report.axis import MICROSECONDS, Values, clock, coarser, together
from loadtests.report.drawing import CURVES, ROOMS, Backdrop, Band, Lane, Panel
from loadtests.report.happenings import BANDS, apart

ROWS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Key:
    """One curve in the legend: its name, dashes and colour, and its highest value."""

    name: str
    dashes: str
    thick: float
    soft: bool
    colour: int
    most: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot for the page: drawn for a desk and for a phone, spoken, with a legend and a table."""

    key: str
    label: str
    wide: str
    narrow: str
    legend: tuple[tuple[str, tuple[Key, ...], str], ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    slot: str
    note: str = ""


def backdrop(told: Mapping[str, Any]) -> Backdrop | None:
    """The common time axis with what was done; None when nothing was recorded over time."""
    axis = told.get("axis")
    if not axis:
        return None
    bands = sorted(
        (
            Band(
                letter,
                begins / MICROSECONDS - axis["origin_unix_s"],
                ends / MICROSECONDS - axis["origin_unix_s"],
            )
            for name, letter in told["letters"].items()
            for begins, ends in apart(
                [mark for mark in told["marks"] if mark["name"] == name and mark["kind"] in BANDS]
            )
        ),
        key=lambda band: band.from_s,
    )
    closes = told["run"].get("closes_us")
    close_s = closes / MICROSECONDS - axis["origin_unix_s"] if isinstance(closes, int) else None
    listed = told["schedule"].get("windows", [])
    started = told["run"].get("start_us")
    if isinstance(started, int) and started > 0:
        begins = axis["origin_unix_s"] - started / MICROSECONDS
    else:
        begins = listed[0]["from_run_s"] if listed else 0.0
    windows = tuple(
        (
            window["from_run_s"] - begins,
            window["to_run_s"] - begins,
            ("real time", "real") if window["real"] else _faster(window["factor"]),
            window["real"],
        )
        for window in listed
    )
    return Backdrop(axis["steps"] * axis["step_s"], tuple(bands), windows, close_s)


def _faster(factor: float) -> tuple[str, str]:
    return f"{factor:,.0f} times as fast", f"\N{MULTIPLICATION SIGN}{factor:,.0f}"


def plotted(key: str, label: str, panels: tuple[Panel, ...], back: Backdrop) -> Plot | None:
    """The panels that have a value at all, as one plot; None when none has."""
    there = tuple(panel for panel in panels if any(_any(line.values) for line in panel.lines))
    if not there:
        return None
    wide, narrow = (curves.drawn(there, back, room, label=label, key=key) for room in ROOMS)
    head, rows, slot = _table(there, back)
    return Plot(key, label, wide, narrow, tuple(_legend(panel) for panel in there), head, rows, slot)


def timeline(key: str, label: str, rows: tuple[Lane, ...], back: Backdrop) -> Plot:
    """Lanes as a plot; the page has a table of its own for them."""
    wide, narrow = (lanes.drawn(rows, back, room, label=label, key=key) for room in ROOMS)
    return Plot(key, label, wide, narrow, (), (), (), "")


def _legend(panel: Panel) -> tuple[str, tuple[Key, ...], str]:
    keys = tuple(
        Key(
            line.name,
            " ".join(f"{part:g}" for part in line.dashes(at)),
            line.thick,
            line.soft,
            at % len(CURVES) + 1,
            panel.told(max((value for value in line.values if value is not None), default=0.0)),
        )
        for at, line in enumerate(panel.lines)
        if _any(line.values)
    )
    return panel.title, keys if len(panel.lines) > 1 else (), panel.limit_words


def _table(
    panels: tuple[Panel, ...], back: Backdrop
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], str]:
    """At most 30 rows: each column told for a stretch of the run as its curve is."""
    columns: list[tuple[str, Values, Callable[[float], str]]] = []
    for panel in panels:
        for line in panel.lines:
            if _any(line.values):
                name = panel.title if len(panel.lines) == 1 else f"{panel.title}: {line.name}"
                columns.append((name, coarser(line.values, ROWS_MAX, line.reduce), panel.told))
    rows = max(len(values) for _, values, _ in columns)
    steps = max(len(line.values) for panel in panels for line in panel.lines)
    slot = back.seconds / steps * together(steps, ROWS_MAX)
    told = tuple(
        (
            clock(at * slot),
            *(
                "-" if at >= len(values) or values[at] is None else say(values[at] or 0.0)
                for _, values, say in columns
            ),
        )
        for at in range(rows)
    )
    return ("from", *(name for name, _, _ in columns)), told, saying.seconds(slot)


def _any(values: Values) -> bool:
    return any(value is not None for value in values)
