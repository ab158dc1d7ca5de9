"""A voter who goes from state to state, and can make the world around the page misbehave."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import Error, Page, Route, expect

from intake.rendering import Renderer, shown_in
from loadtests.staging.stage import wait_until
from runtime import built_page
from tests.browser.station import Letter, OpenBallot, Station
from tests.browser.voter import SCREEN_MS_MAX, Voter

if TYPE_CHECKING:
    from intake.preferences import Language

UNISSUED: Final = "0123-4567-89AB-CDEF-GHJ4"
"""A code that is well formed, and that nobody was sent."""
ISLAND: Final = re.compile(r'(<script type="application/json" id="island">)(.*?)(</script>)', re.DOTALL)
# The longest delay between two tries, so that a page that waits goes on waiting while it is looked at.
_PATIENT: Final = "Math.random = () => 0.999;"
_NO_MEMORY: Final = "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no'); } });"
_NO_CRYPTOGRAPHY: Final = "Object.defineProperty(crypto, 'subtle', { value: undefined });"


class Walker(Voter):
    """One voter on one page that nobody used before."""

    def __init__(self, station: Station, page: Page, language: str) -> None:
        super().__init__(page, language)
        self.station = station
        self._held: list[Route] = []

    # Where to

    def go(self, path: str, screen: str | None = None) -> None:
        """Open a path of the station."""
        self.page.goto(f"{self.station.stage.url}{path}")
        if screen is not None:
            self.at(screen)

    def ballot(self, form: str = "every") -> OpenBallot:
        """The ballot of this form that everybody shares."""
        return self.station.shared(form)

    def link(self, form: str = "every", screen: str = "start") -> None:
        """Follow the link of a letter that nobody used before."""
        self.visit(self.ballot(form).letter().link, screen)

    def open_here(self, code: str) -> None:
        """Open another voter's link over the page that is there."""
        self.page.evaluate("code => { location.hash = code; }", code)

    def letter(self, form: str = "every") -> Letter:
        """A letter that nobody used before."""
        return self.ballot(form).letter()

    def address(self, rest: str = "", form: str = "every") -> str:
        """The path of a page of a ballot."""
        return f"/b/{self.ballot(form).id}{rest}"

    # What the world does

    def answer_with(self, ending: str, status: int, error: str, **more: Any) -> None:
        """From now on requests to a path with this ending get this answer, in the server's own words."""
        headers = {"Retry-After": "300"} if more.get("retry") else {}
        body = json.dumps({"error": error, "message": "…", "retry": False} | more)
        self._route(ending, lambda route: route.fulfill(status=status, headers=headers, body=body))

    def answer_plainly(self, ending: str, value: object) -> None:
        """From now on requests to a path with this ending get this value."""
        self._route(ending, lambda route: route.fulfill(json=value))

    def hold(self, ending: str) -> None:
        """From now on requests to a path with this ending stay without an answer."""
        self._route(ending, lambda route: self._held.append(route))  # noqa: PLW0108

    def wait_for_held(self) -> None:
        """Wait until a request is held."""
        wait_until(self._holds, seconds=SCREEN_MS_MAX / 1000, what="a request to be held")

    def _holds(self) -> bool:
        self.page.evaluate("0")  # lets the browser's driver work
        return bool(self._held)

    def let_go(self) -> None:
        """Everything that is held goes its way, and whatever comes later too."""
        for route in self._held:
            with suppress(Error):  # the page may have gone on without it
                route.continue_()
        self._held.clear()
        self.page.unroute_all()

    def lose(self, ending: str) -> None:
        """From now on requests to a path with this ending are lost."""
        self._route(ending, lambda route: route.abort())

    def change_answer(self, ending: str, change: Callable[[str], str]) -> None:
        """From now on answers from a path with this ending arrive changed."""

        def changed(route: Route) -> None:
            answer = route.fetch()
            headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
            route.fulfill(status=answer.status, headers=headers, body=change(answer.text()))

        self._route(ending, changed)

    def _route(self, ending: str, handle: Callable[[Route], object]) -> None:
        self.page.unroute_all()
        self.page.route(re.compile(rf"{re.escape(ending)}(\?.*)?$"), handle)

    def patient(self) -> None:
        """Delays are as long as they may be."""
        self.page.add_init_script(_PATIENT)

    def without_memory(self) -> None:
        """A browser that lets no page remember anything."""
        self.page.add_init_script(_NO_MEMORY)

    def without_cryptography(self) -> None:
        """A browser that is too old, or an address without https."""
        self.page.add_init_script(_NO_CRYPTOGRAPHY)

    def is_styled(self) -> None:
        """Wait for the style sheet: what is spoken of texts side by side depends on it."""
        expect(self.page.locator("body")).to_have_css("display", "flex")

    def loads_for_long(self) -> None:
        """As much time passes as it takes for the page to say what to do if it stays like this."""
        self.page.evaluate("() => document.getAnimations().forEach((one) => one.finish())")

    def error_page(self, status: int, *, language_known: bool = True) -> None:
        """The page of an error, as an edge makes it."""
        language: Language | None = ("cy" if self.language == "cy" else "en") if language_known else None
        definition = self.ballot().document.definition
        html = Renderer(built_page.read()).problem(status, language, shown_in(definition, language or "en"))
        served = {"Content-Type": "text/html; charset=utf-8"}
        self._route(self.address(), lambda route: route.fulfill(status=status, headers=served, body=html))
        self.go(self.address())

    # What the voter does

    def told(self) -> None:
        """Wait until the page says what needs mending."""
        expect(self.page.locator(".errors")).to_be_focused()

    def ask_for(self, reference: str) -> None:
        """Ask whether this reference is stored."""
        self.page.get_by_role("textbox").fill(reference)
        self.press("check.ask")

    def complain(self, words: str) -> None:
        """Write a complaint, and send it."""
        self.page.get_by_role("textbox").first.fill(words)
        self.press("complaint.send")

    def open_details(self) -> None:
        """Open everything that can be opened."""
        for summary in self.page.locator("main summary").all():
            summary.click()

    def type_and_begin(self, code: str) -> None:
        """Type a code, and press Continue."""
        self.type_code(code)
        self.begin()

    def vote_to(self, screen: str) -> None:
        """From the link through the shortest ballot to Submit, and on to this screen."""
        self.link("single")
        self.begin()
        self.choose("strike", "yes")
        self.next()
        self.at("check")
        self.submit()
        self.at(screen)


