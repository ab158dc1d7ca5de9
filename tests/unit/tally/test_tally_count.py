"""The count is exact, whatever voters send, and refuses to exist if anything about it is not right."""

import errno
import json
import os
import random
import secrets
import threading
from pathlib import Path

import click
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import document, sealing
from ballot.code import Code
from ballot.definition import Definition, parse_toml
from ballot.sealing import pad
from ballot.suite import SigningKey
from tally.answers import MalformedAnswers, choices, read_answers
from tally.command import tally
from tally.count import Count, SealedVote, open_and_count
from tally.custody import derive
from tally.sealed_export import open_export
from tally.verify import verify
from tests.unit.tally.conftest import Invoke
from tests.unit.tally.sealed_ballot import SealedBallot, toml

DEFINITION: Definition = parse_toml(toml("tube-2025"))
STRIKE, SEATS = DEFINITION.questions


def run(invoke: Invoke, ballot: SealedBallot, export: Path, out: Path, *more: str | Path) -> str:
    """Tally with two shares; return what it printed, and the one error line if it failed."""
    result = invoke(
        tally, ballot.definition.id, "--share", ballot.shares[0], "--share", ballot.shares[2],
        "--from", export, "--out", out, *more,
    )  # fmt: skip
    assert (result.exit_code == 0) == out.exists()
    return result.output


