"""Voting on the page: every form, every way through it; exactly the votes that were clicked are stored."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.station import OpenBallot, Station
from tests.browser.voter import Voter
from tests.browser.watch import Watch

REST_MS = 600
TWO = {"strike": ["yes"], "short-of-strike": ["no"]}


def kept(page: Page) -> str:
    """Everything the page remembers for this tab."""
    return str(page.evaluate("JSON.stringify(sessionStorage)"))


def test_a_link_is_enough(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """From the link in the letter to the reference; the code is gone from the address at once."""
    letter = single.letter()
    page = voter.page
    voter.visit(letter.link)
    assert page.url == single.url
    assert page.evaluate("[history.length, JSON.stringify(history.state)]")[0] == 2
    voter.begin()
    voter.choose("strike", "yes")
    voter.next()
    voter.at("check")
    assert letter.code not in kept(page)
    assert not watch.sent("/votes")
    voter.submit()
    reference = voter.reference()
    assert single.opened(reference) == {"strike": ["yes"]}
    assert single.added() == [{"strike": ["yes"]}]
    assert len(watch.sent("/votes")) == 1
    # Whoever has the phone next learns neither code nor choice from the page, its title or its memory.
    assert kept(page) == "{}"
    assert not re.search(r"\b(yes|no)\b", page.title() + page.evaluate("document.title"), re.IGNORECASE)
    shown = voter.main.inner_text()
    assert "Yes" not in shown.split()
    assert single.stored(reference).sealed_sha256 in (voter.main.text_content() or "")
    page.go_back()
    assert letter.code not in page.url + str(page.evaluate("JSON.stringify(history.state)"))


def test_a_code_is_typed_as_people_type(voter: Voter, single: OpenBallot) -> None:
    """Lower case, spaces, O for 0 and l for 1 are all understood."""
    letter = next(one for one in iter(single.letter, None) if "0" in one.code or "1" in one.code)
    voter.visit(single.url)
    voter.type_code("  " + letter.code.lower().replace("-", " ").replace("0", "o").replace("1", "l"))
    voter.begin()
    voter.answer({"strike": ["no"]})
    voter.submit()
    assert single.opened(voter.reference()) == {"strike": ["no"]}
    assert single.added() == [{"strike": ["no"]}] == single.votes_of(letter)


def test_each_slip_in_a_code_is_told_for_what_it_is(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """A wrong letter, a missing one, a slip and no code at all: four errors, and nothing is sent."""
    code = single.letter().code
    last = "0" if code[-1] != "0" else "2"
    slips = {"length": code[:-1], "check": code[:-1] + last, "symbols": "U" + code[1:], "empty": ""}
    voter.visit(single.url)
    told = set()
    for typed in slips.values():
        voter.type_code(typed)
        voter.begin()
        summary = voter.page.get_by_role("alert")
        expect(summary).to_be_focused()
        link = summary.get_by_role("link")
        told.add(link.inner_text())
        link.click()
        field = voter.page.get_by_role("textbox")
        expect(field).to_be_focused()
        assert field.get_attribute("aria-invalid") == "true"
        expect(field).to_have_value(typed)
        assert voter.page.title().startswith(voter.text("errors.prefix"))
    assert len(told) == len(slips), told
    assert not watch.asked()
    voter.type_code(code)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    voter.reference()
    assert single.added() == [{"strike": ["yes"]}]


def test_a_link_that_was_cut_short(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """Some mail programs break links: the error comes at once, and what is left of the code can be mended."""
    letter = single.letter()
    voter.visit(letter.link[:-1])
    assert voter.page.url == single.url
    expect(voter.page.get_by_role("alert")).to_be_focused()
    expect(voter.page.get_by_role("textbox")).to_have_value(letter.code[:-1])
    assert not watch.asked()
    voter.type_code(letter.code)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    voter.submit()
    voter.reference()
    assert single.added() == [{"strike": ["yes"]}] == single.votes_of(letter)


def test_two_questions(voter: Voter, two: OpenBallot) -> None:
    """Two questions, one a screen, are one vote."""
    reference = voter.votes(two.letter().link, TWO)
    assert two.opened(reference) == TWO
    assert two.added() == [TWO]


def test_no_more_than_the_maximum(voter: Voter, multiple: OpenBallot) -> None:
    """Three of at most two are an error that leaves the ticks as they are; two are a vote."""
    voter.visit(multiple.letter().link)
    voter.begin()
    voter.choose("committee", "adeyemi", "celik", "davies")
    voter.next()
    expect(voter.page.get_by_role("alert")).to_be_focused()
    voter.at("question", "committee")
    expect(voter.page.locator("input:checked")).to_have_count(3)
    voter.choose("committee", "celik", "davies")
    voter.next()
    voter.at("check")
    voter.submit()
    assert multiple.opened(voter.reference()) == {"committee": ["celik", "davies"]}
    assert len(multiple.added()) == 1


def test_a_ranking(voter: Voter, ranked: OpenBallot) -> None:
    """A place given twice and a place left out are errors; what is mended is stored in order."""
    voter.visit(ranked.letter().link)
    voter.begin()
    for wrong in ({"evans": "1", "grant": "1"}, {"evans": "3", "grant": "1"}):
        voter.rank("secretary", wrong)
        voter.next()
        expect(voter.page.get_by_role("alert")).to_be_focused()
        voter.at("question", "secretary")
    voter.rank("secretary", {"evans": "2", "grant": "1"})
    voter.next()
    voter.at("check")
    voter.submit()
    assert ranked.opened(voter.reference()) == {"secretary": ["grant", "evans"]}
    assert len(ranked.added()) == 1


def test_all_may_be_left_blank(voter: Voter, two: OpenBallot) -> None:
    """A voter who answers nothing is told so before Submit, and has voted."""
    blank: dict[str, list[str]] = {"strike": [], "short-of-strike": []}
    voter.visit(two.letter().link)
    voter.begin()
    voter.answer(blank)
    assert voter.main.inner_text().count(voter.text("check.blank")) == 2
    voter.submit()
    assert two.opened(voter.reference()) == blank
    assert two.added() == [blank]


def test_one_may_be_left_blank(voter: Voter, two: OpenBallot) -> None:
    """One question left blank leaves the other answered."""
    some = {"strike": [], "short-of-strike": ["yes"]}
    assert two.opened(voter.votes(two.letter().link, some)) == some
    assert two.added() == [some]


def test_an_answer_is_changed_from_the_check(voter: Voter, two: OpenBallot) -> None:
    """Change leads to that question, with its answer, and back to the check; the new answer is stored."""
    voter.visit(two.letter().link)
    voter.begin()
    voter.answer(TWO)
    voter.change(1)
    voter.at("question", "short-of-strike")
    expect(voter.page.locator('input[value="no"]')).to_be_checked()
    voter.choose("short-of-strike", "yes")
    voter.next()
    voter.at("check")
    voter.submit()
    changed = {"strike": ["yes"], "short-of-strike": ["yes"]}
    assert two.opened(voter.reference()) == changed
    assert two.added() == [changed]


def test_back_leads_through_the_questions_and_never_into_a_sent_vote(voter: Voter, two: OpenBallot) -> None:
    """The browser's Back goes a question back, answers kept; after Submit it shows the reference again."""
    page = voter.page
    voter.visit(two.letter().link)
    voter.begin()
    voter.answer(TWO)
    page.go_back()
    voter.at("question", "short-of-strike")
    expect(page.locator('input[value="no"]')).to_be_checked()
    page.go_back()
    voter.at("question", "strike")
    voter.choose("strike", "no")
    page.go_forward()
    voter.at("question", "short-of-strike")
    voter.next()
    voter.at("check")
    voter.submit()
    reference = voter.reference()
    for _ in range(3):
        page.go_back()
        voter.at("done")
        assert voter.reference() == reference
    assert not page.locator("input:checked").count()
    assert two.added() == [{"strike": ["no"], "short-of-strike": ["no"]}]


