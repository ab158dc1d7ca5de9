"""Every state of every page: axe finds nothing, nothing is cut, all is spoken as it was reviewed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import axe, layout, snapshots
from tests.browser.conftest import ACTION_MS_MAX
from tests.browser.spoken import normal, spoken
from tests.browser.states import LANGUAGES, WALKS, Walk
from tests.browser.station import Station
from tests.browser.words import catalogue

WALK_SECONDS_MAX = 240
PHONE = {"width": axe.PHONE.width, "height": axe.PHONE.height}


@dataclass
class Seen:
    """The states that were looked at by this process, and the walks that led to them."""

    walks: set[tuple[str, str]] = field(default_factory=set)
    states: set[tuple[str, str]] = field(default_factory=set)


SEEN = Seen()


@pytest.fixture
def open_page(browser: Browser, station: Station) -> Iterator[Callable[..., Page]]:
    """Opens pages without a watch: what axe tries to add is refused by the policy."""
    contexts = []

    def opened(**options: Any) -> Page:
        context = browser.new_context(**({"viewport": PHONE} | options))
        context.set_default_timeout(ACTION_MS_MAX)
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.timeout(WALK_SECONDS_MAX)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.__name__)
def test_every_state(station: Station, open_page: Callable[..., Page], walk: Walk, language: str) -> None:
    """No rule of WCAG 2.2 AA broken, nothing lost in little room or large letters, spoken as reviewed."""
    faults = []
    for state, page in snapshots.states(station, open_page, walk, language):
        SEEN.states.add((language, state))
        found = differences(page, language, state) + broken(page, axe.MODES[language])
        found += layout.problems(page, layout.ROOMS if language == "en" else layout.NARROWEST)
        faults += [f"{language}/{state}: {fault}" for fault in found]
        axe.look(page, axe.PHONE)
    SEEN.walks.add((language, walk.__name__))
    assert not faults, "\n".join(faults)


@pytest.mark.long
@pytest.mark.timeout(WALK_SECONDS_MAX)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.__name__)
def test_every_state_in_every_mode(
    station: Station, open_page: Callable[..., Page], walk: Walk, language: str
) -> None:
    """The rarer ways of looking at a page, and every room in both languages."""
    faults = []
    for state, page in snapshots.states(station, open_page, walk, language):
        faults += [f"{language}/{state}: {fault}" for fault in broken(page, axe.MODES_LONG)]
        faults += [f"{language}/{state}: {fault}" for fault in layout.problems(page)]
        axe.look(page, axe.PHONE)
    assert not faults, "\n".join(faults)


def test_no_snapshot_is_left_over() -> None:
    """A reviewed snapshot is of a state that there is; judged when all walks were gone in this process."""
    kept = {(file.parent.name, file.stem) for file in snapshots.FOLDER.rglob("*.yml")}
    everything = {(language, walk.__name__) for language in LANGUAGES for walk in WALKS}
    assert SEEN.walks != everything or kept == SEEN.states


UNSEEN: Final = {
    "done.file_receipt": "stands in the file that is saved",
    "otherwise.none": "of ballots by electronic means alone",
    "otherwise.workplace": "of ballots at the workplace",
    "sending.sealing": "lasts for milliseconds",
    "sending.slow": "comes after twenty seconds",
    "complaint.cause_slow": "the same",
    "stopped.submitted": "of a page that lost what it needs after Submit",
}


def test_every_text_was_seen() -> None:
    """What the pages can say stands in a reviewed snapshot: no state is missing from the walks."""
    snapshot = " ".join(file.read_text(encoding="utf-8") for file in snapshots.FOLDER.glob("en/*.yml"))
    seen = re.sub(r"\s+", " ", snapshot.replace('\\"', '"'))
    missing = []
    for key, words in catalogue("en").items():
        pattern = re.sub(r"\\{\w+\\}", ".{1,80}?", re.escape(normal(words)))
        if key not in UNSEEN and not key.startswith("time.") and not re.search(pattern, seen):
            missing.append(key)
    assert not missing


def differences(page: Page, language: str, state: str) -> list[str]:
    """What is spoken otherwise than it was reviewed."""
    difference = snapshots.difference(language, state, spoken(page))
    return [f"spoken otherwise than reviewed; {snapshots.RENEW} renews\n{difference}"] if difference else []


def broken(page: Page, modes: tuple[axe.Mode, ...]) -> list[str]:
    """The rules that the page breaks, looked at in each mode."""
    return [f"{mode.name}: {fault}" for mode in modes for fault in axe.findings(page, mode)]
