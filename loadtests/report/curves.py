"""Draws curves over the run's time, a panel above another, and behind them what was done meanwhile."""

import math
from typing import TYPE_CHECKING, Any, Final

from loadtests.report.axis import clock, coarser, together
from loadtests.report.drawing import (
    BAND,
    BAND_EDGE,
    CURVES,
    INK,
    LIMIT,
    QUIET,
    WIDE,
    Backdrop,
    Line,
    Panel,
    Room,
    figure,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICK_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
BANDS_MAX: Final = 300
LETTER_WIDTHS: Final = 1.1
LETTERS_ABOVE: Final = 1.85
STRIP: Final = 8
SOFT: Final = 0.4
LOG_TICKS_MAX: Final = 12
FEW_TENFOLDS: Final = 200


def drawn(panels: tuple[Panel, ...], back: Backdrop, room: Room, *, label: str, key: str) -> str:
    """The panels as one SVG."""
    heights = [panel.height + 2.6 * room.letters for panel in panels]
    above = (1.7 if back.lettered else 0.3) * room.letters + (
        STRIP + 1.5 * room.letters if back.windows else 0
    )
    with figure(room, heights, above=above, below=3.2 * room.letters) as (whole, axes):
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, panel, back, room)
        time_axis(axes, back, room)
        behind(axes, back, room, height=panels[0].height)
        return svg(whole, label=label, key=f"{key}-{room.name}")


def time_axis(axes: "list[Axes]", back: Backdrop, room: Room) -> None:
    """Ticks at round times of the run, written under the last panel only."""
    step = next((s for s in TICK_SECONDS if back.seconds / s <= room.ticks), TICK_SECONDS[-1])
    ticks = [float(at) for at in range(0, int(back.seconds) + 1, step)]
    for axis in axes:
        axis.set_xlim(0, back.seconds)
        axis.tick_params(axis="x", length=3, labelbottom=axis is axes[-1])
    axes[-1].set_xticks(ticks, [clock(at) for at in ticks])
    long = "time of the run since its first vote was due (minutes:seconds)"
    words = long if room is WIDE else "time of the run (minutes:seconds)"
    if step >= 3600:  # noqa: PLR2004  # an hour
        words = words.replace("minutes:seconds", "hours:minutes:seconds")
    axes[-1].set_xlabel(words)


def behind(axes: "list[Axes]", back: Backdrop, room: Room, *, height: float) -> None:
    """Bands with their letters, the close, and above all a strip of real and compressed time."""
    across = room.letters * LETTER_WIDTHS * back.seconds / room.width
    labels: list[tuple[float, list[str]]] = []
    top = axes[0]
    for band in back.bands[:BANDS_MAX]:
        begins, ends = max(0.0, band.from_s), min(back.seconds, max(band.to_s, band.from_s))
        if ends < 0 or begins > back.seconds:
            continue
        ends = max(ends, begins + back.seconds / room.width)
        for axis in axes:
            axis.axvspan(begins, ends, facecolor=BAND, edgecolor="none", zorder=0)
            axis.axvline(begins, color=BAND_EDGE, linewidth=1, dashes=(2, 2), zorder=0.5)
            axis.axvline(ends, color=BAND_EDGE, linewidth=0.6, dashes=(1, 2), zorder=0.5)
        if labels and begins < labels[-1][0] + across * len(labels[-1][1]):
            labels[-1][1].extend([band.letter] if band.letter not in labels[-1][1] else [])
        else:
            labels.append((begins, [band.letter]))
    for place, letters in labels:
        top.annotate(
            "".join(letters),
            (place, 1),
            xytext=(0, LETTERS_ABOVE * room.letters),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            weight="bold",
            color=INK,
            annotation_clip=False,
        )
    if back.close_s is not None and 0 <= back.close_s <= back.seconds:
        for axis in axes:
            axis.axvline(back.close_s, color=INK, linewidth=1.2, zorder=3)
        left = back.close_s > back.seconds / 2
        top.annotate(
            "close",
            (back.close_s, 1),
            xytext=(0, LETTERS_ABOVE * room.letters),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=room.letters - 1,
            annotation_clip=False,
        )
    _strip(top, back, room, height)


