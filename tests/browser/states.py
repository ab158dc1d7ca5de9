"""Every state of every page, and how a voter comes to it: the one list for all who look at the pages.

Each walk begins with a page that nobody used before. A new state is a new `yield` of its name, after what a
voter, a server or a network does to get there from the state before it.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Final

from tests.browser.ballots import HOUR
from tests.browser.station import OpenBallot, Station
from tests.browser.walker import (
    UNISSUED,
    Walker,
    falsified,
    misprinted,
    mistyped,
    scriptless,
    with_complaints_key,
    without_island,
)

Walk = Callable[[Walker], Iterator[str]]

LANGUAGES: Final = ("en", "cy")
RANKING: Final = {"evans": "2", "farah": "1", "grant": "", "hughes": "3"}
REFUSALS: Final = {
    "not_accepted": 403,
    "not_found": 404,
    "malformed": 400,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_type": 415,
}
NO_REFERENCE: Final = "0000-0000-0000-0000"


def a_vote(w: Walker) -> Iterator[str]:
    """From the link in the letter to the reference, with every form of question and every slip in it."""
    w.link()
    yield "start"
    w.open_details()
    yield "start-details"
    w.begin()
    w.at("question", "strike")
    yield "question-single"
    w.choose("strike", "yes")
    yield "question-single-chosen"
    w.press("question.clear")
    yield "question-single-cleared"
    w.next()
    w.at("question", "committee")
    yield "question-multiple"
    w.choose("committee", "adeyemi", "brown", "celik")
    w.next()
    w.told()
    yield "question-multiple-too-many"
    w.choose("committee", "brown", "celik")
    w.next()
    w.at("question", "secretary")
    yield "question-ranked"
    w.rank("secretary", RANKING | {"hughes": "2"})
    w.next()
    w.told()
    yield "question-ranked-same-place"
    w.rank("secretary", RANKING | {"hughes": "4"})
    w.next()
    w.told()
    yield "question-ranked-gap"
    w.rank("secretary", RANKING)
    w.next()
    w.at("check")
    yield "check"
    w.hold("/votes")
    w.submit()
    w.at("sending")
    w.wait_for_held()
    yield "sending"
    w.let_go()
    w.at("done")
    yield "done"
    w.open_details()
    yield "done-details"


def a_typed_code(w: Walker) -> Iterator[str]:
    """A code typed by hand, with every slip, and a server that does not answer at once."""
    w.go(w.address(), "start")
    yield "start-typed"
    w.begin()
    w.told()
    yield "start-none"
    for slip, typed in {
        "symbols": "U" * 20,
        "short": "ABCD-EFGH",
        "long": "A" * 21,
        "check": mistyped(UNISSUED),
    }.items():
        w.type_and_begin(typed)
        w.told()
        yield f"start-{slip}"
    w.visit(f"{w.ballot().url}#ABCD-EFGH")
    w.told()
    yield "start-link-cut"
    w.hold("/access")
    w.type_and_begin(w.letter().code)
    w.wait_for_held()
    yield "start-asking"
    w.answer_with("/access", 503, "busy", retry=True)
    w.visit(w.letter().link)
    w.begin()
    w.sees("start.unsure")
    yield "start-unsure"


def other_times(w: Walker) -> Iterator[str]:
    """A ballot that is not open yet, one whose close was moved, one that is closed."""
    w.visit(_scheduled(w.station).letter().link)
    yield "start-scheduled"
    w.begin()
    w.sees("start.early")
    yield "start-early"
    w.visit(_moved(w.station).letter().link)
    yield "start-moved"
    w.visit(_closed(w.station).url, "refused")
    yield "closed"


def sending_that_lasts(w: Walker) -> Iterator[str]:
    """A vote on its way: a busy server, a lost connection, a receipt by somebody else, another link."""
    w.patient()
    w.answer_with("/votes", 503, "not_confirmed", retry=True)
    w.vote_to("sending")
    w.sees("sending.busy")
    yield "sending-busy"
    w.lose("/votes")
    for _ in range(6):  # the longest delay by now
        w.press("sending.now")
        w.sees("sending.lost")
    yield "sending-lost"
    w.answer_with("/votes", 413, "too_large")
    w.press("sending.now")
    w.sees("sending.unclear")
    yield "sending-unclear"
    w.change_answer("/votes", falsified)
    w.press("sending.now")
    w.at("unconfirmed")
    yield "unconfirmed"
    w.open_here(w.letter("single").code)
    w.sees("sending.other")
    yield "unconfirmed-other"
    w.let_go()
    w.press("sending.now")
    w.at("done")
    yield "done-other"
    w.without_memory()
    w.go("/")  # or the next link would only change the fragment
    w.hold("/votes")
    w.vote_to("sending")
    w.wait_for_held()
    yield "sending-only-here"


def refusals_of_a_code(w: Walker) -> Iterator[str]:
    """A code that nobody was sent, and whatever else a server may answer for good."""
    w.go(w.address(), "start")
    for name, status in REFUSALS.items():
        if name != "not_accepted":  # that is what the real server says
            w.answer_with("/access", status, name)
        w.type_and_begin(UNISSUED)
        w.at("refused")
        yield f"refused-{name}"
        w.press("refused.again")
        w.at("start")


def refusals_of_a_vote(w: Walker) -> Iterator[str]:
    """A vote that is refused: the code was used meanwhile, or the ballot has closed."""
    w.answer_with("/votes", 403, "not_accepted")
    w.vote_to("refused")
    yield "refused-used"
    times = {"opens": "2026-06-01T08:00:00Z", "closes": "2026-06-30T11:00:00Z"}
    w.answer_with("/votes", 409, "not_open", state="closed", **times)
    w.vote_to("refused")
    yield "refused-closed"
    w.answer_with("/votes", 409, "not_open", state="scheduled", **times)
    w.vote_to("refused")
    yield "refused-early"
    w.page.reload()
    w.at("submitted")
    yield "submitted"


def not_fit_to_vote(w: Walker) -> Iterator[str]:
    """A page, a ballot or a device that is not fit for it: nothing can be sent."""
    path = w.address()
    w.change_answer(path, without_island)
    w.go(path, "stopped")
    yield "stopped-page"
    w.change_answer(path, misprinted)
    w.go(path, "stopped")
    yield "stopped-ballot"
    w.let_go()
    w.without_cryptography()
    w.go(path, "stopped")
    yield "stopped-device"


def before_the_script(w: Walker) -> Iterator[str]:
    """Scripts that are still on their way, that never come, and that are switched off."""
    w.hold(".js")
    w.page.goto(w.ballot().url, wait_until="commit")
    w.page.locator("footer").wait_for()
    w.is_styled()
    yield "loading"
    w.loads_for_long()
    yield "loading-stuck"
    w.let_go()
    w.at("start")
    w.hold(".js")
    w.page.goto(f"{w.ballot().url}/complaint", wait_until="commit")
    w.page.locator("footer").wait_for()
    w.is_styled()
    w.loads_for_long()
    yield "loading-stuck-complaint"
    w.let_go()
    w.at("form")
    for page in ("", "/check", "/complaint"):
        w.change_answer(w.address(page), scriptless)
        w.go(w.address(page))
        yield f"no-scripts{page.replace('/', '-')}"


def plain_pages(w: Walker) -> Iterator[str]:
    """What the server writes by itself."""
    w.go(w.address("/about"))
    yield "about"
    w.go("/")
    yield "home"
    w.go("/b/none")
    yield "not-found"
    w.error_page(503)
    yield "busy"
    w.error_page(400)
    yield "other-problem"
    w.error_page(503, language_known=False)
    yield "busy-in-both-languages"


def a_reference(w: Walker) -> Iterator[str]:
    """The page that tells whether a reference is stored."""
    w.go(w.address("/check"), "form")
    yield "reference"
    for slip, typed in {
        "none": "",
        "code": UNISSUED,
        "complaint": "0000-0000-0000",
        "symbols": "U" * 16,
        "length": "0000-0000-0000-000",
    }.items():
        w.ask_for(typed)
        w.told()
        yield f"reference-{slip}"
    w.hold(NO_REFERENCE)
    w.ask_for(NO_REFERENCE)
    w.wait_for_held()
    yield "reference-asking"
    w.let_go()
    w.at("unknown")
    yield "reference-unknown"
    for state in ("accepted", "stored", "held"):
        w.answer_plainly(NO_REFERENCE, {"state": state})
        w.go(w.address("/check"), "form")
        w.ask_for(NO_REFERENCE)
        w.at(state)
        yield f"reference-{state}"
    w.answer_with(NO_REFERENCE, 503, "busy", retry=True)
    w.go(w.address("/check"), "form")
    w.ask_for(NO_REFERENCE)
    w.at("unreachable")
    yield "reference-unreachable"


def a_complaint(w: Walker) -> Iterator[str]:
    """The form for complaints, with and without a ballot, and a complaint that is received."""
    w.ballot()  # with the first the desk makes its keys
    w.go("/complaint", "form")
    yield "complaint-of-no-ballot"
    w.patient()
    w.go(w.address("/complaint"), "form")
    yield "complaint"
    w.complain("")
    w.told()
    yield "complaint-none"
    w.complain("Hir. " * 1000)
    w.told()
    yield "complaint-long"
    w.press("complaint.clear")
    w.sees("complaint.cleared")
    yield "complaint-cleared"
    w.hold("/complaints")
    w.complain("The link in my letter did not work.")
    w.at("sending")
    w.wait_for_held()
    yield "complaint-sending"
    w.let_go()
    w.at("done")
    yield "complaint-done"
    w.press("complaint.another")
    w.at("form")


def complaints_that_are_not_taken(w: Walker) -> Iterator[str]:
    """What becomes of a complaint that a server refuses, that no server takes, or that cannot be sealed."""
    w.patient()
    w.go(w.address("/complaint"), "form")
    w.answer_with("/complaints", 413, "too_large")
    w.complain("It was refused.")
    w.at("stopped")
    yield "complaint-refused"
    w.answer_with("/complaints", 503, "busy", retry=True)
    w.press("complaint.again")
    w.complain("It was not taken.")
    w.sees("complaint.cause_busy")
    yield "complaint-busy"
    w.lose("/complaints")
    w.press("complaint.try_now")
    w.sees("complaint.cause_lost")
    yield "complaint-lost"
    w.answer_with("/complaints", 413, "too_large")
    w.press("complaint.try_now")
    w.sees("complaint.cause_unclear")
    yield "complaint-unclear"
    w.change_answer("/complaint", with_complaints_key(None))
    w.go("/complaint", "stopped")
    yield "complaint-not-ready"
    w.change_answer("/complaint", with_complaints_key({"public_key": "AAAA", "signature": "AAAA"}))
    w.go("/complaint", "form")
    w.complain("It cannot be sealed.")
    w.at("stopped")
    yield "complaint-stopped"


@cache
def _scheduled(station: Station) -> OpenBallot:
    return station.fresh("every", opens_in=HOUR, closes_in=2 * HOUR)


@cache
def _moved(station: Station) -> OpenBallot:
    ballot = station.fresh("every", closes_in=timedelta(hours=3))
    ballot.extend(timedelta(days=2))
    return ballot


@cache
def _closed(station: Station) -> OpenBallot:
    ballot = station.fresh("every")
    ballot.close()
    return ballot


WALKS: Final[tuple[Walk, ...]] = (
    a_vote,
    a_typed_code,
    other_times,
    sending_that_lasts,
    refusals_of_a_code,
    refusals_of_a_vote,
    not_fit_to_vote,
    before_the_script,
    plain_pages,
    a_reference,
    a_complaint,
    complaints_that_are_not_taken,
)
