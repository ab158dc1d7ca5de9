"""Devices that lack something or that several people use, and answers that somebody altered on the way."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.ballots import CONTACT, definition
from tests.browser.station import OpenBallot, Station
from tests.browser.voter import Voter
from tests.browser.watch import Watch

MAIL = CONTACT.partition(",")[0]

NO_STORAGE = """
for (const name of ["setItem", "getItem", "removeItem", "clear"]) {
  Storage.prototype[name] = () => {
    window.lacked = true;
    throw new DOMException("refused", "SecurityError");
  };
}
"""
NO_STORAGE_AT_ALL = """
Object.defineProperty(window, "sessionStorage", {
  get() {
    window.lacked = true;
    throw new DOMException("refused", "SecurityError");
  },
});
"""
NO_ED25519 = """
for (const name of ["importKey", "generateKey", "sign", "verify"]) {
  const native = SubtleCrypto.prototype[name];
  SubtleCrypto.prototype[name] = function (...given) {
    if (JSON.stringify(given).includes("Ed25519")) {
      window.lacked = true;
      return Promise.reject(new DOMException("Unrecognized name.", "NotSupportedError"));
    }
    return native.apply(this, given);
  };
}
"""
NO_CRYPTO = 'Object.defineProperty(Crypto.prototype, "subtle", { get: () => undefined });'
ODD_WORDS = "</script><img src=x onerror=alert(1)><b>Pay</b> &amp; {title} ${1}"
ODD = (
    definition("ranked", "odd-words").partition("[[question]]")[0].replace("General secretary", ODD_WORDS)
    + f"""
[[question]]
id = "2"
text = "{ODD_WORDS}"
form = "single"
options = [ {{id = "constructor", text = "{ODD_WORDS}"}}, {{id = "no", text = "No"}} ]

[[question]]
id = "1"
text = "One"
form = "multiple"
max = 1
options = [ {{id = "1", text = "One"}}, {{id = "0", text = "Nought"}} ]

[[question]]
id = "constructor"
text = "Three"
form = "ranked"
options = [ {{id = "9", text = "9"}}, {{id = "10", text = "10"}}, {{id = "valueof", text = "ValueOf"}} ]
"""
)


@pytest.mark.parametrize(
    "lack", [NO_STORAGE, NO_STORAGE_AT_ALL, NO_ED25519], ids=["no memory", "no storage", "no Ed25519"]
)
def test_a_device_that_lacks_something(voter: Voter, two: OpenBallot, lack: str) -> None:
    """Without storage, or with a browser that cannot sign, the vote is made and stored all the same."""
    voter.page.add_init_script(lack)
    answers = {"strike": ["no"], "short-of-strike": ["yes"]}
    letter = two.letter()
    assert two.opened(voter.votes(letter.link, answers)) == answers
    assert voter.page.evaluate("window.lacked")
    assert two.added() == [answers] == two.votes_of(letter)


def test_a_device_that_cannot_seal(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """Without the browser's cryptography nothing can be sealed, so nothing is sent, and the page says so."""
    voter.page.add_init_script(NO_CRYPTO)
    letter = single.letter()
    voter.visit(letter.link, "stopped")
    voter.sees("stopped.nothing_sent")
    expect(voter.page.locator("body")).to_contain_text(MAIL)
    assert letter.code not in voter.page.url
    assert not watch.asked()


def test_two_voters_on_one_device(voter: Voter, single: OpenBallot) -> None:
    """The next of a household opens another link in the same tab: a vote of its own."""
    first, second = single.letter(), single.letter()
    reference = voter.votes(first.link, {"strike": ["yes"]})
    voter.visit(second.link)
    assert voter.page.url == single.url
    assert reference not in voter.main.inner_text()
    voter.begin()
    voter.at("question", "strike")
    assert not voter.page.locator("input:checked").count()
    voter.answer({"strike": ["no"]})
    voter.submit()
    assert voter.reference() != reference
    assert single.votes_of(first) == [{"strike": ["yes"]}]
    assert single.votes_of(second) == [{"strike": ["no"]}]
    assert len(single.added()) == 2


def test_another_link_in_the_middle(voter: Voter, single: OpenBallot) -> None:
    """Another voter's link opened over somebody's answers begins anew, without them."""
    first, second = single.letter(), single.letter()
    voter.visit(first.link)
    voter.begin()
    voter.choose("strike", "yes")
    voter.visit(second.link)
    voter.begin()
    voter.at("question", "strike")
    assert not voter.page.locator("input:checked").count()
    voter.choose("strike", "no")
    voter.next()
    voter.at("check")
    voter.submit()
    voter.reference()
    assert single.added() == [{"strike": ["no"]}] == single.votes_of(second)