def _strip(top: "Axes", back: Backdrop, room: Room, height: float) -> None:
    """Which stretches of the clock are real time and which stand for weeks."""
    base = 1 + (1.5 * room.letters + (1.9 * room.letters if back.lettered else 0.1 * room.letters)) / height
    for begins, ends, words, real in back.windows:
        left, right = max(0.0, begins), min(back.seconds, ends)
        if right <= left:
            continue
        top.axvspan(
            left,
            right,
            ymin=base,
            ymax=base + STRIP / height,
            facecolor=QUIET if real else "none",
            edgecolor=QUIET,
            hatch="" if real else "////",
            linewidth=0.8,
            clip_on=False,
        )
        across = (right - left) / back.seconds * (room.width - 70) / (room.letters * 0.55)
        said = next((way for way in words if len(way) < across), "")
        if said:
            top.text(
                (left + right) / 2,
                base + (STRIP + 0.3 * room.letters) / height,
                said,
                transform=top.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=room.letters - 1,
                color=QUIET,
            )


def _panel(axis: "Axes", panel: Panel, back: Backdrop, room: Room) -> None:
    # Told where to stand, it is not measured against everything else in the plot, which takes half the time.
    axis.set_title(panel.title, loc="left", y=1.0, pad=0.45 * room.letters)
    axis.grid(visible=True, axis="y")
    axis.set_axisbelow(True)
    axis.yaxis.tick_left()
    highest = 0.0
    for at, line in enumerate(panel.lines):
        highest = max(highest, *(value for value in line.values if value is not None), 0.0)
        _line(axis, line, at, back, room)
    if panel.limit is not None:
        axis.axhline(panel.limit, color=LIMIT, linewidth=1.3, dashes=(12, 3))
    if panel.log:
        _log(axis, panel, highest)
    else:
        _linear(axis, panel, highest)


def _line(axis: "Axes", line: Line, at: int, back: Backdrop, room: Room) -> None:
    values = coarser(line.values, room.points, line.reduce)
    # The last of them may stand for fewer steps than the others: it is as wide all the same.
    width = back.seconds / max(1, len(line.values)) * together(len(line.values), room.points)
    across = [(step + 0.5) * width for step in range(len(values))]
    up = [math.nan if value is None else value for value in values]
    alone = [
        step
        for step, value in enumerate(values)
        if value is not None
        and (step == 0 or values[step - 1] is None)
        and (step + 1 == len(values) or values[step + 1] is None)
    ]
    colour = CURVES[at % len(CURVES)]
    dashes: dict[str, Any] = {"dashes": line.dashes(at)} if line.dashes(at) else {}
    if line.filled:
        axis.fill_between(across, up, color=colour, alpha=0.22, linewidth=0)
    marked: dict[str, Any] = {"marker": ".", "markevery": alone, "markersize": 6} if alone else {}
    axis.plot(
        across, up, color=colour, linewidth=line.thick, alpha=SOFT if line.soft else 1, **dashes, **marked
    )


def _linear(axis: "Axes", panel: Panel, highest: float) -> None:
    """From 0, with few ticks, written as a person says them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415  # only who draws pays for it

    highest = panel.top if panel.top is not None else max(highest, panel.limit or 0.0)
    axis.set_ylim(0, highest * 1.08 if highest > 0 else 1)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=3 if panel.height < 120 else 5, min_n_ticks=2))  # noqa: PLR2004
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.told(value)))


def _log(axis: "Axes", panel: Panel, highest: float) -> None:
    """Ten times as much a line; with steps between where there would be few lines."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415  # the same

    axis.set_yscale("log")
    values = [value for line in panel.lines for value in line.values if value]
    few = max(highest, panel.limit or 0.0) < FEW_TENFOLDS * min(values, default=1.0)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=LOG_TICKS_MAX))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.told(value)))
    axis.yaxis.set_minor_formatter(NullFormatter())
