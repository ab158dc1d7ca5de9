"""After an open-loop run: an honest one adds up to the published figures; what is not right is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ballot.receipt import Receipt
from loadtests.crowds import casts, openresult, unconfirmed
from loadtests.crowds.reckoning import NOT_OPEN, Part
from loadtests.crowds.timetable import CASTS, Kind
from loadtests.lifetime.aftermath import moved
from loadtests.voting.voter import Answer
from tests.unit.loadtests.open_ground import START_US, Ground, InThisProcess, Tampering, as_it_is, ground


@pytest.fixture
def reckon(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ground], dict[str, Any]]:
    """Sum a run up, each part in this very process."""
    monkeypatch.setattr(openresult, "ProcessPoolExecutor", InThisProcess)
    return lambda played: openresult.make(played.booking.ahead, played.booking.out)


def first_cast(change: Callable[[Answer], Answer]) -> Tampering:
    """The server answers the first plain vote otherwise."""
    done: list[Kind] = []

    def tamper(kind: Kind, answer: Answer) -> Answer:
        if kind is not Kind.CAST or answer.status != 201 or done:
            return answer
        done.append(kind)
        return change(answer)

    return tamper


def with_field(name: str, value: object) -> Callable[[Answer], Answer]:
    """The receipt with another value."""
    return lambda answer: replace(answer, body=json.dumps({**dict(answer.fields()), name: value}).encode())


@pytest.mark.parametrize("generators", [1, 2])
def test_an_honest_run_adds_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    generators: int,
) -> None:
    """Every voter has one receipt, every habit its one right outcome, the papers are the published ones."""
    played = ground(tmp_path, monkeypatch, generators=generators)
    played.play()

    told = reckon(played)

    voters, scenario = played.plan.voters, played.booking.electorates[0].scenario
    twice = sum(voter.two_devices for voter in voters)
    assert told["unexpected"] == []
    assert told["voted"] == told["voters"] == len(voters)
    assert not told["void"]
    assert told["counts"]["mistyped, caught"] == sum(voter.mistyped for voter in voters)
    assert told["counts"]["second device, refused"] == twice
    assert told["counts"]["late, refused"] == len(played.plan.late)
    assert told["counts"]["at close, accepted"] == len(played.plan.at_close)
    assert told["gave_up"] == 0
    papers = told["papers"]["receipted"][scenario.ballot]
    for question, published in scenario.published.items():
        assert papers[question] == {option: votes for option, votes in published.items() if votes}
    assert sum(told["papers"]["beyond"][scenario.ballot]["strike"].values()) == len(played.plan.at_close)
    receipts = [
        Receipt.from_dict(json.loads(line)) for line in (tmp_path / "receipts.jsonl").open(encoding="utf-8")
    ]
    assert len({receipt.reference for receipt in receipts}) == len(voters) + len(played.plan.at_close)
    sealed = [json.loads(line) for line in (tmp_path / "sealed.jsonl").open(encoding="utf-8")]
    assert [line["sealed_sha256"] for line in sealed] == [each.sealed_sha256.hex() for each in receipts]
    assert {line["member_id"] for line in sealed} > {voter.member_id for voter in voters}
    seconds = [json.loads(line) for line in (tmp_path / "seconds.jsonl").open(encoding="utf-8")]
    assert sum(line["sent"] for line in seconds) == told["sent"]
    votes = casts.load(tmp_path / casts.FILE)
    assert votes is not None
    lost = int(np.isnan(votes["waited_s"]).sum())
    assert sum(sum(line["latency"].values()) for line in seconds) == len(votes) - lost
    assert sum(line["never"] for line in seconds) == told["latency_ms"]["never"] == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (with_field("sealed_sha256", "0" * 64), "does not hold: SignatureInvalid"),
        (with_field("reference", "0000-0000-0000-0000"), "does not hold: SignatureInvalid"),
        (with_field("key_id", "0" * 16), "does not hold: KeyError"),
        (lambda answer: replace(answer, body=b"{}"), "does not hold: Malformed"),
        (lambda answer: replace(answer, body=b"what\nnow"), "does not hold: JSONDecodeError"),
        (lambda _: Answer(400, b"{}"), "cast: answered 400"),
        (lambda _: Answer(403, b"{}"), "cast: answered 403"),
        (lambda _: Answer(409, b"{}"), "cast: answered 409"),
    ],
    ids=["digest", "reference", "key", "empty", "two lines", "400", "403", "409"],
)
def test_a_wrong_answer_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    change: Callable[[Answer], Answer],
    what: str,
) -> None:
    """The voter and what was wrong; nobody else is blamed, and their vote is not counted on."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(first_cast(change))

    told = reckon(played)

    assert told["unexpected_count"] == 1
    assert what in told["unexpected"][0]
    assert told["voted"] == len(played.plan.voters) - 1
    assert told["gave_up"] == 1
    (papers,) = told["papers"]["unconfirmed"].values()
    assert sum(papers["strike"].values()) == 1


