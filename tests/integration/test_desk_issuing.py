"""A large issue, made by several processes in several batches: killed anywhere, each voter has one code."""

import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import asyncpg
import click
import pytest

from ballot import handoff
from runtime import children, postgres
from runtime.addresses import OWNER, Cluster
from runtime.processes import PROC
from scrutineer import codes, makers, pushing
from scrutineer.ballots import load
from scrutineer.register_check import check_register
from scrutineer.roll import no_step
from scrutineer.roots import RootJournal
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork

VOTERS, SHARDS, BATCH = 110, 4, 20

#: `ballot codes issue` with small batches, in a process that kills itself the nth time it comes to a step.
DYING = """
import os, signal, sys
from pathlib import Path
from scrutineer import codes, makers, session
ballot, out, at, turn, batch = sys.argv[1:]
makers.ALONE_CODES_MAX, makers.BATCH_CODES_MAX = 0, int(batch)
seen = 0
def step(name):
    global seen
    seen += name == at
    if name == at and seen == int(turn):
        os.kill(os.getpid(), signal.SIGKILL)
session.run_desk(lambda desk: codes.issue_all(desk, ballot, Path(out), step=step), people=True)
"""


@pytest.fixture
def rolled(run_ballot: RunBallot, tmp_path: Path, ballot_id: str) -> str:
    """A ballot with a roll, no codes yet."""
    file = tmp_path / "ballot.toml"
    file.write_text(deskwork.definition(ballot_id))
    run_ballot("create", file, "--shards", str(SHARDS))
    roll = deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(VOTERS))
    run_ballot("roll", "import", ballot_id, roll)
    return ballot_id


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What otherwise takes tens of thousands of voters: children, and more batches than they hold."""
    monkeypatch.setattr(makers, "ALONE_CODES_MAX", 0)
    monkeypatch.setattr(makers, "BATCH_CODES_MAX", BATCH)
    monkeypatch.setattr(children, "cores", lambda: 2)


def dying_issue(
    stack: Stack, ballot: str, out: Path, *, at: str, turn: int, mark: str = "MARK"
) -> subprocess.CompletedProcess[str]:
    """Issue in a process that is gone the `turn`th time it comes to `at`, and all that it started with it."""
    return subprocess.run(
        [sys.executable, "-c", DYING, ballot, str(out), at, str(turn), str(BATCH)],
        env=stack.env | {mark: "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def at_gate(stack: Stack, ballot: str) -> dict[bytes, bytes]:
    """What the gate holds of each credential, over all shards."""
    found: dict[bytes, bytes] = {}
    async with deskwork.desk_of(stack) as desk:
        for shard in range(SHARDS):
            found |= await desk.gate.hgetall(handoff.credentials_key(ballot, shard))
    return found


async def assert_one_code_each(stack: Stack, ballot: str) -> None:
    """Register, signed roots, gate and user database agree: every voter has one code, and it works."""
    async with deskwork.desk_of(stack) as desk:
        assert await check_register(desk, await load(desk, ballot)) == []
        rows = await desk.votes.fetch(
            "SELECT credential_digest, uin, channel FROM ballot.register WHERE ballot = $1", ballot
        )
        entitled = await desk.votes.fetch("SELECT uin FROM ballot.electorate WHERE ballot = $1", ballot)
        sent = await desk.people.fetch("SELECT uin FROM people.dispatches WHERE ballot = $1", ballot)
    assert Counter(row["uin"] for row in rows) == Counter(row["uin"] for row in entitled)
    assert Counter(row["uin"] for row in sent) == Counter(row["uin"] for row in entitled)
    credentials = await at_gate(stack, ballot)
    kept = len(next(iter(credentials)))
    assert credentials == {
        row["credential_digest"][:kept]: row["uin"]
        + handoff.CURRENT_FLAG
        + handoff.CHANNEL_BYTES[row["channel"]]
        for row in rows
    }


async def test_a_large_issue_is_one_row_a_voter_under_several_signed_roots(
    stack: Stack, tmp_path: Path, rolled: str, small_batches: None
) -> None:
    """File, register, roots, gate and user database tell of the same codes, one shard each."""
    out = tmp_path / "codes.csv"

    issued = await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, out))

    assert issued == VOTERS
    assert sorted(deskwork.read_codes(out)) == [row[0] for row in deskwork.members(VOTERS)]
    await assert_one_code_each(stack, rolled)
    async with deskwork.desk_of(stack) as desk:
        leaves = await desk.votes.fetch(
            "SELECT leaves FROM ballot.register_roots WHERE ballot = $1 ORDER BY batch", rolled
        )
        found = await desk.votes.fetch(
            "SELECT uin FROM ballot.register WHERE ballot = $1 ORDER BY batch, position", rolled
        )
    assert [row["leaves"] for row in leaves] == [BATCH] * (VOTERS // BATCH) + [VOTERS % BATCH]
    assert [row["uin"] for row in found] == sorted(row["uin"] for row in found)


@pytest.mark.parametrize(
    ("at", "turn"),
    [("batch", 3), ("file", 1), ("register", 1), ("dispatches", 3), ("gate", 7)],
    ids=str,
)
async def test_a_large_issue_killed_anywhere_is_finished_by_the_next(
    stack: Stack, tmp_path: Path, rolled: str, at: str, turn: int, small_batches: None
) -> None:
    """Kill -9 in the middle, run again: one working code a voter, in a file; what never worked is named."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    died = dying_issue(stack, rolled, first, at=at, turn=turn)
    assert died.returncode == -signal.SIGKILL, died.stderr

    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, second))

    await assert_one_code_each(stack, rolled)
    live = second if at in {"batch", "file"} else first
    assert sorted(deskwork.read_codes(live)) == [row[0] for row in deskwork.members(VOTERS)]
    assert second.exists() == (live == second)


