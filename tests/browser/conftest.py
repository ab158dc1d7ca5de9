"""One browser and one polling station a process; for each test a context that nobody used."""

from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import Driven, build_page, chromium
from tests.browser.notes import Notes
from tests.browser.sitting import Sit, Sitting
from tests.browser.station import Letter, OpenBallot, Station, polling_station
from tests.browser.voter import Voter
from tests.browser.watch import Watch
from tests.browser.wire import Wire

PHONE = {"width": 360, "height": 740}
ACTION_MS_MAX = 30_000


class Visit(Protocol):
    """Opens a page in a context of its own, by a phone unless told otherwise."""

    def __call__(self, *, origin: str | None = None, **options: Any) -> Page:
        """Return an empty page, whose every request goes to `origin`; `options` are Playwright's."""


@pytest.fixture(scope="session")
def driven() -> Iterator[Driven]:
    """Chromium, started once a process."""
    with chromium() as running:
        yield running


@pytest.fixture
def browser(driven: Driven) -> Iterator[Browser]:
    """Chromium, for the length of one test."""
    driven.hold()
    yield driven.browser
    driven.let_go()


@pytest.fixture(scope="session")
def station(driven: Driven) -> Iterator[Station]:
    """`ballot up` with the page's files as they are now; ballots are made when a test asks for them."""
    build_page()
    with polling_station() as running:
        yield running


@pytest.fixture
def watches() -> list[Watch]:
    """The watches of all contexts that the test opened, first to last."""
    return []


@pytest.fixture
def visit(browser: Browser, station: Station, watches: list[Watch]) -> Iterator[Visit]:
    """Open contexts, each watched; when the test ends, anything that a page may never do fails it."""
    contexts = []

    def open_page(*, origin: str | None = None, **options: Any) -> Page:
        context = browser.new_context(**({"viewport": PHONE, "locale": "en-GB"} | options))
        context.set_default_timeout(ACTION_MS_MAX)
        contexts.append(context)
        watches.append(Watch(context, origin or station.stage.url))
        return context.new_page()

    yield open_page
    try:
        for watch in watches:
            watch.finish()
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def page(visit: Visit) -> Page:
    """A page on a phone."""
    return visit()


@pytest.fixture
def voter(page: Page) -> Voter:
    """An English reader with that phone."""
    return Voter(page)


@pytest.fixture
def watch(page: Page, watches: list[Watch]) -> Watch:
    """What that phone sends and says."""
    return watches[0]


@pytest.fixture
def single(station: Station) -> OpenBallot:
    """The ballot with one question, in both languages; what is in it already does not count as added."""
    return _marked(station, "single")


@pytest.fixture
def two(station: Station) -> OpenBallot:
    """The ballot with two questions."""
    return _marked(station, "two")


@pytest.fixture
def multiple(station: Station) -> OpenBallot:
    """The ballot on which at most two of four may be chosen."""
    return _marked(station, "multiple")


@pytest.fixture
def ranked(station: Station) -> OpenBallot:
    """The ballot on which four options are put in order."""
    return _marked(station, "ranked")


@pytest.fixture
def wire(station: Station) -> Iterator[Wire]:
    """A way from the browser to the edge that keeps every byte, and breaks when told to."""
    with Wire(station.stage.port).running() as relay:
        yield relay


@pytest.fixture
def sit(visit: Visit, wire: Wire, watches: list[Watch], single: OpenBallot) -> Sit:
    """Voters on that way, with the ballot of one question."""

    def another(letter: Letter | None = None) -> Sitting:
        page = visit(origin=wire.url)
        watches[-1].may_lose_connection = True
        return Sitting(Voter(page), wire, Notes(page.context), single, letter or single.letter())

    return another


@pytest.fixture
def sitting(sit: Sit) -> Sitting:
    """One of them, at the check screen."""
    found = sit()
    found.to_check()
    return found


def _marked(station: Station, form: str) -> OpenBallot:
    ballot = station.shared(form)
    ballot.mark()
    return ballot
