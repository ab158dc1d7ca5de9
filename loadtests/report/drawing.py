"""Plots as SVG that belongs to its page: in the page's colours, light or dark, and with nothing from outside.

Nothing is told by colour alone: curves differ in their dashes, bands and states in hatching and letters.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loadtests.report.axis import Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_AN_INCH: Final = 72
"""An SVG's units are points, and the page shows one as one CSS pixel."""

# Colours nobody would draw with: each stands for one of the page's own.
INK, QUIET, RULE, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
BAND, BAND_EDGE, LIMIT = "#0a0b05", "#0a0b06", "#0a0b07"
CURVES: Final = ("#0a0b11", "#0a0b12", "#0a0b13", "#0a0b14", "#0a0b15", "#0a0b16")
PAGE_COLOURS: Final = {
    INK: "--ink",
    QUIET: "--quiet",
    RULE: "--rule",
    PAPER: "--paper",
    BAND: "--band",
    BAND_EDGE: "--band-edge",
    LIMIT: "--limit",
    **{colour: f"--curve-{at}" for at, colour in enumerate(CURVES, 1)},
}
DASHES: Final[tuple[tuple[float, ...], ...]] = (
    (),
    (6, 2.5),
    (1.5, 1.8),
    (9, 2.5, 2, 2.5),
    (3, 1.5),
    (9, 2, 1.5, 2, 1.5, 2),
)
WIDTH: Final = 1.7
Reduce = Callable[[Iterable[float]], float]


@dataclass(frozen=True, slots=True)
class Room:
    """How much place a plot has: the page on a desk or on paper, and on a phone."""

    name: str
    width: int
    letters: float
    points: int
    ticks: int


WIDE: Final = Room("wide", 920, 13, 800, 10)
NARROW: Final = Room("narrow", 330, 11.5, 260, 4)
ROOMS: Final = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name, its values by step, and how several steps are told as one.

    A soft one is wide and pale, so that what lies on it is seen.
    """

    name: str
    values: Values
    reduce: Reduce = max
    filled: bool = False
    thick: float = WIDTH
    soft: bool = False
    style: int | None = None

    def dashes(self, at: int) -> tuple[float, ...]:
        """Its dashes, as the curve at this place unless it has its own."""
        return DASHES[(at if self.style is None else self.style) % len(DASHES)]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: what its height means, its curves, and a limit that matters, in words."""

    title: str
    lines: tuple[Line, ...]
    told: Callable[[float], str]
    log: bool = False
    limit: float | None = None
    limit_words: str = ""
    height: int = 150
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a lane: a block when something is wrong or done, with a word beside it, else a line."""

    from_s: float
    to_s: float
    heavy: bool
    word: str = ""
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a timeline, named above it."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """Something done to the deployment while the clock ran, told by its letter."""

    letter: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What every plot over the run's time shares: its length, bands, and which parts are real time."""

    seconds: float
    bands: tuple[Band, ...] = ()
    windows: tuple[tuple[float, float, tuple[str, str], bool], ...] = ()
    close_s: float | None = None

    @property
    def lettered(self) -> bool:
        """Whether a row above the first panel is needed, for letters and for the close."""
        return bool(self.bands) or (self.close_s is not None and 0 <= self.close_s <= self.seconds)


@contextmanager
def figure(room: Room, heights: Iterable[float], *, above: float, below: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one pair of axes a height (points, title included), which share the time axis."""
    import matplotlib as mpl  # noqa: PLC0415  # half a second, which only who draws should pay
    from matplotlib.figure import Figure  # noqa: PLC0415  # the same

    tall = list(heights)
    whole = sum(tall) + above + below
    left, right = (58, 14) if room is WIDE else (48, 8)
    with mpl.rc_context(_style(room)):  # type: ignore[arg-type]  # its keys are literals to mypy
        drawn = Figure(figsize=(room.width / POINTS_AN_INCH, whole / POINTS_AN_INCH))
        axes: list[Axes] = []
        top = whole - above
        for height in tall:
            inner = height - 2.6 * room.letters
            place = (
                left / room.width,
                (top - height) / whole,
                (room.width - left - right) / room.width,
                inner / whole,
            )
            axes.append(drawn.add_axes(place, sharex=axes[0] if axes else None))
            top -= height
        yield drawn, axes


def _style(room: Room) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "svg.hashsalt": "report",
        "font.size": room.letters,
        "axes.titlesize": room.letters,
        "axes.labelsize": room.letters,
        "xtick.labelsize": room.letters - 1,
        "ytick.labelsize": room.letters - 1,
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.8,
        "lines.scale_dashes": False,
        "path.simplify_threshold": 0.3,
    }


def svg(drawn: "Figure", *, label: str, key: str) -> str:
    """The figure as an <svg> element for an HTML page, spoken as `label`."""
    kept = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that our font lacks is the reader's font's matter
        drawn.savefig(
            kept, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _belonging(kept.getvalue(), label=label, key=key)


def _belonging(text: str, *, label: str, key: str) -> str:
    """Without prologue, metadata, fonts and colours of its own; identifiers are unique on the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))

    def named(match: re.Match[str]) -> str:
        return f' id="{key}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', named, text)
    text = re.sub(r'xlink:href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    text = re.sub(r"#0a0b[0-9a-f]{2}", lambda match: f"var({PAGE_COLOURS[match[0]]})", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r' d="[^"]*"', lambda match: _short(match[0]), text)
    text = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", text)
    text = re.sub(r">\s+<", "><", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opening = f'<svg role="img" aria-label="{label}" viewBox="{view[1] if view else ""}">'
    return re.sub(r"^<svg[^>]*>", lambda _: opening, text.strip())


def _short(path: str) -> str:
    """A path's data in tenths of a pixel and without blanks that nobody needs."""
    return re.sub(r" ?\n ?|(?<=[MLCQ]) ", "", re.sub(r"(\d+\.\d)\d+", r"\1", path))
