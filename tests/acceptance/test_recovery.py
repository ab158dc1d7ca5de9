"""A queue that was lost, torn or left behind: closed until `ballot recover`, then all accounted for."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ballot.receipt import Receipt
from ballot.vote import CastVote
from loadtests.staging.stage import Stage, wait_until
from loadtests.voting.voter import Refused
from tests.acceptance.small_ballot import SmallBallot, yes
from tests.acceptance.test_kill import QUEUE, WORKER, processes

YES, NO = yes("yes", "yes"), yes("no", "no")
WELL_S = 60.0


@pytest.fixture(scope="module")
def ballot() -> Iterator[SmallBallot]:
    """An open ballot of five voters, for the tests of this module: A, B and C are the first one's, D, E."""
    with Stage() as stage:
        stage.up(extra=("--no-monitor",))
        opened = SmallBallot(stage, "lost-and-found")
        opened.set_up()
        yield opened


@contextmanager
def held(stage: Stage, *pids: int) -> Iterator[None]:
    """Stop processes for as long as the block runs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def break_queue(stage: Stage, damage: Callable[[Path], None]) -> None:
    """`kill -9` the queue and damage its data before anybody can start it again."""
    (queue,) = processes(stage, QUEUE)
    with held(stage, stage.up_pid):
        os.kill(queue, signal.SIGKILL)
        wait_until(lambda: not _alive(queue), seconds=WELL_S, what="the queue to be gone")
        damage(stage.home / "data" / "valkey")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def readiness(ballot: SmallBallot) -> tuple[int, str]:
    """What `/readyz` says."""
    answer = ballot.door.send("GET", "/readyz")
    return answer.status, answer.body.decode(errors="replace")


def wait_ready(ballot: SmallBallot) -> None:
    """Return once votes would be taken."""
    wait_until(lambda: readiness(ballot)[0] == 200, seconds=WELL_S, what="votes to be taken again")


def wait_told(path: Path, what: str) -> None:
    """Return once a log says something."""
    wait_until(
        lambda: path.exists() and what in path.read_text("utf-8", "replace"),
        seconds=WELL_S,
        what=f"{path.name} to say {what}",
    )


def recover(stage: Stage, *options: str) -> tuple[int, dict[str, Any]]:
    """`ballot recover --json`."""
    done = stage.attempt("recover", "--json", *options)
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def check(ballot: SmallBallot, receipts: list[Receipt]) -> dict[str, Any]:
    """`ballot check --receipts --signatures --json`, once what was accepted is stored."""
    file = ballot.files / "receipts.jsonl"
    file.write_text("".join(json.dumps(each.to_dict()) + "\n" for each in receipts), encoding="utf-8")
    done = ballot.stage.attempt("check", ballot.ballot, "--receipts", file, "--signatures", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cast(ballot: SmallBallot, member: str) -> tuple[CastVote, Receipt]:
    """A member's vote and its receipt."""
    vote = ballot.seal(ballot.code(member), YES)
    return vote, ballot.cast(vote)


def stored(ballot: SmallBallot, member: str) -> tuple[CastVote, Receipt]:
    """A member's vote, stored."""
    vote, receipt = cast(ballot, member)
    ballot.wait_for_state(receipt.reference, "stored")
    return vote, receipt


def in_journal(stage: Stage, reference: str) -> bool:
    """Whether an edge has written a reference down."""
    return any(
        reference in path.read_text(encoding="utf-8") for path in (stage.home / "journal").glob("*.jsonl")
    )


