"""The page's own words: tests find what they press by the text that a voter reads."""

import json
from functools import cache

from tests.page import PAGE


@cache
def catalogue(language: str) -> dict[str, str]:
    """Every text of one language, by its key."""
    texts: dict[str, str] = json.loads((PAGE / "text" / f"{language}.json").read_text(encoding="utf-8"))
    return texts


def text(key: str, language: str = "en", **values: object) -> str:
    """One text, its placeholders filled; a key that is not there is a fault of the test."""
    found = catalogue(language)[key]
    for name, value in values.items():
        found = found.replace(f"{{{name}}}", str(value))
    return found
