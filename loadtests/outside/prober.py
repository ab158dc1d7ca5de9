"""One look from outside, as a voter who was never here: the document, the code, a real vote, its storing.

Every step must answer within the deadline that a voter is taken to wait. The verdict is `up`, `slow`
(accepted, and not stored in time), `down` with the reason, or `unknown` when it tells nothing of the service.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from ballot import sealing
from ballot.code import Code
from ballot.vote import CastVote
from loadtests.outside.observed import DOWN, SLOW, UNKNOWN, UP, Look
from loadtests.voting.voter import (
    CREATED,
    FORBIDDEN,
    NO_ANSWER,
    OK,
    Answer,
    Booth,
    Patience,
    Refused,
    Unconfirmed,
    Untrue,
    access_body,
    enter,
    receipt_of,
)

NOT_OPEN = 409
STORE_POLL_SECONDS = 0.5
US = 1_000_000
NO_CODES = "no unused code is left"
CLOSED = "the probe's ballot is not open"


class ClosingDoor(Protocol):
    """A connection to the public address that can be closed."""

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The answer to one request; status 0 when the connection failed."""

    def close(self) -> None:
        """Close it."""


class Failed(Exception):  # noqa: N818  # a finding about the service, not an error of ours
    """The public address did not do its part; the text is the interval's reason."""


class Unknown(Exception):  # noqa: N818  # the same
    """This look says nothing about the service; the text tells why."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, and how long a voter is made to wait before it counts."""

    period_s: float
    deadline_s: float
    store_deadline_s: float


class Prober:
    """Looks as often as asked, from any number of threads; each code is for one vote, ever."""

    def __init__(
        self,
        open_door: Callable[[], ClosingDoor],
        *,
        ballot: str,
        desk_public: bytes,
        codes: Iterable[str],
        pace: Pace,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_door = open_door
        self._ballot = ballot
        self._desk_public = desk_public
        self._codes = deque(codes)
        self._pace = pace
        self._sleep = sleep
        self._lock = Lock()
        self._unsettled: deque[CastVote] = deque()

    def look(self) -> Look:
        """Vote once, and tell what a voter would have seen. Never raises for what the service does."""
        started_us = time.time_ns() // 1000
        try:
            with closing(self._open_door()) as door:
                state, reason = self._visit(door)
        except Failed as fault:
            state, reason = DOWN, str(fault)
        except Unknown as fault:
            state, reason = UNKNOWN, str(fault)
        return Look(started_us, time.time_ns() // 1000, state, reason)

    def _visit(self, door: ClosingDoor) -> tuple[str, str]:
        """From the document to the stored vote."""
        booth = self._enter(door)
        # A vote whose fate is unknown goes again as it is: a fresh code would tell nothing of the first.
        with self._lock:
            vote = self._unsettled.popleft() if self._unsettled else None
        if vote is None:
            vote = self._fresh(door, booth)
        reference = self._cast(door, booth, vote)
        return self._stored(door, booth, reference)

    def _enter(self, door: ClosingDoor) -> Booth:
        """The ballot document, signed by the desk's key, and the receipts' keys."""
        timed = Timed(door, self._pace.deadline_s)
        try:
            return enter(timed, self._ballot, self._desk_public, patience=ONCE)
        except Refused as error:
            raise Failed(f"http {error.status}") from error
        except Unconfirmed as error:
            raise Failed(timed.reason) from error
        except Untrue as error:
            raise Failed("the ballot document is not the desk's") from error

    def _fresh(self, door: ClosingDoor, booth: Booth) -> CastVote:
        """A new vote, once the service says that its code may vote."""
        with self._lock:
            if not self._codes:
                raise Unknown(NO_CODES)
            code = Code.parse(self._codes.popleft())
        # A code that was not answered is not used again: there are enough, and a refused one stays so.
        answer = self._ask(door, "POST", f"{booth.path}/access", access_body(booth, code))
        if answer.status != OK:
            raise Failed(f"http {answer.status}")
        answers = {question.id: [question.options[0].id] for question in booth.document.definition.questions}
        return sealing.seal(booth.document, code.signing_key(self._ballot), answers, random=os.urandom)

    def _cast(self, door: ClosingDoor, booth: Booth, vote: CastVote) -> str:
        """The reference of the receipt for `vote`; a vote whose fate stays open is kept for the next look."""
        settled = False
        try:
            answer = self._ask(door, "POST", f"{booth.path}/votes", vote.to_json())
            settled = answer.status in {OK, CREATED, FORBIDDEN}
        finally:
            if not settled:
                with self._lock:
                    self._unsettled.append(vote)
        try:
            return receipt_of(answer, vote, booth).reference
        except Refused as error:
            raise Failed(f"http {error.status}") from error
        except Untrue as error:
            raise Failed("the receipt does not verify") from error

    def _stored(self, door: ClosingDoor, booth: Booth, reference: str) -> tuple[str, str]:
        """Whether the vote reached the voter database in time; a failed question about it says nothing."""
        until = time.monotonic() + self._pace.store_deadline_s
        while True:
            told = door.send("GET", f"{booth.path}/receipts/{reference}").fields().get("state")
            if told == "stored":
                return UP, ""
            if told == "held":
                return SLOW, "held"
            if time.monotonic() >= until:
                return SLOW, "not stored in time"
            self._sleep(STORE_POLL_SECONDS)

    def _ask(self, door: ClosingDoor, method: str, path: str, body: bytes) -> Answer:
        """One answer within the deadline."""
        timed = Timed(door, self._pace.deadline_s)
        answer = timed.send(method, path, body)
        if answer.status == NO_ANSWER:
            raise Failed(timed.reason)
        if answer.status == NOT_OPEN:
            raise Unknown(CLOSED)
        return answer


class Timed:
    """A door that has no answer when it came after the deadline; `reason` is then why there is none."""

    def __init__(self, door: ClosingDoor, deadline_s: float) -> None:
        self._door = door
        self._deadline_s = deadline_s
        self.reason = "no answer"

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The answer, if it came in time and says that the service works."""
        started = time.monotonic()
        answer = self._door.send(method, path, body)
        if time.monotonic() - started >= self._deadline_s:
            self.reason = "timeout"
            return Answer(NO_ANSWER)
        self.reason = "no answer" if answer.status == NO_ANSWER else f"http {answer.status}"
        return answer


def _never(_seconds: float) -> None:
    """Do not wait: a look has one attempt."""


ONCE = Patience(sleep=_never, attempts_max=1)