def mistyped(code: str) -> str:
    """The code with its last symbol wrong."""
    return code[:-1] + ("0" if code[-1] != "0" else "2")


def falsified(body: str) -> str:
    """A receipt whose signature is not the server's."""
    receipt = json.loads(body)
    receipt["signature"] = receipt["signature"][:-4] + (
        "AAAA" if receipt["signature"][-4:] != "AAAA" else "BBBA"
    )
    return json.dumps(receipt)


def scriptless(body: str) -> str:
    """The page as a browser with scripts switched off shows it, for tools that need scripts to look at it."""
    body = re.sub(r'<script type="module".*?</script>', "", body, flags=re.DOTALL)
    body = re.sub(r'<div class="loading">.*?</main>', "</main>", body, flags=re.DOTALL)
    return body.replace("<noscript>", "<div>").replace("</noscript>", "</div>")


def without_island(body: str) -> str:
    """A page that does not say which ballot it is of."""
    return ISLAND.sub("", body)


def misprinted(body: str) -> str:
    """A page with a ballot document that the desk did not sign."""
    found = ISLAND.search(body)
    assert found is not None
    island = json.loads(found[2])
    signature = island["document_signature"]
    island["document_signature"] = ("B" if signature[0] == "A" else "A") + signature[1:]
    return body.replace(found[2], json.dumps(island))


def with_complaints_key(key: dict[str, str] | None) -> Callable[[str], str]:
    """Makes a page that seals complaints to this key."""

    def changed(body: str) -> str:
        found = ISLAND.search(body)
        assert found is not None
        return body.replace(found[2], json.dumps(json.loads(found[2]) | {"complaints_key": key}))

    return changed
