"""The voter's side trusts nothing unchecked, retries the identical vote, and knows a wrong outcome."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ballot import sealing
from ballot.code import Code
from ballot.definition import parse_toml
from ballot.encoding import b64decode
from ballot.receipt import Receipt
from ballot.suite import SigningKey
from ballot.vote import CastVote
from loadtests.published import scenario
from loadtests.published.plan import Afterwards, Lost, Paper, Voter
from loadtests.voting import voter
from loadtests.voting.agenda import Visit
from loadtests.voting.session import Casting, Codes, Session, Unexpected, mistyped
from loadtests.voting.voter import Answer, Patience, Refused, Unconfirmed, Untrue
from tally.answers import choices, read_answers
from tests.unit.loadtests.served import ServedBallot

BRANCH = scenario.load("branch-41")
YES = Paper(answers=(("strike", ("yes",)), ("asos", ("yes",))), legal=True)
PLAIN = Voter(
    member_id="M1",
    paper=YES,
    double_click=False,
    lost=Lost.NO,
    mistyped=False,
    foreign_code=False,
    reissue=False,
    afterwards=Afterwards.NOTHING,
)
PATIENCE = Patience(sleep=lambda _: None, attempts_max=4, spread=lambda: 0.5)


@pytest.fixture
def served() -> ServedBallot:
    """The branch's ballot, open."""
    return ServedBallot(parse_toml(BRANCH.definition_open_at(1_750_000_000_000_000)))


def enter(served: ServedBallot) -> voter.Booth:
    """The booth, with the right key pinned."""
    return voter.enter(served, BRANCH.ballot, served.desk.public, patience=PATIENCE)


def session(served: ServedBallot, first: Code, reissued: Code | None = None) -> Session:
    """A session in which the one voter holds these codes."""

    def at_once(one: Casting, other: Casting) -> Sequence[tuple[Receipt, int]]:
        return [one(), other()]

    def hang_up(path: str, body: bytes) -> None:
        served.send("POST", path, body)

    return Session(
        door=served,
        booth=enter(served),
        codes=Codes(first={"M1": first.text()}, reissued={"M1": reissued.text()} if reissued else {}),
        patience=PATIENCE,
        random_bytes=os.urandom,
        at_once=at_once,
        hang_up=hang_up,
        counts=Counter(),
    )


def visit(session: Session, who: Voter) -> tuple[Visit | None, list[tuple[Receipt, CastVote]]]:
    """The voter's first visit: what follows, and the receipts kept."""
    kept: list[tuple[Receipt, CastVote]] = []
    return session.visit(Visit(who), kept=lambda receipt, vote: kept.append((receipt, vote))), kept


@pytest.mark.parametrize(
    "who",
    [
        PLAIN,
        replace(PLAIN, double_click=True),
        replace(PLAIN, lost=Lost.DROPPED),
        replace(PLAIN, lost=Lost.UNREAD),
        replace(PLAIN, mistyped=True),
        replace(PLAIN, foreign_code=True),
    ],
)
def test_every_habit_ends_in_one_vote_and_its_receipt(served: ServedBallot, who: Voter) -> None:
    """However clumsy the voter, one vote is in and one receipt is kept."""
    one = session(served, served.code())
    again, ((receipt, vote),) = visit(one, who)
    assert again is None
    assert len(served.voted) == one.counts["accepted"] == 1
    assert receipt.sealed_sha256 == vote.sealed_sha256


def test_a_reissued_code_votes_and_the_old_one_must_not(served: ServedBallot) -> None:
    """Who lost the code votes with the new one; an old one that still worked would be reported."""
    old, new = served.code(), served.code()
    with pytest.raises(Unexpected, match="revoked code"):
        visit(session(served, old, new), replace(PLAIN, reissue=True))
    served.revoke(old)
    one = session(served, old, new)
    visit(one, replace(PLAIN, reissue=True))
    assert one.counts["revoked code, refused"] == 1


def test_coming_back_gets_the_same_reference_or_a_refusal(served: ServedBallot) -> None:
    """The same vote again is repeated; another choice with a used code is refused."""
    for afterwards, counted in (
        (Afterwards.SAME_AGAIN, "same again later"),
        (Afterwards.OTHER_CHOICE, "used code, refused"),
    ):
        one = session(served, served.code())
        again, _ = visit(one, replace(PLAIN, afterwards=afterwards))
        assert again is not None
        one.visit(again, kept=lambda *_: pytest.fail("a second receipt was kept"))
        assert one.counts[counted] == 1


def test_a_retry_sends_the_identical_request(served: ServedBallot) -> None:
    """Lost answers, 503 and 429 are met with the very same bytes until the vote is confirmed."""
    booth, code = enter(served), served.code()
    served.bad_answers = [Answer(0), Answer(503, retry_after_seconds=1), Answer(429)]
    _, again = voter.cast(served, booth, voter.seal(booth, code, YES), patience=PATIENCE)
    assert again == 3
    assert len(set(served.bodies)) == 1


def test_patience_ends(served: ServedBallot) -> None:
    """A server that never settles it is told from a refusal, and the loop is bounded."""
    booth, code = enter(served), served.code()
    served.bad_answers = [Answer(503)] * 10
    with pytest.raises(Unconfirmed, match="cannot count twice"):
        voter.cast(served, booth, voter.seal(booth, code, YES), patience=PATIENCE)
    assert len(served.bad_answers) == 6