def test_a_double_tap_is_one_vote(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """However often Submit is pressed while the answer is on its way: one request, one vote."""
    voter.visit(single.letter().link)
    voter.begin()
    voter.answer({"strike": ["yes"]})
    submit = voter.button("check.submit")
    submit.evaluate("button => { button.click(); button.click(); }")
    voter.reference()
    assert len(watch.sent("/votes")) == 1
    assert single.added() == [{"strike": ["yes"]}]


@pytest.mark.parametrize("finger", [False, True], ids=["mouse", "finger"])
@pytest.mark.parametrize("form", ["single", "two"])
def test_a_double_tap_goes_one_step(station: Station, visit: Visit, form: str, finger: bool) -> None:
    """Continue pressed twice in a moment is one step: no question is skipped, and nothing is sent unseen."""
    ballot = station.shared(form)
    ballot.mark()
    voter = Voter(visit(has_touch=finger))
    voter.visit(ballot.letter().link)
    twice(voter, "start.continue", finger=finger)
    for question in ballot.document.definition.questions:
        voter.at("question", question.id)
        twice(voter, "question.continue", finger=finger)
    voter.at("check")
    voter.submit()
    voter.reference()
    assert len(ballot.added()) == 1


def twice(voter: Voter, key: str, *, finger: bool) -> None:
    """Two presses at one place, whatever stands there for the second; then a moment's rest."""
    voter.button(key).scroll_into_view_if_needed()
    box = voter.button(key).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    screen, pointer = voter.page.touchscreen, voter.page.mouse
    if finger:
        screen.tap(x, y)
        screen.tap(x, y)
    else:
        pointer.dblclick(x, y)
    voter.page.wait_for_timeout(REST_MS)


def test_a_reload_loses_nothing(voter: Voter, watch: Watch, two: OpenBallot) -> None:
    """Reloaded at a question or at the check, the page goes on where the voter was."""
    page = voter.page
    voter.visit(two.letter().link)
    voter.begin()
    voter.choose("strike", "yes")
    voter.next()
    voter.at("question", "short-of-strike")
    page.reload()
    voter.at("question", "short-of-strike")
    voter.choose("short-of-strike", "no")
    voter.next()
    voter.at("check")
    page.reload()
    voter.at("check")
    voter.submit()
    reference = voter.reference()
    page.reload()
    voter.at("done")
    assert voter.reference() == reference
    assert two.added() == [TWO]
    assert len({request.post_data for request in watch.sent("/votes")}) == 1


def test_the_whole_way_in_welsh(visit: Visit, single: OpenBallot) -> None:
    """A browser that asks for Welsh gets it on every screen, the ballot's own words included."""
    voter = Voter(visit(locale="cy-GB"), "cy")
    voter.visit(single.letter().link)
    html = voter.page.locator("html")
    expect(html).to_have_attribute("lang", "cy")
    expect(voter.main).to_contain_text("London Underground: cyflog")
    voter.begin()
    voter.at("question", "strike")
    expect(voter.page.get_by_role("heading", level=1)).to_contain_text(
        "A ydych yn barod i gymryd rhan mewn streic?"
    )
    voter.page.get_by_label("Nac ydw").check()
    voter.next()
    voter.at("check")
    expect(voter.main).to_contain_text("Nac ydw")
    voter.submit()
    reference = voter.reference()
    voter.sees("state.received")
    assert single.opened(reference) == {"strike": ["no"]}
    assert single.added() == [{"strike": ["no"]}]


def test_the_language_may_change_in_the_middle(voter: Voter, ranked: OpenBallot) -> None:
    """Switching to Welsh and back at a question keeps code and answers."""
    page = voter.page
    voter.visit(ranked.letter().link)
    voter.begin()
    voter.rank("secretary", {"hughes": "1", "farah": "2"})
    page.get_by_role("link", name="Cymraeg").click()
    expect(page.locator("html")).to_have_attribute("lang", "cy")
    welsh = Voter(page, "cy")
    welsh.at("question", "secretary")
    expect(page.locator('select[name="secretary/hughes"]')).to_have_value("1")
    welsh.next()
    welsh.at("check")
    expect(welsh.main).to_contain_text("Ailagor enwebiadau")
    page.get_by_role("link", name="English").click()
    voter.at("check")
    expect(voter.main).to_contain_text("Re-open nominations")
    voter.submit()
    assert ranked.opened(voter.reference()) == {"secretary": ["hughes", "farah"]}
    assert len(ranked.added()) == 1


def test_the_language_may_change_at_the_end(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """The reference can be read in Welsh as well, and after a reload: the vote is not sent again."""
    page = voter.page
    reference = voter.votes(single.letter().link, {"strike": ["no"]})
    with page.context.expect_page() as other:
        page.get_by_role("link", name="Cymraeg").click(modifiers=["Control"])
    other.value.close()
    assert kept(page) == "{}"  # another tab takes nothing from this one
    page.get_by_role("link", name="Cymraeg").click()
    expect(page.locator("html")).to_have_attribute("lang", "cy")
    welsh = Voter(page, "cy")
    assert welsh.reference() == reference
    page.reload()
    assert welsh.reference() == reference
    assert len(watch.sent("/votes")) == 1
    assert kept(page) == "{}"
    assert single.added() == [{"strike": ["no"]}]


def test_the_vote_that_was_sent_is_the_one_in_the_document(
    voter: Voter, watch: Watch, single: OpenBallot
) -> None:
    """The request holds what INTERFACES says and nothing else: no code, no choice, no word of the voter."""
    letter = single.letter()
    voter.votes(letter.link, {"strike": ["no"]})
    (request,) = watch.sent("/votes")
    assert set(json.loads(request.post_data or "")) == {"credential", "suite", "nonce", "sealed", "signature"}
    (access,) = watch.sent("/access")
    assert set(json.loads(access.post_data or "")) == {"credential_sha256"}
    assert letter.code not in (request.post_data or "") + (access.post_data or "")
    assert single.votes_of(letter) == [{"strike": ["no"]}]
