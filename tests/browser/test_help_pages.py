"""The pages beside the vote when things go wrong: what was written is kept, a code is never sent."""

import json

import pytest
from playwright.sync_api import Route, expect

from tests.browser.ballots import CONTACT
from tests.browser.conftest import Visit
from tests.browser.station import OpenBallot
from tests.browser.test_flow_afterwards import NUMBER
from tests.browser.voter import Voter
from tests.browser.watch import Watch

WORDS = "The link in my letter did not work.\nNid oedd y ddolen yn gweithio."
BUSY = {"error": "not_confirmed", "message": "Try again.", "retry": True}
EMAIL = CONTACT.split(",")[0]
NO_REFERENCE = "0000-0000-0000-0000"


def write(voter: Voter) -> None:
    """Fill in the form that is on the screen."""
    text, contact = voter.page.get_by_role("textbox").all()
    text.fill(WORDS)
    contact.fill("07700 900123")


def kept(voter: Voter) -> dict[str, str]:
    """What the page has stored in its tab."""
    found: dict[str, str] = voter.page.evaluate("({...sessionStorage})")
    return found


def test_a_complaint_survives_what_happens_to_the_page(
    voter: Voter, watch: Watch, single: OpenBallot
) -> None:
    """Through a change of language, a busy server and a reload: one body, one number, nothing kept."""
    page = voter.page
    voter.visit(f"{single.url}/complaint", "form")
    write(voter)
    page.get_by_role("link", name="Cymraeg").click()
    reader = Voter(page, "cy")
    reader.sees("complaint.text")
    assert [box.input_value() for box in page.get_by_role("textbox").all()] == [WORDS, "07700 900123"]

    page.route("**/api/v1/complaints", lambda route: route.fulfill(status=503, json=BUSY))
    reader.press("complaint.send")
    reader.at("sending")
    reader.sees("complaint.cause_busy")
    reader.press("complaint.try_now")
    page.unroute("**/api/v1/complaints")
    page.reload()
    reader.at("done")

    assert NUMBER.search(reader.main.inner_text())
    bodies = [request.post_data for request in watch.sent("/complaints")]
    assert len(bodies) > 1
    assert len(set(bodies)) == 1
    assert kept(reader) == {}


def test_a_complaint_s_number_stays_and_can_be_saved(voter: Voter, single: OpenBallot) -> None:
    """Through a reload and both languages, in its entry of the history; then a new one may be written."""
    page = voter.page
    voter.visit(f"{single.url}/complaint", "form")
    write(voter)
    voter.press("complaint.send")
    voter.at("done")
    found = NUMBER.search(voter.main.inner_text())
    assert found is not None
    for language, link in (("en", ""), ("cy", "Cymraeg"), ("en", "English")):
        reader = Voter(page, language)
        if link:
            page.get_by_role("link", name=link).click()
        reader.sees("complaint.done_title")
        page.reload()
        reader.at("done")
        assert NUMBER.findall(reader.main.inner_text()) == [found.group()]
        assert kept(reader) == {}
    with page.expect_download() as download:
        voter.press("complaint.save")
    saved = download.value.path().read_text(encoding="utf-8")
    assert found.group() in saved
    assert EMAIL in saved
    assert WORDS not in saved

    page.get_by_role("contentinfo").get_by_role("link", name=voter.text("complaint.nav")).click()
    voter.at("form")
    write(voter)
    voter.press("complaint.send")
    voter.at("done")
    voter.press("complaint.another")
    voter.at("form")
    page.reload()
    voter.at("form")
    assert page.get_by_role("textbox").first.input_value() == ""