async def test_a_batch_is_entered_as_dispatched_once(
    stack: Stack, tmp_path: Path, rolled: str, small_batches: None
) -> None:
    """Two commands finish the same batches, neither knowing of the other: nobody was sent a code twice."""
    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, tmp_path / "codes.csv"))
    async with deskwork.desk_of(stack) as desk:
        stored, journal = await load(desk, rolled), RootJournal(desk.home, rolled)
        batches = pushing._from_register(desk, stored, journal.live())
        await pushing.push(desk, stored, batches, count=VOTERS, journal=journal, step=no_step)

    await assert_one_code_each(stack, rolled)


async def test_those_who_came_later_get_their_codes_in_full_batches(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, rolled: str, small_batches: None
) -> None:
    """A second roll is issued alone, in full batches, although its voters lie among all UINs."""
    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, tmp_path / "first.csv"))
    more = deskwork.members(2 * BATCH, start=VOTERS)
    run_ballot("roll", "import", rolled, deskwork.write_roll(tmp_path / "more.csv", more))

    second = tmp_path / "second.csv"
    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, second))

    assert sorted(deskwork.read_codes(second)) == [row[0] for row in more]
    await assert_one_code_each(stack, rolled)
    async with deskwork.desk_of(stack) as desk:
        leaves = await desk.votes.fetch(
            "SELECT leaves FROM ballot.register_roots WHERE ballot = $1 ORDER BY batch DESC LIMIT 2", rolled
        )
    assert [row["leaves"] for row in leaves] == [BATCH, BATCH]


async def test_a_child_that_dies_ends_the_issue_and_leaves_no_file(
    stack: Stack, tmp_path: Path, rolled: str, small_batches: None
) -> None:
    """A maker is killed: one sentence, no file, nothing in register or gate; the next run works."""
    out = tmp_path / "codes.csv"
    told: list[bytes] = []

    def step(name: str) -> None:
        if name == "batch" and not told:
            makers_alive = [child.pid or 0 for child in multiprocessing.active_children()]
            for pid in makers_alive:
                told.append((PROC / str(pid) / "cmdline").read_bytes())
                told.append((PROC / str(pid) / "environ").read_bytes())
            for pid in makers_alive:
                # The pool ends the others as soon as it misses one.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(click.ClickException, match="a process that makes codes died"):
        await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, out, step=step))

    assert not out.exists()
    assert await at_gate(stack, rolled) == {}
    for name in ("people", "credential-digest"):
        key = stack.home.secret(name)
        assert told
        assert not [text for text in told if key in text or key.hex().encode() in text]
    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, out))
    await assert_one_code_each(stack, rolled)


def test_children_end_with_the_desk_that_was_killed(stack: Stack, tmp_path: Path, rolled: str) -> None:
    """Kill -9 of the desk leaves no process behind that holds codes."""
    mark = f"BALLOT_TEST_{secrets.token_hex(6)}"

    died = dying_issue(stack, rolled, tmp_path / "codes.csv", at="batch", turn=1, mark=mark)

    # Its children hold the other end of its output: as that has ended, so have they.
    assert died.returncode == -signal.SIGKILL
    left = []
    for environ in PROC.glob("[0-9]*/environ"):
        try:
            left += [environ] if mark.encode() in environ.read_bytes() else []
        except OSError:
            continue
    assert not left


async def test_no_database_takes_a_code_for_somebody_who_is_not_on_the_roll(
    stack: Stack, tmp_path: Path, rolled: str
) -> None:
    """Register and dispatches refuse a UIN that is not there, and who has a code can be taken off neither."""
    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, rolled, tmp_path / "codes.csv"))
    nobody = secrets.token_bytes(16)
    async with deskwork.desk_of(stack) as desk:
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="a voter in the electorate"):
            await desk.votes.execute(
                """INSERT INTO ballot.register
                   (ballot, credential_digest, uin, shard, channel, batch, position, issued_us)
                   VALUES ($1, $2, $3, 0, 'post', 99, 0, 1)""",
                rolled,
                secrets.token_bytes(32),
                nobody,
            )
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="a voter on the roll"):
            await desk.people.execute(
                "INSERT INTO people.dispatches (ballot, uin, channel, batch) VALUES ($1, $2, 'post', 99)",
                rolled,
                nobody,
            )
    removals: tuple[tuple[Cluster, str, str], ...] = (
        ("voterdb", "ballot.electorate", "stays in the electorate"),
        ("userdb", "people.voters", "stays on the roll"),
    )
    for cluster, table, told in removals:
        owner = await postgres.connect(stack.servers, cluster, OWNER)
        try:
            for act in (f"DELETE FROM {table}", f"UPDATE {table} SET uin = $2"):  # noqa: S608  # two names above
                statement = (
                    f"{act} WHERE ballot = $1 AND uin = (SELECT min(uin) FROM {table} WHERE ballot = $1)"  # noqa: S608  # as above
                )
                values = [rolled, nobody] if "$2" in act else [rolled]
                with pytest.raises(asyncpg.ForeignKeyViolationError, match=told):
                    await owner.execute(statement, *values)
        finally:
            await owner.close()
