"""Numbers as a person reads them, the same in the page, in the plots and in a comparison."""

import math
from datetime import datetime
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86_400
NOTHING = "not recorded"


def count(value: Any) -> str:
    """A whole number with its thousands."""
    return NOTHING if not _numeric(value) else f"{round(value):,}"


def rate(value: Any) -> str:
    """A number that need not be whole, in three figures or so."""
    if not _numeric(value):
        return NOTHING
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"  # noqa: PLR2004


def milliseconds(value: Any) -> str:
    """A time in milliseconds, or in seconds from one second on."""
    if not _numeric(value):
        return NOTHING
    if value == math.inf:
        return "never"
    if value >= 1000:  # noqa: PLR2004  # a second
        return f"{value / 1000:.3g} s"
    if value == 0:
        return "0"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"  # noqa: PLR2004


def wait(value: Any) -> str:
    """Within how many milliseconds a receipt came, or that it never did."""
    return f"within {milliseconds(value)}" if _numeric(value) else "never"


def seconds(value: Any) -> str:
    """A length of time, from milliseconds to days."""
    if not _numeric(value):
        return NOTHING
    if value == 0:
        return "0"
    if value < 0.1:  # noqa: PLR2004  # from there on in seconds
        return milliseconds(value * 1000)
    if value < 2 * MINUTE:
        return f"{value:.3g} s"
    if value < 2 * HOUR:
        return f"{value / MINUTE:.3g} minutes"
    return f"{value / HOUR:.3g} hours" if value < 2 * DAY else f"{value / DAY:.3g} days"


def size(value: Any) -> str:
    """Bytes, in the unit that leaves few figures; a kB is 1,000 of them."""
    if not _numeric(value):
        return NOTHING
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004  # the next unit
            break
        value = value / 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"  # noqa: PLR2004


def share(value: Any) -> str:
    """A part of the whole as a percentage, never rounded up to all of it."""
    if not _numeric(value):
        return NOTHING
    if value in {0, 1}:
        return f"{value * 100:.0f} %"
    return f"{int(value * 100_000) / 1000:.3f} %"


def moment(value: Any) -> str:
    """An instant as RFC 3339 writes it, as a date and a time."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value or "at a time that was not recorded")
    zone = "" if at.tzinfo is None else " UTC" if not at.utcoffset() else f" UTC{at:%z}"
    return f"{at.day} {at:%B %Y, %H:%M}{zone}"


def percent(value: Any) -> str:
    """A part of the whole in whole hundredths."""
    if not _numeric(value):
        return NOTHING
    return "less than 1 %" if 0 < value < 0.01 else f"{value * 100:.0f} %"  # noqa: PLR2004  # a hundredth


def anything(value: Any) -> str:
    """A value that someone told, whatever it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{named(str(name))}: {anything(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(anything(inner) for inner in value)
    if isinstance(value, int):
        return f"{value:,}"
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def named(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def plural(number: Any, one: str, many: str = "") -> str:
    """`1 vote`, `2 votes`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
