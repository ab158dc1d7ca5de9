"""A whole vote and a complaint by keyboard alone: no pointer, and no focus set by a test."""

from collections.abc import Callable

import pytest

from tests.browser import axe
from tests.browser.conftest import Visit
from tests.browser.keyboard import Keyboard, Stop
from tests.browser.station import Station
from tests.browser.voter import REFERENCE, Voter
from tests.browser.words import text

VOTE_SECONDS_MAX = 240


def named(key: str, language: str = "en") -> Callable[[Stop], bool]:
    """A control with this text."""
    words = text(key, language)
    return lambda stop: stop.name == words


def press(keys: Keyboard, key: str) -> None:
    """Go to the button of this text, and press it by the space bar."""
    keys.to(named(key), key)
    keys.press(" ")


def arrive(voter: Voter, keys: Keyboard, screen: str, question: str | None = None) -> None:
    """The screen is there, the focus on its heading; every control is met by Tab in the order of reading."""
    voter.at(screen, question)
    keys.at_heading()
    keys.round()


def open_(voter: Voter, keys: Keyboard, address: str, screen: str) -> None:
    """Open a page: it leaves the focus alone, as any page does, and is gone through from its beginning."""
    voter.visit(address, screen)
    assert keys.stop() is None
    keys.round()


@pytest.mark.timeout(VOTE_SECONDS_MAX)
@pytest.mark.parametrize(
    "mode",
    [axe.PHONE, pytest.param(axe.FORCED_DESKTOP, marks=pytest.mark.long)],
    ids=["phone", "desktop in forced colours"],
)
def test_a_whole_vote(visit: Visit, station: Station, mode: axe.Mode) -> None:
    """From the link to the reference, with slips on the way; at each stop the focus is seen and expected."""
    ballot = station.shared("every")
    page = visit(viewport={"width": mode.width, "height": mode.height}, **mode.media)
    voter, keys = Voter(page), Keyboard(page)
    open_(voter, keys, ballot.letter().link, "start")
    press(keys, "start.continue")

    arrive(voter, keys, "question", "strike")
    keys.to(lambda stop: stop.group == "strike", "the answers")
    keys.press(" ")
    keys.press("ArrowDown")
    assert page.locator("input:checked").get_attribute("value") == "no"
    keys.press("ArrowUp")
    assert page.locator("input:checked").get_attribute("value") == "yes"
    keys.press("Enter")

    arrive(voter, keys, "question", "committee")
    for _ in range(3):
        keys.to(lambda stop: stop.group == "committee", "the candidates")
        keys.press(" ")
    press(keys, "question.continue")
    keys.at_errors()
    keys.to(lambda stop: stop.tag == "a", "the error's link")
    keys.press("Enter")
    first = keys.stop()
    assert first is not None
    assert first.group == "committee"
    keys.press(" ")
    press(keys, "question.continue")

    arrive(voter, keys, "question", "secretary")
    for place in (2, 1, 3):
        keys.to(lambda stop: stop.tag == "select", "the next list of places")
        for _ in range(place):
            keys.press("ArrowDown")
    press(keys, "question.continue")

    arrive(voter, keys, "check")
    press(keys, "check.submit")
    voter.at("done")
    keys.at_heading()
    found = REFERENCE.search(voter.main.inner_text())
    assert found is not None
    assert ballot.opened(found.group()) == {
        "strike": ["yes"],
        "committee": ["brown", "celik"],
        "secretary": ["farah", "evans", "grant"],
    }
    keys.round()
    assert keys.stops > 0


def test_a_code_and_its_slips(visit: Visit, station: Station) -> None:
    """A code typed by hand: the error summary has the focus, and its link leads to the field."""
    ballot = station.shared("every")
    page = visit()
    voter, keys = Voter(page), Keyboard(page)
    voter.visit(ballot.url)
    press(keys, "start.continue")
    keys.at_errors()
    keys.round()
    keys.to(lambda stop: stop.tag == "a" and stop.name == text("start.slip_none"), "the error's link")
    keys.press("Enter")
    field = keys.stop()
    assert field is not None
    assert field.tag == "input"
    page.keyboard.type(ballot.letter().code)
    keys.press("Enter")
    voter.at("question", "strike")
    keys.at_heading()


def test_the_skip_link(visit: Visit, station: Station) -> None:
    """The first stop of a page that was just opened leads past the header."""
    page = visit()
    keys = Keyboard(page)
    page.goto(f"{station.shared('every').url}/about")
    first = keys.tab()
    assert first is not None
    assert first.name == text("frame.skip")
    keys.press("Enter")
    stop = keys.tab()
    assert stop is not None
    assert page.evaluate("() => document.querySelector('main').contains(document.activeElement)")


def test_a_complaint(visit: Visit, station: Station) -> None:
    """From the form to the number, by way of the error summary."""
    page = visit()
    voter, keys = Voter(page), Keyboard(page)
    open_(voter, keys, f"{station.shared('every').url}/complaint", "form")
    press(keys, "complaint.send")
    keys.at_errors()
    keys.to(lambda stop: stop.tag == "a", "the error's link")
    keys.press("Enter")
    field = keys.stop()
    assert field is not None
    assert field.tag == "textarea"
    page.keyboard.type("The link in my letter did not work.")
    press(keys, "complaint.send")
    voter.at("done")
    keys.at_heading()
    keys.round()
