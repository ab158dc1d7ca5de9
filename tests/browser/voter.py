"""A voter at the page: looks for the words on the screen, presses what they name, reads what comes back."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from playwright.sync_api import Locator, Page, expect

from tests.browser.words import text

REFERENCE: Final = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}\b")
SCREEN_MS_MAX: Final = 30_000


class Voter:
    """One person with one page, who reads one language."""

    def __init__(self, page: Page, language: str = "en") -> None:
        self.page = page
        self.language = language

    def text(self, key: str, **values: object) -> str:
        """A text of the page in this voter's language."""
        return text(key, self.language, **values)

    @property
    def main(self) -> Locator:
        """The part of the page that changes from screen to screen."""
        return self.page.locator("main#main")

    def at(self, screen: str, question: str | None = None) -> None:
        """Wait until the page shows this screen; one that stays away fails the test with what is shown."""
        wanted = f'main[data-screen="{screen}"]' + (f'[data-question="{question}"]' if question else "")
        try:
            self.page.locator(wanted).wait_for(timeout=SCREEN_MS_MAX)
        except Exception as fault:
            shown = self.main.get_attribute("data-screen"), self.main.inner_text()[:600]
            raise AssertionError(f"wanted {wanted}, but the page shows {shown}") from fault

    def button(self, key: str, **values: object) -> Locator:
        """The button with this text."""
        return self.page.get_by_role("button", name=self.text(key, **values), exact=True)

    def press(self, key: str, **values: object) -> None:
        """Press the button with this text."""
        self.button(key, **values).click()

    def sees(self, key: str, **values: object) -> None:
        """Wait until this text is on the screen, as it is shown: what is there for want of scripts too."""
        expect(self.page.locator("body")).to_contain_text(self.text(key, **values), use_inner_text=True)

    def visit(self, address: str, screen: str = "start") -> None:
        """Open an address, and wait for its first screen."""
        self.page.goto(address)
        self.at(screen)

    def begin(self) -> None:
        """Press Continue under the notice; the code is there."""
        self.press("start.continue")

    def type_code(self, code: str) -> None:
        """Write a code by hand into the one field for it."""
        self.page.get_by_role("textbox").fill(code)

    def choose(self, question: str, *options: str) -> None:
        """Tick these options of the question on the screen, and untick the others."""
        self.at("question", question)
        for box in self.page.locator(f'input[name="{question}"]').all():
            if box.get_attribute("type") == "radio":
                if box.get_attribute("value") in options:
                    box.check()
            else:
                box.set_checked(box.get_attribute("value") in options)

    def rank(self, question: str, places: Mapping[str, str]) -> None:
        """Give each option of the question on the screen its place; "" is none."""
        self.at("question", question)
        for option, place in places.items():
            self.page.locator(f'select[name="{question}/{option}"]').select_option(place)

    def next(self) -> None:
        """Go on from a question."""
        self.press("question.continue")

    def answer(self, answers: Mapping[str, Sequence[str]]) -> None:
        """Answer every question, in the order given, up to the check screen."""
        for question, options in answers.items():
            self.at("question", question)
            if self.page.locator("main select").count():
                places = {option: str(place) for place, option in enumerate(options, 1)}
                self.rank(question, places)
            else:
                self.choose(question, *options)
            self.next()
        self.at("check")

    def change(self, index: int) -> None:
        """Press Change beside one answer on the check screen, counted from 0."""
        self.main.get_by_role("button", name=self.text("check.change")).nth(index).click()

    def submit(self) -> None:
        """Press Submit on the check screen."""
        self.press("check.submit")

    def reference(self) -> str:
        """The reference on the last screen."""
        self.at("done")
        found = REFERENCE.search(self.main.inner_text())
        assert found is not None, self.main.inner_text()
        return found.group()

    def saved_receipt(self) -> dict[str, Any]:
        """Press Save on the last screen; the receipt in the file that comes of it."""
        with self.page.expect_download() as saved:
            self.press("done.save")
        lines = saved.value.path().read_text(encoding="utf-8").splitlines()
        receipt: dict[str, Any] = json.loads(lines[-1])
        assert receipt["reference"] in saved.value.suggested_filename
        assert any(receipt["reference"] in line for line in lines[:-1])
        return receipt

    def votes(self, link: str, answers: Mapping[str, Sequence[str]]) -> str:
        """The whole way from the link in the letter to the reference."""
        self.visit(link)
        self.begin()
        self.answer(answers)
        self.submit()
        return self.reference()