def test_waiting_grows_is_spread_and_bounded() -> None:
    """At least what the server asks, never over the bound, spread by half either way."""
    slept: list[float] = []
    patience = Patience(sleep=slept.append, spread=lambda: 1.0)
    patience.pause(1, Answer(503))
    patience.pause(1, Answer(503, retry_after_seconds=2))
    patience.pause(1, Answer(503, retry_after_seconds=600))
    assert slept == [0.375, 3.0, 7.5]


def test_a_document_of_another_desk_is_not_voted_on(served: ServedBallot) -> None:
    """The signature is checked against the pinned key, whatever the server publishes."""
    other = SigningKey.from_seed(os.urandom(32))
    with pytest.raises(Untrue, match="not signed by the desk's key"):
        voter.enter(served, BRANCH.ballot, other.public, patience=PATIENCE)


def test_another_ballot_than_asked_for_is_not_voted_on(served: ServedBallot) -> None:
    """A genuine document of another ballot does not pass for this one."""
    with pytest.raises(Untrue, match="another ballot"):
        voter.enter(served, "other-ballot", served.desk.public, patience=PATIENCE)


def test_a_refusal_is_in_the_servers_words(served: ServedBallot) -> None:
    """A code that is not good here is refused in one sentence."""
    booth = enter(served)
    with pytest.raises(Refused, match=r"^This code is not accepted here\.$") as raised:
        voter.cast(served, booth, voter.seal(booth, Code.draw(os.urandom), YES), patience=PATIENCE)
    assert raised.value.error == "not_accepted"


@pytest.mark.parametrize("field", ["reference", "sealed_sha256", "accepted_at"])
def test_an_altered_receipt_is_not_believed(served: ServedBallot, field: str) -> None:
    """Any changed field breaks the receipt's signature."""
    booth, code = enter(served), served.code()
    vote = voter.seal(booth, code, YES)
    answer = served.send("POST", f"{booth.path}/votes", vote.to_json())
    altered: dict[str, Any] = json.loads(answer.body)
    altered[field] = {
        "reference": "0000-0000-0000-0000",
        "sealed_sha256": "0" * 64,
        "accepted_at": "2025-01-01T00:00:00.000000Z",
    }[field]
    with pytest.raises(Untrue):
        voter.receipt_of(Answer(201, json.dumps(altered).encode()), vote, booth)


def test_another_voters_receipt_is_not_taken(served: ServedBallot) -> None:
    """A genuine receipt for another vote is no receipt for this one."""
    booth = enter(served)
    mine, other = (voter.seal(booth, served.code(), YES) for _ in range(2))
    answer = served.send("POST", f"{booth.path}/votes", other.to_json())
    with pytest.raises(Untrue, match="not for the vote"):
        voter.receipt_of(answer, mine, booth)


@pytest.mark.parametrize("marks", [(), ("yes", "no"), ("maybe",)])
def test_spoilt_papers_reach_the_count_as_spoilt(served: ServedBallot, marks: tuple[str, ...]) -> None:
    """Each way to spoil a question opens, is in form, and is spoilt for that question only."""
    paper = Paper(answers=(("strike", marks), ("asos", ("no",))), legal=not marks)
    booth = enter(served)
    vote = voter.seal(booth, served.code(), paper)
    definition = booth.document.definition
    info = sealing.hpke_info(definition.id, definition.sha256, sealing.bind(vote.nonce, vote.credential))
    opened = served.keys.opening.key().open(vote.sealed, info=info)
    answers = read_answers(opened, questions=definition.questions, padded_size=booth.document.padded_size)
    judged = {question.id: choices(question, answers[question.id]) for question in definition.questions}
    assert judged == {"strike": None, "asos": ("no",)}


def test_a_mistyped_code_is_never_the_code() -> None:
    """The slip is in one symbol, and the check symbol shows it."""
    text = Code.draw(os.urandom).text()
    assert sum(a != b for a, b in zip(text, mistyped(text), strict=True)) == 1
    with pytest.raises(ValueError, match="slip"):
        Code.parse(mistyped(text))


def test_nothing_but_the_credential_leaves_the_device(served: ServedBallot) -> None:
    """No request holds the code, and what is sent as credential is the public half."""
    code = served.code()
    one = session(served, code)
    visit(one, PLAIN)
    symbols = code.text().replace("-", "")
    assert all(symbols.encode() not in body.replace(b"-", b"") for body in served.bodies)
    assert b64decode(json.loads(served.bodies[-1])["credential"]) == code.credential(BRANCH.ballot)


def test_a_request_that_came_too_slowly_goes_again(served: ServedBallot) -> None:
    """A 400 that may be tried again settles nothing, as on the page; any other one is final."""
    booth, code = enter(served), served.code()
    late = b'{"error":"malformed","message":"The request did not arrive in time; try again.","retry":true}'
    served.bad_answers = [Answer(400, late)]
    _, again = voter.cast(served, booth, voter.seal(booth, code, YES), patience=PATIENCE)
    assert again == 1
    served.bad_answers = [Answer(400, b'{"error":"malformed","retry":false}')]
    with pytest.raises(Refused):
        voter.cast(served, booth, voter.seal(booth, served.code(), YES), patience=PATIENCE)