@pytest.mark.parametrize("kind", [Kind.CLICK, Kind.AGAIN, Kind.ACCESS], ids=lambda kind: kind.name.lower())
def test_a_repeat_that_is_refused_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]], kind: Kind
) -> None:
    """The same vote again must get its receipt again, and the page is good before the vote: 403 is wrong."""
    refused: list[Kind] = []

    def refuse(came: Kind, answer: Answer) -> Answer:
        if came is not kind or answer.status != 200:
            return answer
        refused.append(came)
        return Answer(403, b"{}")

    monkeypatch.setattr("tests.unit.loadtests.served.ACCEPTED_US", START_US + 1_999_999)
    played = ground(tmp_path, monkeypatch)
    played.play(refuse)

    told = reckon(played)

    assert told["unexpected_count"] == len(refused) > 0
    assert all(f"{kind.name.lower()}: answered 403" in sentence for sentence in told["unexpected"])


def test_another_votes_receipt_is_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """A receipt that is signed, but for somebody else's vote, is told as one reference for two."""
    before: list[Answer] = []

    def the_one_before(kind: Kind, answer: Answer) -> Answer:
        before.append(answer)
        return before[0] if kind is Kind.CAST and len(before) == 5 else answer

    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(the_one_before)

    told = reckon(played)

    assert any("another vote than the one that was sent" in sentence for sentence in told["unexpected"])
    assert any("2 voters hold reference" in sentence for sentence in told["unexpected"])


def test_no_answer_leaves_a_vote_unconfirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """It is nothing unexpected, but it is listed, and so is every answer that settled nothing."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(first_cast(lambda _: Answer(503)))

    told = reckon(played)

    assert told["unexpected"] == []
    assert told["gave_up"] == len(told["first_gave_up"]) == 1
    (line,) = (tmp_path / "unsettled.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["status"] == 503


def test_either_vote_of_two_devices_may_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """Where neither was answered, the other choice is as likely as the first."""
    played = ground(tmp_path, monkeypatch)
    played.play(lambda kind, answer: Answer(0) if kind in CASTS else answer)

    told = reckon(played)

    (papers,) = told["papers"]["unconfirmed"].values()
    twice = sum(voter.two_devices for voter in played.plan.voters)
    people = len(played.plan.voters) + len(played.plan.at_close)
    assert told["gave_up"] == people
    assert people < sum(papers["strike"].values()) <= people + twice


@pytest.mark.parametrize(
    ("cast", "device", "right"),
    [(0, 403, True), (503, 403, True), (403, 0, True), (403, 503, True), (403, 403, False)],
)
def test_who_is_refused_for_their_other_device_may_hold_no_receipt(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    cast: int,
    device: int,
    right: bool,
) -> None:
    """The vote that was taken may have got no answer: the other one is then refused, rightly."""
    played = ground(tmp_path, monkeypatch, habits=0.0, twice=0.2)
    twice = sum(voter.two_devices for voter in played.plan.voters)
    refused = {Kind.CAST: len(played.plan.voters), Kind.DEVICE: twice}
    statuses = {Kind.CAST: cast, Kind.DEVICE: device}

    played.play(lambda kind, answer: Answer(statuses[kind]) if kind in statuses else answer)
    told = reckon(played)

    found = sum(count for kind, count in refused.items() if statuses[kind] == 403)
    assert told["counts"].get("refused, another vote unconfirmed", 0) == (twice if right else 0)
    assert told["unexpected_count"] == found - (twice if right else 0)
    assert twice > 0


@pytest.mark.parametrize(("status", "may_count"), [(503, 1), (0, 1), (403, 0), (409, 0)])
def test_a_vote_that_was_refused_for_good_explains_none_in_the_books(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    status: int,
    may_count: int,
) -> None:
    """Only what may have been taken without anybody's knowing is told to the checker."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(first_cast(lambda _: Answer(status)))

    reckon(played)

    assert unconfirmed.write(tmp_path) == may_count


