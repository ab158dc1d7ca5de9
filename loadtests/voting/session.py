"""One visit to the booth, with all that people do: mistype, click twice, lose the answer, come back later.

Each step has one expected outcome; anything else is `Unexpected`, told without a code or a choice in it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ballot.alphabet import SYMBOLS
from ballot.code import Code, CodeMistyped
from ballot.receipt import Receipt
from ballot.vote import CastVote
from loadtests.published.plan import Afterwards, Lost, Paper, other_paper
from loadtests.voting.agenda import Visit
from loadtests.voting.voter import (
    FORBIDDEN,
    OK,
    Booth,
    Door,
    Patience,
    Refused,
    Unconfirmed,
    Untrue,
    access_body,
    cast,
    seal,
    settled,
)

NOT_ACCEPTED = "not_accepted"
Casting = Callable[[], tuple[Receipt, int]]


class Unexpected(Exception):  # noqa: N818  # named for what it means to the tester
    """A voter did not get the outcome they must get."""


@dataclass(slots=True)
class Codes:
    """The codes as the voters hold them: the first letter, and for some a second one that replaces it."""

    first: Mapping[str, str]
    reissued: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """What every visit needs; `at_once` casts twice side by side, `hang_up` sends and breaks off."""

    door: Door
    booth: Booth
    codes: Codes
    patience: Patience
    random_bytes: Callable[[int], bytes]
    at_once: Callable[[Casting, Casting], Sequence[tuple[Receipt, int]]]
    hang_up: Callable[[str, bytes], None]
    counts: Counter[str]

    def visit(self, visit: Visit, *, kept: Callable[[Receipt, CastVote], None]) -> Visit | None:
        """The later visit that follows from `visit`, if any; `kept` takes each receipt with its vote."""
        try:
            if visit.voted is None:
                return self._first_visit(visit, kept=kept)
            self._come_back(visit, visit.voted)
        except Refused as error:
            raise Unexpected(f"refused with {error.status} {error.error}") from error
        except (Unconfirmed, Untrue) as error:
            raise Unexpected(str(error)) from error
        return None

    def _first_visit(self, visit: Visit, *, kept: Callable[[Receipt, CastVote], None]) -> Visit | None:
        """From the code to the receipt."""
        voter = visit.voter
        code = self._code(visit)
        if voter.foreign_code:
            self._must_be_refused(Code.draw(self.random_bytes), voter.paper, what="foreign code")
        if voter.reissue:
            self._must_be_refused(
                Code.parse(self.codes.first[voter.member_id]), voter.paper, what="revoked code"
            )
        self._must_be_ready(code)
        vote = seal(self.booth, code, voter.paper)
        receipt = self._cast(vote, lost=voter.lost, double_click=voter.double_click)
        kept(receipt, vote)
        self.counts["accepted"] += 1
        if voter.afterwards is Afterwards.NOTHING:
            return None
        return Visit(voter, voted=vote, reference=receipt.reference)

    def _code(self, visit: Visit) -> Code:
        """The voter's code, typed in: some get a symbol wrong first, which their own device must notice."""
        member = visit.voter.member_id
        text = self.codes.reissued[member] if visit.voter.reissue else self.codes.first[member]
        if visit.voter.mistyped:
            try:
                Code.parse(mistyped(text))
            except CodeMistyped:
                self.counts["mistyped, caught"] += 1
            else:
                raise Unexpected("a mistyped code was not noticed")
        return Code.parse(text)

    def _must_be_ready(self, code: Code) -> None:
        """The page asks whether the code is good here before it shows the paper."""
        answer = self._access(code)
        if answer != (OK, "ready"):
            raise Unexpected(f"a good code was told {answer[0]} {answer[1]}")

    def _must_be_refused(self, code: Code, paper: Paper, *, what: str) -> None:
        """A code that is not good here is refused at the door, and its vote as well."""
        answer = self._access(code)
        if answer != (FORBIDDEN, NOT_ACCEPTED):
            raise Unexpected(f"a {what} was told {answer[0]} {answer[1]}")
        self._vote_must_be_refused(seal(self.booth, code, paper), what=what)

    def _vote_must_be_refused(self, vote: CastVote, *, what: str) -> None:
        """A vote that must not be taken."""
        try:
            cast(self.door, self.booth, vote, patience=self.patience)
        except Refused as error:
            if (error.status, error.error) != (FORBIDDEN, NOT_ACCEPTED):
                raise
            self.counts[f"{what}, refused"] += 1
            return
        raise Unexpected(f"a vote with a {what} was accepted")

    def _access(self, code: Code) -> tuple[int, str]:
        """Status, and state or error name, of one access request."""
        path, body = f"{self.booth.path}/access", access_body(self.booth, code)
        answer, again = settled(self.door, "POST", path, body, patience=self.patience)
        self.counts["sent again"] += again
        told = answer.fields()
        return answer.status, str(told.get("state", told.get("error", "")))

    def _cast(self, vote: CastVote, *, lost: Lost, double_click: bool) -> Receipt:
        """Cast `vote`, as clumsily as the plan says; every receipt of it must say the same."""

        def once() -> tuple[Receipt, int]:
            return cast(self.door, self.booth, vote, patience=self.patience)

        receipts: list[Receipt] = []
        if lost is Lost.DROPPED:
            self.hang_up(f"{self.booth.path}/votes", vote.to_json())
            self.counts["connection dropped"] += 1
        elif lost is Lost.UNREAD:
            receipts.append(once()[0])
            self.counts["answer not read"] += 1
        for receipt, again in self.at_once(once, once) if double_click else [once()]:
            self.counts["sent again"] += again
            receipts.append(receipt)
        self.counts["double click"] += double_click
        if len({(receipt.reference, receipt.accepted_us) for receipt in receipts}) != 1:
            raise Unexpected("the same vote was given two references")
        return receipts[0]

    def _come_back(self, visit: Visit, voted: CastVote) -> None:
        """The same code once more, when it has long voted."""
        if visit.voter.afterwards is Afterwards.SAME_AGAIN:
            receipt, again = cast(self.door, self.booth, voted, patience=self.patience)
            self.counts["sent again"] += again
            if receipt.reference != visit.reference:
                raise Unexpected("the same vote was given another reference later")
            self.counts["same again later"] += 1
            return
        code = self._code(visit)
        other = other_paper(visit.voter.paper, self.booth.document.definition)
        self._vote_must_be_refused(seal(self.booth, code, other), what="used code")


def mistyped(text: str) -> str:
    """`text` with its last symbol wrong."""
    wrong = SYMBOLS[(SYMBOLS.index(text[-1].upper()) + 1) % len(SYMBOLS)]
    return text[:-1] + wrong
