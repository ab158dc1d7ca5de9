"""Who comes to vote next: everybody once, lost codes when the new ones are there, latecomers at the end."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ballot.vote import CastVote
from loadtests.published.plan import Voter


@dataclass(frozen=True, slots=True)
class Visit:
    """One voter at the booth; who comes back brings the vote the device kept, and its reference."""

    voter: Voter
    voted: CastVote | None = None
    reference: str = ""


class Agenda:
    """The visits still to come; a load run is over when it is `finished`."""

    def __init__(self, voters: Iterable[Voter]) -> None:
        self._first: deque[Visit] = deque()
        self._waiting: deque[Visit] = deque()
        self._later: deque[Visit] = deque()
        for voter in voters:
            (self._waiting if voter.reissue else self._first).append(Visit(voter))
        self._going_on = 0
        self.voters = len(self._first) + len(self._waiting)
        self.voted = 0

    def next(self, *, new_codes: bool) -> Visit | None:
        """The next visit, or None when there is none now; `new_codes`: the reissued codes have arrived."""
        if new_codes and self._waiting:
            self._first.extendleft(self._waiting)
            self._waiting.clear()
        queue = self._first or self._later
        if not queue:
            return None
        self._going_on += 1
        return queue.popleft()

    def done(self, visit: Visit, *, again: Visit | None = None) -> None:
        """`visit` is over; `again` is the same voter coming back at the end."""
        self._going_on -= 1
        self.voted += visit.voted is None
        if again is not None:
            self._later.append(again)

    def send_home(self) -> None:
        """Let nobody else begin; who has begun finishes, and who wanted to come back does."""
        self._first.clear()
        self._waiting.clear()

    @property
    def finished(self) -> bool:
        """Whether nobody is left, at the booth or to come."""
        return not (self._first or self._waiting or self._later or self._going_on)
