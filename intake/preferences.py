"""What a client says it prefers: languages and encodings, each with a weight. Nonsense is no preference."""

from functools import lru_cache
from typing import Final, Literal

Language = Literal["en", "cy"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "cy")
CHARACTERS_MAX: Final = 256
"""What stands behind them in a longer header is not looked at, and none is kept."""


def weights(header: str) -> tuple[tuple[str, float], ...]:
    """What a header such as `cy, en-GB;q=0.8` names, in lower case, best first; equals in its own order."""
    return _weights(header[:CHARACTERS_MAX])


@lru_cache(maxsize=1_024)
def _weights(header: str) -> tuple[tuple[str, float], ...]:
    found = []
    for entry in header.split(","):
        name, _, rest = entry.partition(";")
        name = name.strip().lower()
        if name:
            found.append((name, _weight(rest)))
    return tuple(sorted(found, key=lambda each: -each[1]))


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        weight = float(value.strip()[:5])
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def preferred_language(asked: str | None, header: str) -> Language | None:
    """The one `asked` for by name, else the best of `header` that we have; None when neither names one."""
    for language in LANGUAGES:
        if asked == language:
            return language
    for name, weight in weights(header):
        base = name.partition("-")[0]
        for language in LANGUAGES:
            if weight and base == language:
                return language
    return None


def accepts(header: str, encoding: str) -> bool:
    """Whether a body may be sent in `encoding`."""
    given = dict(weights(header))
    return given.get(encoding, given.get("*", 0.0)) > 0.0
