"""Draws timelines, thick where something is wrong or done, and the votes over the ballot's own days."""

from typing import TYPE_CHECKING, Final

from loadtests.report.curves import behind, time_axis
from loadtests.report.drawing import (
    BAND_EDGE,
    CURVES,
    INK,
    PAPER,
    QUIET,
    WIDE,
    Backdrop,
    Bar,
    Lane,
    Room,
    figure,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS: Final = ((3 * 3600, 60, "minutes"), (72 * 3600, 3600, "hours"), (1e9, 86_400, "days"))
"""Up to which length of time a ballot is told in which unit."""

BARS_MAX: Final = 600


def drawn(lanes: tuple[Lane, ...], back: Backdrop, room: Room, *, label: str, key: str) -> str:
    """The lanes as one SVG, each under its name."""
    lane_height = 1.9 * room.letters + 18
    bare = Backdrop(back.seconds, windows=back.windows, close_s=back.close_s)
    height = lane_height * len(lanes) + 2.6 * room.letters
    above = (2.6 if bare.lettered else 1.0) * room.letters + (8 + room.letters if back.windows else 0)
    with figure(room, [height], above=above, below=3.2 * room.letters) as (whole, axes):
        axis = axes[0]
        axis.set_ylim(lane_height * len(lanes), 0)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        time_axis(axes, bare, room)
        behind(axes, bare, room, height=height - 2.6 * room.letters)
        for at, lane in enumerate(lanes):
            top = at * lane_height
            axis.text(0, top + 1.35 * room.letters, lane.name, fontsize=room.letters, color=INK)
            bars = lane.bars[:BARS_MAX]
            heavy = [bar.from_s for bar in bars if bar.heavy]
            for bar in bars:
                free_s = min((begins for begins in heavy if begins > bar.from_s), default=back.seconds)
                _bar(axis, bar, top + 1.75 * room.letters, (back.seconds, free_s), room)
        return svg(whole, label=label, key=f"{key}-{room.name}")


def _bar(axis: "Axes", bar: Bar, top: float, room_s: tuple[float, float], room: Room) -> None:
    """One bar, and its word where there is room for it: the axis ends, or the next block begins."""
    seconds, free_s = room_s
    begins, ends = max(0.0, bar.from_s), min(seconds, bar.to_s)
    if ends < begins or begins > seconds:
        return
    ends = max(ends, begins + 2.5 * seconds / room.width)
    if not bar.heavy:
        dashes = {"dashes": (1.5, 2.5)} if bar.dotted else {}
        axis.plot([begins, ends], [top + 8, top + 8], color=QUIET, linewidth=2.4, **dashes)  # type: ignore[arg-type]  # matplotlib's stub knows no dashes
        return
    axis.broken_barh(
        [(begins, ends - begins)],
        (top + 1, 14),
        facecolor=CURVES[1],
        edgecolor=INK,
        hatch="////",
        linewidth=1,
        zorder=3,
    )
    if bar.word:
        beside = ends + 4 * seconds / room.width
        if beside + len(bar.word) * room.letters * 0.6 * seconds / room.width < free_s:
            axis.text(
                beside,
                top + 8,
                bar.word,
                va="center",
                fontsize=room.letters - 1,
                color=INK,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
                zorder=4,
            )


def ballot_days(
    counts: list[int],
    *,
    from_s: float,
    step_s: float,
    real: list[tuple[float, float]],
    room: Room,
    label: str,
    key: str,
) -> str:
    """Votes due over the ballot's own days; what was played in real time is marked."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415  # only who draws pays for it

    length = step_s * len(counts)
    unit, words = next((unit, words) for most, unit, words in UNITS if length <= most or most == UNITS[-1][0])
    with figure(room, [170 + 2.6 * room.letters], above=1.4 * room.letters, below=3.2 * room.letters) as (
        whole,
        axes,
    ):
        axis = axes[0]
        across = [(from_s + step * step_s) / unit for step in range(len(counts))]
        axis.fill_between(across, counts, step="post", color=CURVES[0], alpha=0.3, linewidth=0)
        axis.step(across, counts, where="post", color=CURVES[0], linewidth=1.2)
        first, last = from_s / unit, (from_s + length) / unit
        for at, (begins, ends) in enumerate(real):
            left, right = begins / unit, max(ends / unit, begins / unit + (last - first) / room.width * 2)
            axis.axvspan(left, right, facecolor=BAND_EDGE, alpha=0.35, edgecolor=INK, hatch="\\\\\\\\")
            if at == 0 or room is WIDE:
                near_end = left > first + (last - first) * 0.8
                axis.annotate(
                    "real time \N{BLACK DOWN-POINTING SMALL TRIANGLE}"
                    if near_end
                    else "\N{BLACK DOWN-POINTING SMALL TRIANGLE} real time",
                    (right if near_end else left, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="right" if near_end else "left",
                    annotation_clip=False,
                )
        axis.set_xlim(first, max(last, first + 1e-9))
        axis.set_ylim(0, max([*counts, 1]) * 1.08)
        axis.grid(visible=True, axis="y")
        axis.set_axisbelow(True)
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_xlabel(f"{words} since the ballot opened")
        return svg(whole, label=label, key=f"{key}-{room.name}")
