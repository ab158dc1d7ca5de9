"""The reviewed snapshots of what a screen reader has of each state, one text file a state and language.

`.venv/bin/python -m tests.browser.snapshots --write` renews them; whoever commits them has read them.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from tests.browser import chromium
from tests.browser.axe import PHONE
from tests.browser.spoken import spoken
from tests.browser.states import LANGUAGES, WALKS, Walk
from tests.browser.station import Station, polling_station
from tests.browser.voter import SCREEN_MS_MAX
from tests.browser.walker import Walker

FOLDER: Final = Path(__file__).parent
RENEW: Final = ".venv/bin/python -m tests.browser.snapshots --write"
OpenPage = Callable[..., Page]


def path(language: str, state: str) -> Path:
    """The file of one state."""
    return FOLDER / language / f"{state}.yml"


def difference(language: str, state: str, found: str) -> str:
    """What is spoken now and was not reviewed, as a difference; empty if there is none."""
    file = path(language, state)
    reviewed = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = difflib.unified_diff(
        reviewed.splitlines(), found.splitlines(), "reviewed", "now", lineterm="", n=2
    )
    return "\n".join(lines)


@contextmanager
def visits(**options: Any) -> Iterator[tuple[Station, OpenPage]]:
    """A polling station and a browser for a command; each page in a context of its own."""
    chromium.build_page()
    with chromium.chromium() as driven, polling_station() as station:
        driven.hold()
        browser = driven.browser

        def open_page(**more: Any) -> Page:
            for context in browser.contexts:
                context.close()
            size = {"width": PHONE.width, "height": PHONE.height}
            page = browser.new_context(**({"viewport": size} | options | more)).new_page()
            page.set_default_timeout(SCREEN_MS_MAX)
            return page

        yield station, open_page


def states(station: Station, open_page: OpenPage, walk: Walk, language: str) -> Iterator[tuple[str, Page]]:
    """Each state of a walk, when the page is in it."""
    page = open_page(locale=f"{language}-GB")
    walker = Walker(station, page, language)
    try:
        for state in walk(walker):
            yield state, page
    finally:
        walker.let_go()


def main() -> int:
    """Write or compare; the exit code says whether anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.snapshots", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the files instead of comparing")
    parser.add_argument("walks", nargs="*", help="only these walks, by name")
    arguments = parser.parse_args()
    walks = [walk for walk in WALKS if not arguments.walks or walk.__name__ in arguments.walks]
    seen, differences = set(), 0
    with visits() as (station, open_page):
        for language in LANGUAGES:
            for walk in walks:
                for state, page in states(station, open_page, walk, language):
                    found, file = spoken(page), path(language, state)
                    seen.add(file)
                    differs = difference(language, state, found)
                    differences += bool(differs)
                    if differs:
                        sys.stdout.write(f"{language}/{state}\n{differs}\n")
                    if arguments.write:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_text(found, encoding="utf-8")
    if arguments.write and not arguments.walks:
        for file in set(FOLDER.rglob("*.yml")) - seen:
            file.unlink()
    return 0 if arguments.write or not differences else 1