def test_a_used_code_that_is_accepted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """A second vote is the worst that can happen."""
    played = ground(tmp_path, monkeypatch)
    played.play(lambda kind, answer: Answer(201, b"{}") if kind is Kind.USED else answer)

    told = reckon(played)

    used = sum(voter.afterwards.value == "other choice" for voter in played.plan.voters)
    assert sum("used: answered 201" in sentence for sentence in told["unexpected"]) == used > 0


def test_what_is_accepted_after_the_close_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """By the receipt's own time, however the run went."""
    monkeypatch.setattr("tests.unit.loadtests.served.ACCEPTED_US", START_US + 2_000_000)
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play()

    told = reckon(played)

    assert "accepted 0 us after the close" in told["unexpected"][0]
    assert told["unexpected_count"] == len(played.plan.voters) + len(played.plan.at_close)


@pytest.mark.parametrize(
    ("late_s", "skip", "why"),
    [(0.2, 0, "requests were sent over 100 ms late"), (1.5, 0, "was sent 1,500 ms late"), (0.0, 3, "3 of ")],
    ids=["late", "very late", "never sent"],
)
def test_a_generator_that_fell_behind_voids_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    late_s: float,
    skip: int,
    why: str,
) -> None:
    """And says why."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(as_it_is, late_s=late_s, skip=skip)

    told = reckon(played)

    assert told["void"]
    assert told["client_was_bottleneck"]
    assert any(why in reason for reason in told["void_reasons"])


def test_late_because_every_user_waited_is_not_the_generators_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """A service that keeps all of them waiting is slow, and that does not make the run void."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(late_s=5.0, waited=True)

    told = reckon(played)

    assert not told["void"]
    assert not told["client_was_bottleneck"]
    assert told["waited"]["count"] == told["sent"]
    votes = casts.load(tmp_path / casts.FILE)
    assert votes is not None
    assert votes["late_s"].max() == 0
    assert votes["waited_s"].min() > 5


@pytest.mark.parametrize("there_s", [None, 1.0, -0.5])
def test_users_who_are_not_there_when_they_are_needed_void(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    there_s: float | None,
) -> None:
    """What was then sent was not what a full crowd would have sent, however long each waited."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(all_there_s=there_s)

    told = reckon(played)

    assert told["void"] is (there_s != -0.5)
    assert ["users" in reason for reason in told["void_reasons"]] == [True] * told["void"]


def test_what_failed_on_the_generators_side_voids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """The service never saw it, and is not to be blamed for giving no answer."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(own_failures={"EMFILE": 3, "ValueError": 1})

    told = reckon(played)

    assert told["void_reasons"] == ["4 requests failed on the generator's own side: EMFILE, ValueError."]


def test_what_is_sent_after_the_close_and_accepted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """By our own clock, whatever moment the server signs for it."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(late_s=0.02)  # aimed at 10 ms before the close

    told = reckon(played)

    late = [sentence for sentence in told["unexpected"] if "sent only after the close" in sentence]
    assert len(late) == told["unexpected_count"] == len(played.plan.at_close)


@pytest.mark.parametrize(
    ("body", "odd"),
    [(b'{"retry":true}', 0), (b'{"retry": true}', 0), (b'{"retry":false}', 1), (b"<html>", 1), (b"", 1)],
)
def test_a_refusal_that_does_not_say_it_is_safe_is_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    body: bytes,
    odd: int,
) -> None:
    """A voter who is not told so may think that a second try is a second vote."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    played.play(first_cast(lambda _: Answer(503, body)))

    told = reckon(played)

    assert (told["odd_count"], len(told["odd"])) == (odd, odd)


