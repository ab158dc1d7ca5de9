"""When the page says no: what it says, what to do next, and that nothing was stored that should not be."""

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.ballots import CONTACT, HOUR
from tests.browser.conftest import Visit
from tests.browser.station import OpenBallot, Station
from tests.browser.voter import Voter
from tests.browser.watch import Watch

MAIL = CONTACT.partition(",")[0]


def test_a_used_code_is_refused(visit: Visit, single: OpenBallot) -> None:
    """A second device is told what to do, on entering and on sending; the first vote stands."""
    letter = single.letter()
    first, late, later = (Voter(visit()) for _ in range(3))
    late.visit(letter.link)
    late.begin()
    late.answer({"strike": ["no"]})
    first.votes(letter.link, {"strike": ["yes"]})
    late.submit()
    late.at("refused")
    expect(late.main).to_contain_text(MAIL)
    later.visit(letter.link)
    later.begin()
    later.at("refused")
    expect(later.main).to_contain_text(MAIL)
    assert late.page.evaluate("sessionStorage.length") == later.page.evaluate("sessionStorage.length") == 0
    assert single.added() == [{"strike": ["yes"]}] == single.votes_of(letter)


def test_a_ballot_that_closes_while_the_voter_answers(
    voter: Voter, watch: Watch, station: Station, visit: Visit
) -> None:
    """Who presses Submit after the close is told so, and nothing is stored; so is who comes later."""
    ballot = station.fresh("single")
    voter.visit(ballot.letter().link)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    ballot.close()
    voter.submit()
    voter.at("refused")
    expect(voter.main).to_contain_text(MAIL)
    assert len(watch.sent("/votes")) == 1
    late = Voter(visit())
    late.visit(ballot.letter().link, "refused")
    expect(late.main).to_contain_text(MAIL)
    for path in ("check", "complaint"):
        assert late.main.locator(f'a[href*="/{path}"]').count()
    assert ballot.stored_votes() == []


def test_a_ballot_that_is_not_open_yet(voter: Voter, watch: Watch, station: Station) -> None:
    """Before it opens the page says when it does, and keeps the code for then."""
    ballot = station.fresh("single", opens_in=HOUR, closes_in=2 * HOUR)
    voter.visit(ballot.letter().link)
    voter.begin()
    voter.sees("start.early")
    assert len(watch.sent("/access")) == 1
    assert not watch.sent("/votes")
    voter.page.reload()
    voter.at("start")
    assert not voter.page.get_by_role("textbox").count()
    assert ballot.stored_votes() == []


def test_without_scripts_the_page_is_honest(visit: Visit, watches: list[Watch], single: OpenBallot) -> None:
    """With scripts switched off the page says why they are needed, and how to vote otherwise."""
    page = visit(java_script_enabled=False)
    page.goto(single.letter().link)
    voter = Voter(page)
    for key in ("scripts.heading", "scripts.vote", "otherwise.postal"):
        voter.sees(key)
    expect(page.locator("body")).to_contain_text(MAIL)
    assert not page.get_by_role("button").count()
    assert not watches[0].sent("", "POST")
    assert single.added() == []


def change_a_letter(document: bytes) -> bytes:
    """Another title."""
    return document.replace(b"London", b"Londom", 1)


def change_the_close(document: bytes) -> bytes:
    """Another closing time."""
    return re.sub(
        rb'("closes":"20)(\d\d)', lambda found: found[1] + b"%02d" % (int(found[2]) + 1), document, count=1
    )


def change_the_key(document: bytes) -> bytes:
    """Another key to seal to."""
    return re.sub(
        rb'("public_key":".)(.)', lambda found: found[1] + (b"A" if found[2] != b"A" else b"B"), document
    )


@pytest.mark.parametrize("change", [change_a_letter, change_the_close, change_the_key])
def test_a_tampered_document_stops_the_page(
    voter: Voter, watch: Watch, single: OpenBallot, change: Callable[[bytes], bytes]
) -> None:
    """A document that the desk did not sign: the page stops, says whom to ask, sends nothing."""

    def tamper(route: Route) -> None:
        answer = route.fetch()
        island = re.compile(r'(<script type="application/json" id="island">)(.*?)(</script>)', re.DOTALL)
        found = island.search(answer.text())
        assert found is not None
        fields = json.loads(found[2])
        document = base64.urlsafe_b64decode(fields["document"] + "==")
        changed = change(document)
        assert changed != document
        fields["document"] = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        body = answer.text().replace(found[2], json.dumps(fields))
        headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        route.fulfill(status=answer.status, headers=headers, body=body)

    voter.page.route(f"{single.url}*", tamper)
    voter.visit(single.letter().link, "stopped")
    expect(voter.page.locator("body")).to_contain_text(MAIL)
    assert not voter.main.get_by_role("button").count()
    assert not watch.sent("", "POST")
    assert single.added() == []


def test_an_unknown_code_is_refused(voter: Voter, single: OpenBallot, two: OpenBallot) -> None:
    """A good code of another ballot is no code here; with the right one the voter goes on from there."""
    voter.visit(f"{single.url}#{two.letter().code}")
    voter.begin()
    voter.at("refused")
    expect(voter.main).to_contain_text(MAIL)
    assert single.added() == []
    voter.press("refused.again")
    voter.at("start")
    voter.type_code(single.letter().code)
    voter.begin()
    voter.answer({"strike": ["no"]})
    voter.submit()
    voter.reference()
    assert single.added() == [{"strike": ["no"]}]


def test_no_such_ballot(page: Page, station: Station) -> None:
    """An address that leads to no ballot gets a page that says so, in the reader's language."""
    answer = page.goto(f"{station.stage.url}/b/none")
    assert answer is not None
    assert answer.status == 404
    Voter(page).sees("problem.not_found.title")


def test_a_ballot_that_was_extended(voter: Voter, station: Station) -> None:
    """When the scrutineer has moved the close, the page shows both times, and the vote counts."""
    ballot = station.fresh("single", closes_in=timedelta(hours=3))
    later = timedelta(days=2)
    ballot.extend(later)
    voter.visit(ballot.letter().link)
    voter.sees("start.moved")
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    voter.reference()
    assert [vote.answers for vote in ballot.stored_votes()] == [{"strike": ["yes"]}]