def test_words_and_names_are_only_that(voter: Voter, station: Station) -> None:
    """Texts that look like markup are shown as they are; ids that mean something to a script are only ids."""
    ballot = OpenBallot(station, "odd-words", ODD)
    answers = {"2": ["constructor"], "1": ["0"], "constructor": ["valueof", "10", "9"]}
    voter.visit(ballot.letter().link)
    expect(voter.page.get_by_role("heading", level=1)).to_contain_text(ODD_WORDS)
    voter.begin()
    voter.at("question", "2")
    expect(voter.main).to_contain_text(ODD_WORDS)
    voter.answer(answers)
    expect(voter.main).to_contain_text(ODD_WORDS)
    assert not voter.main.locator("img, script, b").count()
    voter.submit()
    assert ballot.opened(voter.reference()) == answers


def test_another_code_is_typed_instead(voter: Voter, single: OpenBallot) -> None:
    """Whoever finds a code in the page that is not theirs can type their own."""
    first, second = single.letter(), single.letter()
    voter.visit(first.link)
    voter.press("start.another")
    voter.type_code(second.code)
    voter.begin()
    voter.answer({"strike": ["no"]})
    voter.submit()
    voter.reference()
    assert single.added() == [{"strike": ["no"]}] == single.votes_of(second)


def test_reading_about_it_in_the_middle(voter: Voter, two: OpenBallot) -> None:
    """The about page and back: code and answers are kept; after the vote the check page and back as well."""
    page = voter.page
    voter.visit(two.letter().link)
    voter.begin()
    voter.choose("strike", "yes")
    page.get_by_role("link", name=voter.text("about.nav")).click()
    voter.sees("about.title")
    page.go_back()
    voter.at("question", "strike")
    expect(page.locator('input[value="yes"]')).to_be_checked()
    voter.next()
    voter.choose("short-of-strike", "no")
    voter.next()
    voter.at("check")
    voter.submit()
    reference = voter.reference()
    voter.main.get_by_role("link", name=voter.text("check.nav")).click()
    expect(page).to_have_url(re.compile("/check"))
    page.go_back()
    assert voter.reference() == reference
    assert two.added() == [{"strike": ["yes"], "short-of-strike": ["no"]}]


def test_reading_on_while_it_is_sent(voter: Voter, watch: Watch, two: OpenBallot) -> None:
    """Another language or another page while the vote is on its way: it stays that very vote."""
    page = voter.page
    answers = {"strike": ["yes"], "short-of-strike": ["no"]}
    later = {"error": "not_confirmed", "message": "Try again.", "retry": True}
    page.route("**/votes", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, json=later))
    voter.visit(two.letter().link)
    voter.begin()
    voter.answer(answers)
    voter.submit()
    voter.at("sending")
    page.get_by_role("link", name="Cymraeg").click()
    expect(page.locator("html")).to_have_attribute("lang", "cy")
    welsh = Voter(page, "cy")
    welsh.at("sending")
    welsh.sees("state.sending")
    page.get_by_role("link", name=welsh.text("about.nav")).click()
    welsh.sees("about.title")
    page.unroute("**/votes")
    page.get_by_role("link", name=welsh.text("about.vote")).click()
    assert two.opened(welsh.reference()) == answers
    assert two.added() == [answers]
    assert len({request.post_data for request in watch.sent("/votes")}) == 1


@pytest.mark.parametrize(
    "instead", ["", "{}", "[1]", '{"ballot": "other"}'], ids=["nothing", "empty", "list", "part"]
)
def test_a_page_that_came_in_part(voter: Voter, watch: Watch, single: OpenBallot, instead: str) -> None:
    """A page whose data did not come whole stops, and sends nothing."""

    def cut(route: Route) -> None:
        answer = route.fetch()
        island = re.compile(r'(id="island">).*?(</script>)', re.DOTALL)
        body = island.sub(lambda found: found[1] + instead + found[2], answer.text())
        headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        route.fulfill(status=answer.status, headers=headers, body=body)

    voter.page.route(f"{single.url}*", cut)
    voter.visit(single.letter().link, "stopped")
    expect(voter.page.locator("body")).to_contain_text(MAIL)
    assert not watch.asked()


def test_a_script_that_was_altered_does_not_run(voter: Voter, watch: Watch, single: OpenBallot) -> None:
    """A script that is not the one the page names is refused by the browser, and the page says what to do."""

    def alter(route: Route) -> None:
        answer = route.fetch()
        headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        route.fulfill(status=answer.status, headers=headers, body=answer.text() + "\n//")

    voter.page.route("**/assets/vote-*.js", alter)
    voter.visit(single.letter().link, "loading")
    voter.sees("loading.stuck")
    expect(voter.main).to_contain_text(MAIL)
    assert not watch.asked()
    (fault,) = watch.faults
    assert "integrity" in fault
    watch.faults.clear()
