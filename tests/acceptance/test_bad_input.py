"""Bad input over HTTP and at the command line: one sentence, the right status or code, nothing half done."""

import http.client
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ballot import vote as votes
from ballot.code import Code
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from ballot.vote import CastVote
from loadtests.staging.stage import Stage
from loadtests.voting import voter
from tests.acceptance.small_ballot import SmallBallot, yes

YES, NO = yes("yes", "yes"), yes("no", "no")
JSON = "application/json"
BODY_BYTES_MAX = 64 * 1024


@pytest.fixture(scope="module")
def ballot(shared_stage: Stage) -> SmallBallot:
    """An open ballot."""
    opened = SmallBallot(shared_stage, "bad-input")
    opened.set_up()
    return opened


@pytest.fixture(scope="module")
def other(shared_stage: Stage) -> SmallBallot:
    """A second open ballot, to carry things over from."""
    opened = SmallBallot(shared_stage, "other-ballot")
    opened.set_up()
    return opened


def request(
    ballot: SmallBallot, body: bytes, *, kind: str = JSON, method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    """Status and fields of a raw request to the votes of `ballot`."""
    connection = http.client.HTTPConnection("127.0.0.1", ballot.stage.port, timeout=15)
    try:
        path = f"/api/v1/ballots/{ballot.ballot}/votes"
        connection.request(method, path, body, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def changed(vote: CastVote, **fields: Any) -> bytes:
    """The request of `vote` with some fields changed; None takes one out."""
    body = json.loads(vote.to_json()) | fields
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("spoil", "status", "error"),
    [
        (lambda _: b"", 400, "malformed"),
        (lambda _: b"not JSON", 400, "malformed"),
        (lambda _: b"[1, 2]", 400, "malformed"),
        (lambda _: b"\xff\xfe{}", 400, "malformed"),
        (lambda _: b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, "malformed"),
        (lambda vote: changed(vote, nonce=None), 400, "malformed"),
        (lambda vote: changed(vote, extra="1"), 400, "malformed"),
        (lambda vote: changed(vote, nonce=7), 400, "malformed"),
        (lambda vote: changed(vote, suite="rot13"), 400, "malformed"),
        (lambda vote: changed(vote, sealed=b64encode(vote.sealed) + "="), 400, "malformed"),
        (lambda vote: changed(vote, sealed=b64encode(vote.sealed).replace("A", "+")), 400, "malformed"),
        (lambda vote: changed(vote, sealed=b64encode(vote.sealed[:-1])), 400, "malformed"),
        (lambda vote: changed(vote, sealed=b64encode(vote.sealed + b"0")), 400, "malformed"),
        (lambda vote: changed(vote, credential=b64encode(vote.credential[1:])), 400, "malformed"),
        (lambda _: b"[" + b"0," * BODY_BYTES_MAX + b"0]", 413, "too_large"),
    ],
)
def test_a_malformed_vote_is_told_so(
    ballot: SmallBallot, spoil: Callable[[CastVote], bytes], status: int, error: str
) -> None:
    """Whatever is wrong with the request, the answer is one sentence and the voter's code is not used up."""
    code = ballot.code("A-1")
    told = request(ballot, spoil(ballot.seal(code, YES)))
    assert (told[0], told[1]["error"], told[1]["retry"]) == (status, error, False)
    assert told[1]["message"].endswith(".")
    assert ballot.post(voter.access_body(ballot.booth(), code), to="access")[0] == 200


@pytest.mark.parametrize(
    ("kind", "method", "status", "error"),
    [("text/plain", "POST", 415, "unsupported_type"), (JSON, "PUT", 405, "method_not_allowed")],
)
def test_another_type_or_method_is_told_so(
    ballot: SmallBallot, kind: str, method: str, status: int, error: str
) -> None:
    """A form post or another verb is not a vote."""
    body = ballot.seal(ballot.code("A-1"), YES).to_json()
    answered, told = request(ballot, body, kind=kind, method=method)
    assert (answered, told["error"]) == (status, error)


def test_a_ballot_that_is_not_there_is_not_found(ballot: SmallBallot) -> None:
    """No such ballot: 404, also for its page and its document."""
    for path in ("/api/v1/ballots/none", "/api/v1/ballots/none/document", "/api/v1/nothing"):
        answer = ballot.door.send("GET", path)
        assert (answer.status, answer.fields()["error"]) == (404, "not_found")
    answer = ballot.door.send(
        "POST", "/api/v1/ballots/none/votes", ballot.seal(ballot.code("A-1"), YES).to_json()
    )
    assert (answer.status, answer.fields()["error"]) == (404, "not_found")


def test_a_vote_replayed_to_another_ballot_is_refused(ballot: SmallBallot, other: SmallBallot) -> None:
    """A genuine vote of one ballot is nothing to another: its credential was never issued there."""
    replayed = other.seal(other.code("A-1"), YES).to_json()
    status, told = ballot.post(replayed)
    assert (status, told["error"]) == (403, "not_accepted")
    assert "contact" in told["message"]


def refused(done: Any, *words: str) -> None:
    """A command that failed with exit code 1 and one plain sentence holding `words`."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_a_vote_from_the_terminal_is_refused_in_one_sentence(
    ballot: SmallBallot, other: SmallBallot, tmp_path: Path
) -> None:
    """`ballot cast` names the slip: in code, question, option, ballot, key or address."""

    def cast(*arguments: str, code: str = "", name: str = ballot.ballot, url: str = ballot.stage.url) -> Any:
        given = code or ballot.code("E-5").text()
        return ballot.stage.attempt("cast", name, "--code-file", "-", "--url", url, *arguments, stdin=given)

    refused(cast(code="0000-1111-2222-3333-4444"), "slip")
    refused(cast(code="hello"), "access code")
    refused(cast("--answer", "strike"), "QUESTION=OPTION")
    refused(cast("--answer", "pay=yes"), "the questions are strike, asos")
    refused(cast("--answer", "strike=perhaps"), "it has yes, no")
    refused(cast("--answer", "strike=yes", "--answer", "strike=no"), "at most 1")
    refused(cast(name="none"), "ballot")
    refused(cast(code=other.code("E-5").text()), "contact")
    refused(cast(url="gopher://example"), "http")
    key = {"id": "0" * 16, "use": "desk", "alg": "Ed25519"}
    key["public_key"] = b64encode(SigningKey.from_seed(os.urandom(32)).public)
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(key))
    refused(cast("--key", str(forged)), "not signed by the desk's key")
    # After all that the code is as good as new.
    done = cast("--answer", "strike=yes", "--answer", "asos=no", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ballot"] == ballot.ballot
    refused(cast("--answer", "strike=yes"), "contact")


def test_the_desk_refuses_what_is_out_of_order(shared_stage: Stage, ballot: SmallBallot) -> None:
    """Opening twice or without keys, counting while open, closing what never opened: refused."""
    run = shared_stage.attempt
    new = SmallBallot(shared_stage, "never-opened")
    new.create()
    new.import_roll()
    refused(run("open", new.ballot), "keys")
    refused(run("close", new.ballot), "never opened")
    refused(run("export", new.ballot, "--out", new.files / "export"))
    refused(run("open", ballot.ballot), "already open")
    refused(run("create", ballot.files / "definition.toml"), "exists already")
    refused(run("export", ballot.ballot, "--out", ballot.files / "export"))
    shares = [str(path) for path in ballot.shares()[:2]]
    refused(
        run("tally", ballot.ballot, "--share", shares[0], "--share", shares[1], "--out", ballot.result_file)
    )
    assert not ballot.result_file.exists()
    refused(run("close", "no-such-ballot"), "no-such-ballot")
    refused(run("codes", "reissue", ballot.ballot, "Z-9", "--out", ballot.files / "z.csv"))
    assert not (ballot.files / "z.csv").exists()


@pytest.mark.parametrize(
    "roll",
    [
        b"",
        b"member_id,name,email,mobile\nA,B,c@d.example,07700 900000\n",
        b"member_id,name,email,mobile,address\nA,B,b@d.example,,x\nA,C,c@d.example,,x\n",
        "member_id,name,email,mobile,address\nA,Zoë,z@d.example,,x\n".encode("latin-1"),
    ],
    ids=["empty", "missing column", "duplicate member", "not UTF-8"],
)
def test_a_bad_roll_is_refused_whole(shared_stage: Stage, tmp_path: Path, roll: bytes) -> None:
    """A roll with a fault leaves no voter behind: the right one can be imported after it."""
    new = SmallBallot(shared_stage, f"roll-{os.urandom(4).hex()}")
    new.create()
    path = tmp_path / "roll.csv"
    path.write_bytes(roll)
    done = shared_stage.attempt("roll", "import", new.ballot, path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    new.import_roll()


def test_every_fault_of_a_definition_is_told_at_once(
    shared_stage: Stage, ballot: SmallBallot, tmp_path: Path
) -> None:
    """One id twice, an unknown form, closing before opening, an illegal method: each with its line."""
    text = (ballot.files / "definition.toml").read_text()
    text = text.replace('id = "asos"', 'id = "strike"').replace('form = "single"', 'form = "guess"', 1)
    text = text.replace('methods = ["electronic", "postal"]', 'methods = ["pigeon"]')
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace("closes = 2", "closes = 1"))
    done = shared_stage.attempt("create", path)
    assert done.returncode == 1
    assert sum(line.startswith("line ") for line in done.stderr.splitlines()) >= 4, done.stderr


def test_hostile_votes_change_no_count(shared_stage: Stage) -> None:
    """A vote signed by another, and a copied one, are set aside with their reasons; the honest ones count."""
    ballot = SmallBallot(shared_stage, "hostile")
    ballot.set_up()
    booth = ballot.booth()
    honest = ballot.seal(ballot.code("A-1"), YES)
    receipt = ballot.cast(honest)

    # Signed by another credential than it names: taken in, held by the worker, and the voter released.
    victim = ballot.code("B-2")
    forged = replace(ballot.seal(Code.draw(os.urandom), NO), credential=victim.credential(ballot.ballot))
    status, told = ballot.post(forged.to_json())
    assert status == 201
    ballot.wait_for_state(told["reference"], "held")
    released = ballot.seal(ballot.reissued_code("B-2"), NO)
    ballot.wait_for_state(ballot.cast(released).reference, "stored")

    # Copied from another voter, bit for bit, and signed with one's own code: bound to the other credential.
    thief = ballot.code("C-3").signing_key(ballot.ballot)
    message = votes.signed_message(
        ballot.ballot, booth.document.definition.sha256, honest.nonce, honest.sealed_sha256
    )
    copied = replace(honest, credential=thief.public, signature=thief.sign(message))
    status, told = ballot.post(copied.to_json())
    assert status == 201
    ballot.wait_for_state(told["reference"], "stored")
    ballot.wait_for_state(receipt.reference, "stored")

    shared_stage.run("close", ballot.ballot)
    _refuse_wrong_shares(ballot)
    result = ballot.tally()
    assert result["votes_cast"] == 2
    assert {reason: count for reason, count in result["set_aside"].items() if count} == {"does_not_open": 1}
    assert {reason: count for reason, count in result["quarantined"].items() if count} == {"bad_signature": 1}
    strike = result["questions"][0]
    assert (strike["counts"], strike["spoilt"]) == ({"yes": 1, "no": 1}, 0)
    refused(shared_stage.attempt("extend", ballot.ballot, "--until", "2099-01-01T00:00:00Z"), "closed")


def _refuse_wrong_shares(ballot: SmallBallot) -> None:
    """Too few shares, a mistyped one, one of another ballot: refused, and no result is written."""
    another = SmallBallot(ballot.stage, "another-key")
    another.create()
    another.create_keys()
    one, two, _ = ballot.shares()
    typed = ballot.files / "typed.txt"
    shutil.copy(two, typed)
    words = typed.read_text().split()
    typed.write_text(typed.read_text().replace(words[-1], "academic" if words[-1] != "academic" else "acid"))
    for wrong in ([one], [one, one], [one, typed], [one, another.shares()[1]]):
        shares = [word for path in wrong for word in ("--share", str(path))]
        refused(ballot.stage.attempt("tally", ballot.ballot, *shares, "--out", ballot.result_file))
        assert not ballot.result_file.exists()