def test_every_vote_is_kept_with_its_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reckon: Callable[[Ground], dict[str, Any]]
) -> None:
    """In the order of the moments, whichever generator sent it; who was not answered waits for ever."""
    played = ground(tmp_path, monkeypatch, generators=2, habits=0.0)
    played.play(first_cast(lambda _: Answer(503)))

    told = reckon(played)

    votes = casts.load(tmp_path / casts.FILE)
    assert votes is not None
    assert (told["latency_ms"]["max"], told["latency_ms"]["never"]) == (None, 1)
    lines = [json.loads(line) for line in (tmp_path / "seconds.jsonl").open(encoding="utf-8")]
    assert sum(line["never"] for line in lines) == 1
    assert sum(sum(line["latency"].values()) for line in lines) == len(votes) - 1
    assert len(votes) == len(played.plan.voters)
    assert sorted(votes["at_s"].tolist()) == votes["at_s"].tolist()
    assert (votes["held"].sum(), int((votes["waited_s"] < 1).sum())) == (len(votes) - 1, len(votes) - 1)


def test_one_signature_covers_a_batch_and_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same root under the same signature needs no second look; another one does."""
    looked: list[bytes] = []
    played = ground(tmp_path, monkeypatch)
    played.play()
    monkeypatch.setattr(
        "loadtests.crowds.reckoning.verify_signature",
        lambda _public, _signature, message: looked.append(message),
    )

    found = Part(played.booking.ahead, tmp_path, 0, start_us=START_US).reckon()

    assert found.counts["repeated"] > 0
    assert len(looked) == len(set(looked)) == len(found.references)


@pytest.mark.parametrize("refused", [False, True])
def test_who_aims_at_the_first_close_must_be_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    *,
    refused: bool,
) -> None:
    """It has been put off by then: a refusal there is wrong, and right only at the last."""
    played = ground(tmp_path, monkeypatch, habits=0.0, at_first=2)
    refusing = {Kind.AT_CLOSE} | ({Kind.AT_FIRST} if refused else set())
    played.play(lambda kind, answer: Answer(409, b"{}") if kind in refusing else answer, late_s=0.02)

    told = reckon(played)

    assert told["counts"]["at close, refused"] == len(played.plan.at_close) - 2 == 1
    assert told["counts"].get("at the first close, accepted", 0) == (0 if refused else 2)
    assert told["unexpected_count"] == (2 if refused else 0)


@pytest.mark.parametrize(
    ("status", "late_s", "right"), [(409, 0.3, True), (409, 0.0, False), (201, 0.0, True)]
)
def test_who_comes_in_the_last_second_may_be_too_late(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    status: int,
    late_s: float,
    *,
    right: bool,
) -> None:
    """Told so once it has closed, they are left out by what they marked; told so before, that is wrong."""
    played = ground(tmp_path, monkeypatch, habits=0.0, last=3)
    refused = status == NOT_OPEN
    refusing = {Kind.LAST, *({Kind.AT_CLOSE} if late_s else ())} if refused else set()
    played.play(lambda kind, answer: Answer(NOT_OPEN, b"{}") if kind in refusing else answer, late_s=late_s)

    told = reckon(played)

    voters, ballot = len(played.plan.voters), played.booking.electorates[0].scenario.ballot
    assert told["unexpected_count"] == (0 if right else 3)
    assert told["voted"] == voters - (3 if refused else 0)
    if refused and right:
        assert told["gave_up"] == 0
        assert told["counts"]["in the last second, refused"] == 3
        assert {sum(marked.values()) for marked in told["papers"]["closed"][ballot].values()} == {3}
        assert not told["papers"]["unconfirmed"]
        fewer = moved(told["papers"], ballot)
        assert {sum(marked.values()) for marked in fewer.values()} == {-3}


@pytest.mark.parametrize("refused", [True, False])
def test_a_vote_after_ones_own_paper_must_be_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reckon: Callable[[Ground], dict[str, Any]],
    *,
    refused: bool,
) -> None:
    """The paper counts as published, the vote beside it says something else and must not be taken."""
    played = ground(tmp_path, monkeypatch, habits=0.0, both=0.2)
    played.play(lambda kind, answer: Answer(403, b"{}") if refused and kind is Kind.RETURNED else answer)

    told = reckon(played)

    scenario, posted = played.booking.electorates[0].scenario, played.plan.posted
    first = len(posted.first)
    assert first > 1
    assert told["unexpected_count"] == (0 if refused else first)
    assert told["counts"].get("paper first, refused", 0) == (first if refused else 0)
    assert told["gave_up"] == 0
    online = told["papers"]["receipted"][scenario.ballot]
    for question, published in scenario.published.items():
        for option, votes in published.items():
            assert online[question].get(option, 0) + posted.hand_count[question][option] == votes