def test_a_deleted_queue_is_rebuilt_from_what_is_stored(ballot: SmallBallot) -> None:
    """Not started empty, and says so; then who was stored is refused, the others vote, the rest is named."""
    stage = ballot.stage
    vote_a, receipt_a = stored(ballot, "A-1")
    (worker,) = processes(stage, WORKER)
    with held(stage, worker):
        vote_b, receipt_b = cast(ballot, "B-2")
        wait_until(lambda: in_journal(stage, receipt_b.reference), seconds=WELL_S, what="the journal")
        break_queue(stage, shutil.rmtree)
        wait_told(stage.files / "up.err", "valkey has held data but")

    assert "`ballot recover`" in (stage.files / "up.err").read_text(encoding="utf-8")
    assert not (stage.home / "data" / "valkey").exists()
    assert readiness(ballot)[0] == 503
    code, told = recover(stage, "--dry-run")
    assert code == 1
    assert ["has held data" in each for each in told["wrong"]] == [True]

    code, told = recover(stage)
    assert code == 0
    wait_ready(ballot)

    assert ballot.cast(vote_a).reference == receipt_a.reference  # the same vote again: the same reference
    with pytest.raises(Refused, match="code"):
        ballot.cast(ballot.seal(ballot.code("A-1"), NO))
    again_b = ballot.cast(vote_b)  # its vote is gone, so it is taken like any other
    _, receipt_c = stored(ballot, "C-3")
    ballot.wait_for_state(again_b.reference, "stored")

    report = told["report"]["ballots"][ballot.ballot]
    assert report["unconfirmed"] == [receipt_b.reference]
    assert report["unaccounted"] == {}
    assert (report["marks_restored"], report["credentials_restored"]) == (1, 5)
    assert again_b.reference != receipt_b.reference
    assert json.loads(Path(told["kept"]).read_text(encoding="utf-8")) == told["report"]
    assert recover(stage) == (0, {"wrong": []})
    found = check(ballot, [receipt_a, again_b, receipt_c])
    assert found["differences"] == 0, found
    found = check(ballot, [receipt_a, receipt_b, again_b, receipt_c])
    assert [each["where"] for each in found["findings"]] == [receipt_b.reference]


def test_a_torn_queue_stays_closed_and_is_mended(ballot: SmallBallot) -> None:
    """Less in the file than was stored: closed, readiness and log say why, and what the file has is kept."""
    stage = ballot.stage
    files = stage.home / "data" / "valkey" / "appendonlydir"
    wait_ready(ballot)
    size = sum(path.stat().st_size for path in files.glob("*.incr.aof"))
    _, receipt = stored(ballot, "D-4")

    def tear(data: Path) -> None:
        newest = max((data / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)
        os.truncate(newest, size + 700)  # in the middle of the vote
        (stage.home / "run" / "valkey.written").unlink()  # files that came without what was noted of them

    before = len((stage.home / "logs" / "worker.log").read_text(encoding="utf-8"))
    break_queue(stage, tear)
    wait_until(
        lambda: "trust_refused" in (stage.home / "logs" / "worker.log").read_text(encoding="utf-8")[before:],
        seconds=WELL_S,
        what="the worker to refuse",
    )
    wait_until(
        lambda: readiness(ballot) == (503, '{"state":"not ready","reason":"not_trusted"}'),
        seconds=WELL_S,
        what="the edge to say why it is closed",
    )
    wait_told(stage.home / "logs" / "intake.log", "is mended by `ballot recover`")
    assert "ballot recover" in (stage.home / "logs" / "worker.log").read_text(encoding="utf-8")[before:]

    code, told = recover(stage)
    assert code == 0
    assert any("stream ends" in each for each in told["wrong"])
    wait_ready(ballot)
    report = told["report"]["ballots"][ballot.ballot]
    assert (report["marks_restored"], report["credentials_restored"]) == (1, 0)
    assert receipt.reference not in report["unconfirmed"]  # of the votes lost before there may be some
    assert report["unaccounted"] == {}
    assert Path(told["report"]["before"]).is_dir()
    assert ballot.state_of(receipt.reference) == "stored"
    with pytest.raises(Refused):
        ballot.cast(ballot.seal(ballot.code("D-4"), NO))
    found = check(ballot, [receipt])
    assert found["differences"] == 0, found


@pytest.mark.long
def test_an_older_voter_database_is_brought_back_to_the_last_vote(ballot: SmallBallot) -> None:
    """The cluster of ten minutes ago under the queue of now: votes, turnout and books are complete again."""
    stage = ballot.stage
    wait_ready(ballot)
    stage.stop()
    cluster, older = stage.home / "data" / "voterdb", stage.folder / "older"
    shutil.copytree(cluster, older)
    stage.up(extra=("--no-monitor",))
    _, receipt = stored(ballot, "E-5")
    turnout = json.loads(stage.run("status", ballot.ballot, "--json"))
    stage.stop()
    shutil.rmtree(cluster)
    older.rename(cluster)

    stage.up(extra=("--no-monitor",))
    assert recover(stage) == (0, {"wrong": []})  # the queue lacks nothing
    deadline = time.monotonic() + WELL_S
    while json.loads(stage.run("status", ballot.ballot, "--json"))["turnout"] != turnout["turnout"]:
        assert time.monotonic() < deadline, "the turnout did not come back"

    ballot.wait_for_state(receipt.reference, "stored")
    found = check(ballot, [receipt])
    assert found["differences"] == 0, found
