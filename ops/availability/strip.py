"""A timeline as a person reads it in a terminal: a line a day, an hour or ten minutes, a sign a part of it.

Each sign shows the worst that its part holds, so that the shortest outage of a month is still to be seen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.monitor.intervals import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ops.availability.timeline import Stretch, Timeline

US = 1_000_000
HOUR_US = 3600 * US
DAY_US = 24 * HOUR_US
LINES_MAX = 62
SIGNS = {"up": "-", "slow": "s", "unknown": "?", "planned": "P", "down": "X"}
LEGEND = "- votes taken   s stored late   ? nobody looked   P stopped on purpose   X no votes taken"
#: What a line holds, what a sign of it holds, and how a line is called.
SCALES = (
    (600 * US, 10 * US, "%d %b %H:%M"),
    (HOUR_US, 60 * US, "%d %b %H:00"),
    (DAY_US, 1800 * US, "%a %d %b %Y"),
    (7 * DAY_US, 3 * HOUR_US, "%d %b %Y, 7 d"),
)
EPOCH_YEARS_MAX = 9999


def strip(timeline: Timeline) -> Iterator[str]:
    """The lines, at most LINES_MAX: the finest scale that fits, and the coarsest cut off if none does."""
    line_us, sign_us, title = next(
        (scale for scale in SCALES if _lines(timeline, scale[0]) <= LINES_MAX), SCALES[-1]
    )
    first_us = timeline.from_us // line_us * line_us
    place = 0
    for number in range(min(LINES_MAX, _lines(timeline, line_us))):
        start_us = first_us + number * line_us
        signs = []
        for sign_from_us in range(start_us, start_us + line_us, sign_us):
            sign, place = _sign(timeline.stretches, place, sign_from_us, sign_from_us + sign_us)
            signs.append(sign)
        name = datetime.fromtimestamp(start_us // US, UTC).strftime(title)
        yield f"  {name:>16}  {''.join(signs).rstrip()}"
    if _lines(timeline, line_us) > LINES_MAX:
        yield f"  and {_lines(timeline, line_us) - LINES_MAX:,} lines more; --from and --to show a part"


def _lines(timeline: Timeline, line_us: int) -> int:
    """How many lines the timeline touches."""
    return (timeline.to_us - 1) // line_us - timeline.from_us // line_us + 1


def _sign(stretches: Sequence[Stretch], place: int, from_us: int, to_us: int) -> tuple[str, int]:
    """The sign of one part, a space outside the timeline; and where the next part begins to read."""
    while place < len(stretches) and stretches[place].to_us <= from_us:
        place += 1
    worst, reading = " ", place
    while reading < len(stretches) and stretches[reading].from_us < to_us:
        sign = SIGNS[_name(stretches[reading])]
        worst = max(worst, sign, key=" -s?PX".index)
        reading += 1
    return worst, place


def _name(stretch: Stretch) -> str:
    return "planned" if stretch.state is State.DOWN and stretch.planned else stretch.state.value