def test_two_thousand_votes_of_every_kind(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """Valid, blank, spoilt, malformed, foreign and copied votes are each counted as what they are."""
    seeded = random.Random(2025)
    expected = {"yes": 0, "no": 0, "a": 0, "b": 0, "c": 0}
    for _ in range(1_900):
        strike, seats = seeded.choice(["yes", "no"]), seeded.sample(["a", "b", "c"], seeded.choice([1, 2]))
        sealed.cast({"strike": [strike], "seats": seats})
        for option in [strike, *seats]:
            expected[option] += 1
    for _ in range(40):
        sealed.cast({})
    for answers in [["yes", "no"], ["yes", "yes"], ["maybe"]] * 10:
        sealed.cast({"strike": answers, "seats": ["a"]})
    for _ in range(10):
        sealed.cast_plaintext(b"no vote at all")
    bind, _ = sealed.votes[0]
    _, copied = sealed.votes[1]
    sealed.votes += [(secrets.token_bytes(32), copied), (bind, copied)] * 5
    sealed.votes += [(secrets.token_bytes(32), secrets.token_bytes(len(copied))) for _ in range(10)]
    seeded.shuffle(sealed.votes)
    export, out = sealed.export(tmp_path / "export"), tmp_path / "result.json"

    printed = run(invoke, sealed, export, out)

    result = json.loads(out.read_bytes())
    strike, seats = result["questions"]
    assert strike["counts"] == {"yes": expected["yes"], "no": expected["no"]}
    assert strike["spoilt"] == 40 + 30
    assert seats["counts"] == {"a": expected["a"] + 30, "b": expected["b"], "c": expected["c"]}
    assert seats["spoilt"] == 40
    assert result["votes_cast"] == 1_970
    assert result["turnout"] == 1_970 / 2_010
    assert result["set_aside"] == {"does_not_open": 20, "malformed_answers": 10}
    assert result["by_method"] == {"electronic": 1_970, "postal": 0, "workplace": 0}
    assert result["books"]["opened"] + result["books"]["set_aside"] == result["books"]["stored"] == 2_000
    assert "does_not_open" in printed
    assert invoke(verify, out).exit_code == 0


def test_same_export_gives_the_same_bytes(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """Counting again, by other key holders and in other processes, changes only time and signature."""
    for number in range(600):
        sealed.cast({"strike": ["yes" if number % 3 else "no"], "seats": ["c", "a"]})
    export = sealed.export(tmp_path / "export")
    first, again = tmp_path / "first.json", tmp_path / "again.json"

    run(invoke, sealed, export, first, "--processes", "1")
    invoke(
        tally, "tube-2025", "--share", sealed.shares[1], "--share", sealed.shares[2],
        "--share", sealed.shares[0],
        "--from", export, "--out", again, "--processes", "2",
    )  # fmt: skip

    def kept(path: Path) -> bytes:
        value = orjson.loads(path.read_bytes())
        return orjson.dumps({k: v for k, v in value.items() if k not in {"generated_at", "signature"}})

    assert kept(first) == kept(again)


def test_only_bytes_that_were_hashed_are_opened(sealed: SealedBallot, tmp_path: Path) -> None:
    """Another process reads the votes again, and opens none of them if a byte has changed meanwhile."""
    for _ in range(3):
        sealed.cast({"strike": ["yes"], "seats": ["a"]})
    export = sealed.export(tmp_path / "export")
    with open_export(export, desk=sealed.desk.public) as opened:
        first, second = opened.chunks(2)
    assert [vote.line for chunk in (first, second) for vote in chunk.to_send().votes()] == [2, 3, 4]

    content = bytearray(export.read_bytes())
    content[-30] ^= 1
    export.write_bytes(content)

    assert len(first.to_send().votes()) == 2
    with pytest.raises(click.ClickException, match="changed while its votes were counted"):
        second.to_send().votes()


def test_an_export_that_can_be_read_only_once(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """One that comes through a pipe is counted as well, in other processes too."""
    for _ in range(300):
        sealed.cast({"strike": ["yes"], "seats": ["a"]})
    export = sealed.export(tmp_path / "export")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(export.read_bytes()))
    writer.start()

    out = tmp_path / "result.json"
    run(invoke, sealed, pipe, out, "--processes", "1")

    writer.join()
    assert json.loads(out.read_bytes())["votes_cast"] == 300


def test_no_votes_at_all(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """A ballot in which nobody voted has a result too."""
    out = tmp_path / "result.json"

    run(invoke, sealed, sealed.export(tmp_path / "export"), out)

    assert json.loads(out.read_bytes())["votes_cast"] == 0
    assert invoke(verify, out).exit_code == 0


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":1}',
        b'{"v":2,"answers":{"strike":[],"seats":[]}}',
        b'{"v":true,"answers":{"strike":[],"seats":[]}}',
        b'{"v":1.0,"answers":{"strike":[],"seats":[]}}',
        b'{"v":1,"answers":{"strike":[]}}',
        b'{"v":1,"answers":{"strike":[],"seats":[],"x":[]}}',
        b'{"v":1,"answers":{"strike":[],"seats":[]},"x":1}',
        b'{"v":1,"answers":{"strike":"yes","seats":[]}}',
        b'{"v":1,"answers":{"strike":[1],"seats":[]}}',
        b'{"v":1,"answers":{"strike":[["yes"]],"seats":[]}}',
        b'{"v":1,"answers":[]}',
        b'{"v": 1,"answers":{"strike":[],"seats":[]}}',
        b'{"v":1,"answers":{"strike":[],"seats":[]}}\n',
        b'{"v":1,"answers":{"strike":["yes"],"strike":["no"],"seats":[]}}',
        b'{"v":1,"answers":{"strike":["\\u0079es"],"seats":[]}}',
        b'{"v":1,"answers":{"strike":["\xff"],"seats":[]}}',
        b'{"v":1,"answers":{"strike":[],"seats":[]}}\0x',
        b"[" * 64,
        b'{"v":1,"answers":' + b"[" * 46,
    ],
)
def test_not_in_the_form_of_a_vote(plaintext: bytes) -> None:
    """A plaintext in any other form than a vote's own is malformed, never a crash and never a count."""
    with pytest.raises(MalformedAnswers):
        read_answers(
            pad(plaintext, DEFINITION.padded_size),
            questions=DEFINITION.questions,
            padded_size=DEFINITION.padded_size,
        )


def test_nesting_beyond_what_the_encoder_takes() -> None:
    """Brackets to the end of the longest plaintext are malformed; they do not stop the count."""
    with pytest.raises(MalformedAnswers):
        read_answers(b"[" * 500 + b"]" * 500, questions=DEFINITION.questions, padded_size=1000)


def test_wrong_length_is_malformed() -> None:
    """Length would be a mark on a vote, so a plaintext of another length is not a vote."""
    with pytest.raises(MalformedAnswers):
        read_answers(
            b'{"v":1,"answers":{"strike":[],"seats":[]}}', questions=DEFINITION.questions, padded_size=128
        )


@pytest.mark.parametrize(
    ("question", "answer", "verdict"),
    [
        (STRIKE, ["yes"], ("yes",)),
        (STRIKE, [], None),
        (STRIKE, ["yes", "no"], None),
        (STRIKE, ["yes", "yes"], None),
        (STRIKE, ["a"], None),
        (SEATS, ["b", "a"], ("b", "a")),
        (SEATS, ["a"], ("a",)),
        (SEATS, ["a", "b", "c"], None),
        (SEATS, ["a", "a"], None),
        (SEATS, ["a", "yes"], None),
        (SEATS, [], None),
    ],
)
def test_answers_are_judged(question: object, answer: list[str], verdict: tuple[str, ...] | None) -> None:
    """One known option for a single choice, one to `max` different ones for several; else spoilt."""
    assert choices(question, answer) == verdict  # type: ignore[arg-type]  # from the table


KEYS = derive(secrets.token_bytes(32), ballot="tube-2025")
ANSWER = st.lists(st.sampled_from(["yes", "no", "a", "b", "c", "ü", ""]), max_size=3)
VOTE = st.tuples(ANSWER, ANSWER).filter(lambda vote: len(plaintext_of(*vote)) <= DEFINITION.padded_size)


def plaintext_of(strike: list[str], seats: list[str]) -> bytes:
    """Return a vote's plaintext, before padding."""
    return orjson.dumps({"v": 1, "answers": {"strike": strike, "seats": seats}})


@settings(max_examples=40, deadline=None)
@given(votes=st.lists(VOTE, max_size=8), cut=st.integers(0, 8))
def test_counts_equal_an_independent_count(votes: list[tuple[list[str], list[str]]], cut: int) -> None:
    """For any answers, split anywhere into parts, the count is the one written down here in other words."""
    page = document.build(DEFINITION, public_key=KEYS.public_key, result_key=KEYS.result_key)
    sealed_votes = []
    for line, (strike, seats) in enumerate(votes):
        voter = Code.draw(os.urandom).signing_key("tube-2025")
        plaintext = plaintext_of(strike, seats)
        vote = sealing.seal_plaintext(page, voter, plaintext, random=os.urandom)
        sealed_votes.append(SealedVote(line, sealing.bind(vote.nonce, vote.credential), vote.sealed))

    total = Count.empty(DEFINITION)
    for part in (sealed_votes[:cut], sealed_votes[cut:]):
        total.merge(open_and_count(part, definition=DEFINITION, key=KEYS.opening.key()))

    good_strike = [s for s, _ in votes if s in (["yes"], ["no"])]
    good_seats = [s for _, s in votes if len(s) in (1, 2) and len({*s}) == len(s) and {*s} <= {"a", "b", "c"}]
    assert total.opened == len(votes)
    assert total.questions[0].counts == {o: good_strike.count([o]) for o in ("yes", "no")}
    assert total.questions[1].counts == {o: sum(o in s for s in good_seats) for o in "abc"}
    assert [q.spoilt for q in total.questions] == [
        len(votes) - len(good_strike),
        len(votes) - len(good_seats),
    ]


def refused(invoke: Invoke, *arguments: str | Path, out: Path) -> str:
    """Return the line with which `tally` refuses, having written nothing."""
    result = invoke(tally, *arguments, "--out", out)
    assert result.exit_code == 1
    assert not out.exists()
    return result.output.removeprefix("Error: ").strip()


def test_user_mistakes_are_one_line_each(
    sealed: SealedBallot, invoke: Invoke, tmp_path: Path, home: Path
) -> None:
    """Wrong shares, exports, keys and output files: nothing is written and the line says what to do."""
    sealed.cast({"strike": ["yes"], "seats": ["a"]})
    export, out = sealed.export(tmp_path / "export"), tmp_path / "result.json"
    other = SealedBallot.make(tmp_path / "other", desk=sealed.desk)
    two: list[str | Path] = ["--share", sealed.shares[0], "--share", sealed.shares[1]]
    foreign: list[str | Path] = ["--share", other.shares[0], "--share", other.shares[1]]

    def said(*arguments: str | Path) -> str:
        return refused(invoke, *arguments, out=out)

    assert "opens with 2 shares and 1 was given" in said("tube-2025", *two[:2], "--from", export)
    assert "shares of another key than the one tube-2025" in said("tube-2025", *foreign, "--from", export)
    assert "says it is a share of ballot tube-2025, not of bus" in said("bus", *two, "--from", export)
    assert "cannot be read" in said("tube-2025", *two, "--from", tmp_path / "none")
    assert "is not an export" in said("tube-2025", *two, "--from", sealed.shares[0])
    by_other = sealed.export(tmp_path / "by-other", by=SigningKey.from_seed(bytes(32)))
    assert "not signed by the desk key" in said("tube-2025", *two, "--from", by_other)
    bus = SealedBallot.make(tmp_path / "bus", ballot="bus", desk=sealed.desk).export(tmp_path / "bus-export")
    assert "the export is of ballot bus, not of tube-2025" in said("tube-2025", *two, "--from", bus)
    (home / "public" / "desk.json").unlink()
    assert "no pinned desk key" in said("tube-2025", *two, "--from", export)
    out.write_text("mine")
    assert "exists already" in invoke(tally, "tube-2025", *two, "--from", export, "--out", out).output
    assert out.read_text() == "mine"


def test_altered_exports_are_refused(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """A vote dropped, added, doubled or swapped after the desk signed leaves no result."""
    for _ in range(3):
        sealed.cast({"strike": ["yes"], "seats": ["a"]})
    manifest, one, two, three = sealed.export(tmp_path / "export").read_bytes().splitlines(keepends=True)
    out = tmp_path / "result.json"
    altered = tmp_path / "altered"

    def said(*lines: bytes) -> str:
        altered.write_bytes(b"".join(lines))
        shares: list[str | Path] = ["--share", sealed.shares[0], "--share", sealed.shares[1]]
        return refused(invoke, "tube-2025", *shares, "--from", altered, out=out)

    assert "fewer votes than the 3" in said(manifest, one, two)
    assert "more votes than the 3" in said(manifest, one, two, three, one)
    assert "not the ones that the desk signed" in said(manifest, one, one, three)
    assert "not the ones that the desk signed" in said(manifest, two, one, three)
    assert "line 4" in said(manifest, one, two, three[:-10])
    assert "line 3" in said(manifest, one, b"x" * len(two), three)
    assert "not signed by the desk" in said(manifest.replace(b'"votes":3', b'"votes":2'), one, two, three)


def test_books_that_differ_block_the_result(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """A difference of one between what was stored and what was opened is named, and there is no result."""
    sealed.cast({"strike": ["yes"], "seats": ["a"]})

    def one_more_stored(manifest: dict[str, object]) -> None:
        books = manifest["books"]
        assert isinstance(books, dict)
        manifest["books"] = {**books, "stored": 2, "accepted": 2, "voted_electronic": 2}

    export = sealed.export(tmp_path / "export", change=one_more_stored)
    shares: list[str | Path] = ["--share", sealed.shares[0], "--share", sealed.shares[1]]

    said = refused(invoke, "tube-2025", *shares, "--from", export, out=tmp_path / "result.json")

    assert said.splitlines()[1] == "stored (2) is not opened + set aside (1): a difference of 1"


def test_ranked_questions_are_refused(tmp_path: Path, home: Path, invoke: Invoke) -> None:
    """A ranked question is not counted by a rule that does not exist yet."""
    ranked = """
[[question]]
id = "president"
text = "In order"
form = "ranked"
options = [{id = "a", text = "A"}, {id = "b", text = "B"}]
"""
    ballot = SealedBallot.make(tmp_path / "shares", questions=ranked)
    ballot.publish(home)
    shares: list[str | Path] = ["--share", ballot.shares[0], "--share", ballot.shares[1]]
    export = ballot.export(tmp_path / "export")

    said = refused(invoke, "tube-2025", *shares, "--from", export, out=tmp_path / "result.json")

    assert said == "question president is ranked, and ranked counting is not yet built"


PAPERS = """question,option,count
strike,yes,3
strike,no,1
strike,spoilt,1
seats,a,4
seats,b,2
seats,c,0
seats,spoilt,0
"""


def with_papers(
    sealed: SealedBallot, invoke: Invoke, directory: Path, content: str | None
) -> tuple[str, Path]:
    """Tally one electronic vote and five papers counted as in `content`."""
    sealed.votes.clear()
    sealed.cast({"strike": ["yes"], "seats": ["a"]})
    export, out, papers = (
        sealed.export(directory / "export", postal=3, workplace=2),
        directory / "r",
        directory / "p",
    )
    out.unlink(missing_ok=True)
    more: list[str | Path] = []
    if content is not None:
        papers.write_text(content)
        more = ["--papers", papers]
    return run(invoke, sealed, export, out, *more), out


def test_papers_are_added(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """The hand count joins the electronic one, per question and in the books."""
    _, out = with_papers(sealed, invoke, tmp_path, PAPERS)

    result = json.loads(out.read_bytes())
    assert result["votes_cast"] == 6
    assert result["by_method"] == {"electronic": 1, "postal": 3, "workplace": 2}
    assert [q["counts"] for q in result["questions"]] == [{"yes": 4, "no": 1}, {"a": 5, "b": 2, "c": 0}]
    assert [q["spoilt"] for q in result["questions"]] == [1, 0]
    assert invoke(verify, out).exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("strike,yes,3", "strike,yes,-3", "line 2: '-3' is not a count"),
        ("strike,yes,3", "strike,yes,3.0", "line 2: '3.0' is not a count"),
        ("strike,yes,3", "strike,yes,²", "line 2: '²' is not a count"),
        ("strike,yes,3", "strike,maybe,3", "line 2: 'maybe' is not an option of question 'strike'"),
        ("strike,yes,3", "strikes,yes,3", "line 2: 'strikes' is not a question"),
        ("strike,no,1", "strike,yes,1", "line 3: strike,yes is there twice"),
        ("strike,no,1", "strike,no", "line 3: there must be 3 fields, and there are 2"),
        ("question,", "Question,", "line 1: the header must be question,option,count"),
        ("strike,yes,3", "strike,yes,4", "question strike: 6 papers are counted and 5 were returned"),
        ("strike,no,1\n", "", "question strike: 4 papers are counted and 5 were returned"),
        ("seats,c,0\n", "", "there is no row for seats,c"),
        ("seats,a,4", "seats,a,6", "question seats: 8 choices and 0 spoilt cannot come from 5 papers"),
        ("seats,spoilt,0", "seats,spoilt,6", "question seats:"),
        (PAPERS, "", "line 1: the header"),
    ],
)
def test_faults_in_papers(
    sealed: SealedBallot, invoke: Invoke, tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Each fault in the hand count names its line or its question, and there is no result."""
    printed, _ = with_papers(sealed, invoke, tmp_path, PAPERS.replace(old, new))

    assert said in printed


def test_all_faults_in_papers_at_once(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """Every faulty line is listed in one go."""
    printed, _ = with_papers(
        sealed, invoke, tmp_path, PAPERS.replace("yes,3", "yes,x").replace("no,1", "nope,1")
    )

    assert "line 2: " in printed
    assert "line 3: " in printed


def test_papers_must_be_given_if_any_came_back(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> None:
    """Five papers came back: a count without them is not the result."""
    printed, _ = with_papers(sealed, invoke, tmp_path, None)

    assert "papers came back by post or at the workplace (5): give their count with --papers" in printed


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="writes to /proc")
def test_a_directory_that_takes_no_files_is_one_sentence(
    sealed: SealedBallot, invoke: Invoke, tmp_path: Path
) -> None:
    """Said before any share is read, and before the desk is asked for an export."""
    sealed.cast({"strike": ["yes"]})
    missing = tmp_path / "no-export"

    told = run(invoke, sealed, missing, Path("/proc/result.json"))

    assert told.startswith("Error: /proc/result.json cannot be written: ")
    assert told.count("\n") == 1


def test_a_full_disk_leaves_no_half_result(
    sealed: SealedBallot, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be put on disk is one sentence, and neither the result nor a part of it stays."""
    sealed.cast({"strike": ["yes"]})
    export, out = sealed.export(tmp_path / "export"), tmp_path / "out" / "result.json"
    out.parent.mkdir()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tally.command.os.fsync", full)
    told = run(invoke, sealed, export, out)

    assert told == f"Error: {out} cannot be written: No space left on device\n"
    assert not list(out.parent.iterdir())
