"""A voter behind a bad network, and everything that is noted of the two: what was said, sent and stored."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tests.browser.notes import Notes, one_body
from tests.browser.station import Answers, Letter, OpenBallot
from tests.browser.voter import Voter
from tests.browser.wire import Exchange, Wire

ANSWERS: Final = {"strike": ["no"]}
DONE_MS_MAX: Final = 60_000
POLL_MS: Final = 25


@dataclass
class Sitting:
    """One voter behind a bad network, at the check screen or before, and all that is noted of it."""

    voter: Voter
    wire: Wire
    notes: Notes
    ballot: OpenBallot
    letter: Letter

    @property
    def votes(self) -> list[Exchange]:
        """Every try to send the vote that left the browser, in order."""
        return self.wire.to("/votes")

    def until(self, holds: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
        """Wait, while the page goes on."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            self.voter.page.wait_for_timeout(POLL_MS)

    def sent(self, tries: int) -> None:
        """Wait until so many tries have left the browser."""
        self.until(lambda: len(self.votes) >= tries, f"{tries} tries; there are {len(self.votes)}")

    def to_check(self, answers: Answers = ANSWERS) -> None:
        """From the link in the letter to the check screen."""
        self.voter.visit(self.wire.through(self.letter.link))
        self.voter.begin()
        self.voter.answer(answers)

    def received(self) -> str:
        """Wait for the reference; then nothing that was said or sent on the way may have been wrong."""
        self.voter.page.locator('main[data-screen="done"]').wait_for(timeout=DONE_MS_MAX)
        reference = self.voter.reference()
        self.notes.never_wrong(self.wire)
        one_body(self.votes)
        assert self.ballot.added() == [ANSWERS]
        assert self.ballot.opened(reference) == ANSWERS
        assert self.voter.page.evaluate("sessionStorage.length") == 0
        return reference


class Sit(Protocol):
    """Opens one sitting more."""

    def __call__(self, letter: Letter | None = None) -> Sitting:
        """Return it, with a letter that no other test has unless one is given."""
