"""What became of a vote is in doubt: the page says what it knows, and never more or less."""

import json

import pytest
from playwright.sync_api import Route, expect

from tests.browser.ballots import CONTACT
from tests.browser.station import OpenBallot
from tests.browser.test_flow_devices import NO_STORAGE
from tests.browser.voter import Voter
from tests.browser.watch import Watch

MAIL = CONTACT.partition(",")[0]


def test_a_receipt_that_is_not_true(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """A receipt whose signature does not verify is no success: the vote is kept, and sent until one does."""

    def falsify(route: Route) -> None:
        answer = route.fetch()
        receipt = answer.json()
        first = "A" if receipt["signature"][0] != "A" else "B"
        receipt["signature"] = first + receipt["signature"][1:]
        route.fulfill(status=answer.status, content_type="application/json", body=json.dumps(receipt))

    page = voter.page
    page.route("**/votes", falsify)
    voter.visit(single.letter().link)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    for _ in range(2):
        voter.at("unconfirmed")
        voter.sees("state.sending")
        expect(voter.main).to_contain_text(MAIL)
        page.reload()
    voter.at("unconfirmed")
    page.unroute("**/votes")
    voter.press("sending.now")
    assert single.opened(voter.reference()) == {"strike": ["yes"]}
    assert single.added() == [{"strike": ["yes"]}]
    assert len({request.post_data for request in watch.sent("/votes")}) == 1


def test_a_receipt_that_is_not_of_this_vote(voter: Voter, single: OpenBallot) -> None:
    """An answer with any other receipt is none, and nothing of it is shown: the vote is sent again."""
    receipt = {"reference": "AAAA-BBBB-CCCC-DDDD", "accepted_at": "2020-01-01T00:00:00Z"}
    voter.page.route("**/votes", lambda route: route.fulfill(json=receipt), times=1)
    assert voter.votes(single.letter().link, {"strike": ["yes"]}) != receipt["reference"]
    assert len(single.added()) == 1


@pytest.mark.parametrize("stored", [True, False], ids=["told in another language", "nothing stored"])
def test_a_vote_that_may_have_been_received(
    voter: Voter, watch: Watch, single: OpenBallot, *, stored: bool
) -> None:
    """Where a vote was submitted and no answer is known any more, the page never says that none was sent."""
    page = voter.page
    watch.may_lose_connection = True
    if not stored:
        page.add_init_script(NO_STORAGE)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.add_init_script("Math.random = () => 0.99")
    page.route("**/votes", lose)
    voter.visit(single.letter().link)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    voter.sees("sending.lost")
    page.unroute("**/votes")
    if stored:
        page.get_by_role("link", name="Cymraeg").click()
        Voter(page, "cy").reference()
        page.go_back()
        voter.at("submitted")
    page.reload()
    voter.at("submitted")
    assert not page.locator("[data-state]").count()
    expect(voter.main).to_contain_text(MAIL)
    assert single.added() == [{"strike": ["yes"]}]


def test_another_voters_link_while_a_vote_is_on_its_way(
    voter: Voter, watch: Watch, single: OpenBallot
) -> None:
    """Who opens a second link is told that its code is not used yet, and votes with it afterwards."""
    first, second = single.letter(), single.letter()
    page = voter.page
    watch.may_lose_connection = True
    page.route("**/votes", lambda route: route.abort())
    voter.visit(first.link)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    voter.sees("sending.lost")
    page.evaluate("code => { location.hash = code; }", second.code)
    voter.sees("sending.other")
    assert second.code not in page.url
    page.unroute("**/votes")
    voter.press("sending.now")
    reference = voter.reference()
    voter.sees("done.other")
    voter.press("done.use_other")
    voter.at("start")
    voter.begin()
    voter.answer({"strike": ["no"]})
    voter.submit()
    assert voter.reference() != reference
    assert single.votes_of(first) == [{"strike": ["yes"]}]
    assert single.votes_of(second) == [{"strike": ["no"]}]
    assert len(single.added()) == 2
