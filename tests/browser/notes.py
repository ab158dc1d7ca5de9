"""What the page's line says of the vote, noted at every change, over every reload."""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from playwright.sync_api import BrowserContext

from tests.browser.wire import Exchange, Wire

NOTE: Final = "noteOfTheTests"
_WATCH: Final = f"""
(() => {{
  const note = window.{NOTE};
  const now = Date.now.bind(Date); // a test may set the page's clock later
  let last = null;
  const look = () => {{
    const line = document.querySelector("[data-state]");
    const state = line === null ? null : line.dataset.state;
    if (state !== null && state !== last) note({{ state, at: now() / 1000 }});
    last = state ?? last;
  }};
  const all = {{ subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"] }};
  new MutationObserver(look).observe(document, all);
}})();
"""
CLOCK_SLACK_S: Final = 0.25
"""The page's note and the relay's are made by two processes of one busy machine."""
GIVEN: Final = (200, 201)


@dataclass(frozen=True, slots=True)
class Note:
    """What the line said, from when on."""

    state: str
    at: float


@dataclass
class Notes:
    """Everything the pages of one context said."""

    context: BrowserContext
    all: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.expose_function(NOTE, self._take)
        self.context.add_init_script(_WATCH)

    def _take(self, note: dict[str, Any]) -> None:
        self.all.append(Note(note["state"], note["at"]))

    @property
    def states(self) -> list[str]:
        """What the line said, one after the other, a reload's repetition left out."""
        found: list[str] = []
        for note in self.all:
            if found[-1:] != [note.state]:
                found.append(note.state)
        return found

    def said_at(self, state: str) -> float:
        """When it first said this."""
        return next(note.at for note in self.all if note.state == state)

    def never_wrong(self, wire: Wire) -> None:
        """Fail if the line ever said less than may have happened, or more than had."""
        votes = wire.to("/votes")
        assert self.states == ["not-sent", "sending", "received"], self.states
        assert votes, "no vote was sent"
        first = votes[0].sent_at
        late = [note for note in self.all if note.state == "not-sent" and note.at > first + CLOCK_SLACK_S]
        assert not late, f"'not sent' {late[0].at - first:.2f} s after the vote had left"
        assert self.said_at("sending") <= first + CLOCK_SLACK_S, "a vote left before the page said so"
        receipts = [one for one in votes if one.status in GIVEN and one.answered_at is not None]
        assert receipts, "no receipt came"
        began = receipts[0].answered_at or time.time()
        assert self.said_at("received") >= began - CLOCK_SLACK_S, "'received' before any receipt"


def one_body(votes: list[Exchange]) -> bytes:
    """The body that all tries of one vote had; fail if there were two."""
    bodies = {one.body for one in votes}
    assert len(bodies) == 1, f"{len(bodies)} different bodies in {len(votes)} tries"
    return bodies.pop()


def gaps(votes: list[Exchange]) -> list[float]:
    """The seconds between the tries."""
    times = [one.sent_at for one in votes]
    return [later - earlier for earlier, later in pairwise(times)]
