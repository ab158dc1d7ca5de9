"""After the vote and beside it: a reference checked, help, complaints, and the count of what was clicked."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from loadtests.staging.stage import wait_until
from tests.browser.conftest import Visit
from tests.browser.station import STORED_SECONDS_MAX, OpenBallot, Station
from tests.browser.voter import Voter
from tests.browser.watch import Watch

NUMBER = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){2}\b")


def answering(fields: dict[str, str]) -> Callable[[Route], None]:
    """What answers a request with these fields instead of the server."""
    return lambda route: route.fulfill(json=fields)


def test_clicked_votes_are_counted_as_clicked(visit: Visit, station: Station, tmp_path: Path) -> None:
    """Voted on only through the page, closed, counted by `ballot tally`; its books and receipts checked."""
    ballot = station.fresh("two")
    clicked = (
        {"strike": ["yes"], "short-of-strike": ["yes"]},
        {"strike": ["yes"], "short-of-strike": []},
        {"strike": ["no"], "short-of-strike": ["yes"]},
    )
    receipts = []
    for answers in clicked:
        voter = Voter(visit())
        reference = voter.votes(ballot.letter().link, answers)
        receipts.append(voter.saved_receipt())
        assert receipts[-1]["reference"] == reference
    ballot.close()
    result = ballot.tally()
    counted = {question["id"]: (question["counts"], question["spoilt"]) for question in result["questions"]}
    assert counted == {
        "strike": ({"yes": 2, "no": 1}, 0),
        "short-of-strike": ({"yes": 2, "no": 0}, 1),
    }
    assert result["votes_cast"] == len(clicked)
    kept = tmp_path / "receipts.jsonl"
    kept.write_text("".join(json.dumps(receipt) + "\n" for receipt in receipts), encoding="utf-8")
    station.stage.run("check", ballot.id, "--receipts", kept, "--signatures")


def test_a_reference_is_checked_from_another_device(
    voter: Voter, visit: Visit, watches: list[Watch], single: OpenBallot
) -> None:
    """Who has the reference learns whether the vote is stored; a slip is told before anything is asked."""
    reference = voter.votes(single.letter().link, {"strike": ["yes"]})
    single.stored(reference)
    other = Voter(visit())
    page = other.page
    page.goto(f"{single.url}/check")

    def ask(typed: str) -> None:
        page.get_by_role("textbox").fill(typed)
        other.press("check.ask")

    ask(reference[:-1])
    expect(page.get_by_role("alert")).to_be_visible()
    assert not watches[1].asked()
    ask("0000-0000-0000-0000")
    other.sees("check.unknown")
    ask(reference.lower().replace("-", " "))
    other.sees("check.stored")
    for state in ("accepted", "held"):
        page.route("**/receipts/*", answering({"state": state}))
        ask(reference)
        other.sees(f"check.{state}")
    assert not watches[1].sent("", "POST")
    assert single.added() == [{"strike": ["yes"]}]


@pytest.mark.parametrize("language", ["en", "cy"])
def test_the_description_needs_no_code(
    visit: Visit, watches: list[Watch], single: OpenBallot, language: str
) -> None:
    """The about page says how a vote is sealed and what is recorded, before any code and without scripts."""
    page = visit(java_script_enabled=False, locale=f"{language}-GB")
    page.goto(f"{single.url}/about")
    expect(page.locator("html")).to_have_attribute("lang", language)
    Voter(page, language).sees("about.title")
    expect(page.locator("main")).to_contain_text("IP")
    assert not watches[0].sent("", "POST")


@pytest.mark.parametrize("with_ballot", [True, False], ids=["of a ballot", "of none"])
def test_a_complaint_reaches_the_desk(
    voter: Voter, watch: Watch, station: Station, single: OpenBallot, with_ballot: bool
) -> None:
    """What is written is sealed on the device, gets a number, and is read at the desk by that number."""
    page = voter.page
    page.goto(f"{single.url}/complaint" if with_ballot else f"{station.stage.url}/complaint")
    words = "The link in my letter did not work. Nid oedd y ddolen yn gweithio."
    text, contact = page.get_by_role("textbox").all()
    text.fill(words)
    contact.fill("07700 900123")
    voter.press("complaint.send")
    expect(voter.main).to_contain_text(NUMBER, use_inner_text=True)
    found = NUMBER.search(voter.main.inner_text())
    assert found is not None
    (request,) = watch.sent("/complaints")
    assert "letter" not in (request.post_data or "")
    wait_until(
        lambda: found.group() in station.stage.run("complaints", "list"),
        seconds=STORED_SECONDS_MAX,
        what="a complaint to be stored",
    )
    shown = station.stage.run("complaints", "show", found.group())
    assert words in shown
    assert "07700 900123" in shown