def test_what_was_written_can_be_cleared(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """From the form and from the tab; and Enter beside the contact sends nothing, it leads to the button."""
    page = voter.page
    voter.visit(f"{single.url}/complaint", "form")
    write(voter)
    page.get_by_role("textbox").last.press("Enter")
    expect(page.get_by_role("button", name=voter.text("complaint.send"))).to_be_focused()
    voter.at("form")
    assert kept(voter) != {}

    voter.press("complaint.clear")

    voter.sees("complaint.cleared")
    assert [box.input_value() for box in page.get_by_role("textbox").all()] == ["", ""]
    assert kept(voter) == {}
    page.reload()
    voter.at("form")
    assert page.get_by_role("textbox").first.input_value() == ""
    assert not watch.sent("/complaints")


def test_a_complaint_that_is_refused_can_be_had_back(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """A final refusal is told with the contact; what was written is still there, and not sealed twice."""
    refusal = {"error": "malformed", "message": "No.", "retry": False}
    voter.page.route("**/api/v1/complaints", lambda route: route.fulfill(status=400, json=refusal))
    voter.visit(f"{single.url}/complaint", "form")
    write(voter)
    voter.press("complaint.send")
    voter.at("stopped")
    voter.sees("complaint.refused")
    expect(voter.main).to_contain_text(EMAIL)

    voter.press("complaint.again")

    voter.at("form")
    assert voter.page.get_by_role("textbox").first.input_value() == WORDS
    voter.page.unroute("**/api/v1/complaints")
    voter.press("complaint.send")
    voter.at("done")
    assert len({request.post_data for request in watch.sent("/complaints")}) == 1


@pytest.mark.parametrize("fault", ["no key", "another's key"])
def test_a_complaint_is_sealed_to_the_desks_key_or_not_sent(
    voter: Voter, watch: Watch, single: OpenBallot, fault: str
) -> None:
    """Without the desk's complaints key, or with one it did not sign, nothing leaves the device."""

    def changed(route: Route) -> None:
        answer = route.fetch()
        start, end = '<script type="application/json" id="island">', "</script>"
        before, rest = answer.text().split(start)
        data, after = rest.split(end, 1)
        island = json.loads(data)
        key = island["complaints_key"]
        signature = key["signature"]
        swapped = ("B" if signature[0] == "A" else "A") + signature[1:]
        island["complaints_key"] = None if fault == "no key" else key | {"signature": swapped}
        route.fulfill(response=answer, body=f"{before}{start}{json.dumps(island)}{end}{after}")

    voter.page.route(f"{single.url}/complaint", changed)
    if fault == "no key":
        voter.visit(f"{single.url}/complaint", "stopped")
        voter.sees("complaint.not_ready_title")
        voter.sees("complaint.not_ready")
        expect(voter.main).not_to_contain_text(voter.text("complaint.stopped_title"))
        assert voter.page.get_by_role("textbox").count() == 0
    else:
        voter.visit(f"{single.url}/complaint", "form")
        write(voter)
        voter.press("complaint.send")
        voter.at("stopped")
        voter.sees("complaint.stopped")
    expect(voter.main).to_contain_text(EMAIL)
    assert not watch.sent("/complaints")


def test_a_code_is_never_taken_for_a_reference(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """Who types the access code is told so; it is not sent, not kept, and gone from the field."""
    code = single.letter().code
    voter.visit(f"{single.url}/check", "form")

    voter.page.get_by_role("textbox").fill(code)
    voter.press("check.ask")

    voter.sees("check.slip_code")
    assert voter.page.get_by_role("textbox").input_value() == ""
    assert not watch.asked()
    assert kept(voter) == {}


def test_a_check_that_fails_says_nothing_about_the_vote(
    visit: Visit, watches: list[Watch], single: OpenBallot
) -> None:
    """No connection: told with the contact, and the reference stays in the field for the next try."""
    voter = Voter(visit())
    watches[0].may_lose_connection = True
    voter.visit(f"{single.url}/check", "form")
    voter.page.route("**/receipts/*", lambda route: route.abort())
    voter.page.get_by_role("textbox").fill(NO_REFERENCE)
    voter.press("check.ask")
    voter.at("unreachable")
    voter.sees("check.unreachable")
    expect(voter.main).to_contain_text(EMAIL)

    voter.page.unroute("**/receipts/*")
    voter.press("check.ask")

    voter.at("unknown")
