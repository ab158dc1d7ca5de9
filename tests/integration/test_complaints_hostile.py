"""An edge taken over and the complaints: what it appends stops none, and what it removes is said."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from ballot import complaint, handoff
from runtime import postgres, valkey
from scrutineer import serving
from scrutineer.complaint_balance import FILE
from tests.integration.complaint_rig import as_role, caller, lodge, rows, sealed, stored, storing
from tests.integration.intake_rig import EdgeProcess, edge, sha256, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from prometheus_client import CollectorRegistry

    from tests.conftest import RunBallot, Stack

STREAM = handoff.COMPLAINTS_KEY
LAST_ID = f"{2**64 - 1}-{2**64 - 1}"
WRITE_LINE = "INSERT INTO complaints.history (complaint, state, actor) VALUES ($1, 'closed', 'x')"


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process."""
    with edge(stack.env) as running:
        yield running


@asynccontextmanager
async def taken_over(stack: Stack) -> AsyncIterator[tuple[Any, Any]]:
    """The queue as an edge's user and as its administrator; the stream is new before and after."""
    broken: Any = valkey.connect(stack.servers, "intake")
    admin: Any = valkey.connect(stack.servers, "admin")
    try:
        await admin.delete(STREAM)
        (stack.home.data / FILE).unlink(missing_ok=True)
        yield broken, admin
    finally:
        await admin.delete(STREAM)
        await broken.aclose()
        await admin.aclose()


def sample(numbers: CollectorRegistry, name: str) -> float:
    """One number of the storing."""
    return numbers.get_sample_value(f"ballot_complaints_{name}") or 0.0


@pytest.mark.parametrize("ahead", ["9223372036854775807-0", "7000000000000-0", f"{2**64 - 1}-0"])
async def test_an_id_far_ahead_stops_nothing_and_is_said(
    stack: Stack, edges: EdgeProcess, run_ballot: RunBallot, ahead: str
) -> None:
    """It and all that come after it are stored, each with a time that can be true."""
    forged, good = sealed(stack.home, f"forged {ahead}"), sealed(stack.home, f"after {ahead}")
    async with taken_over(stack) as (broken, _), caller(edges.url, "127.0.0.21") as web:
        await broken.execute_command("XADD", STREAM, ahead, "s", forged.sealed, "b", "")
        assert (await lodge(web, good))[0] == 201
        async with storing(stack.servers) as numbers:
            for each in (forged, good):
                ((_, _, _, received_at, _),) = await stored(stack.servers, each.number)
                assert abs(datetime.now(tz=UTC) - received_at) < timedelta(minutes=2)
            await until(lambda: _is(sample(numbers, "waiting") == 0))
            assert sample(numbers, "ids_ahead") == 1
            assert sample(numbers, "malformed_total") == 0
    assert good.number in run_ballot("complaints", "list").stdout


async def _is(value: object) -> bool:
    return bool(value)


async def test_the_last_id_of_all_is_an_honest_503_until_the_stream_is_made_anew(
    stack: Stack, edges: EdgeProcess
) -> None:
    """No entry can follow it: voters are told to come back, the log names the cure, and the cure works."""
    before, after = sealed(stack.home, "before the last id"), sealed(stack.home, "after the last id")
    async with taken_over(stack) as (broken, admin), caller(edges.url, "127.0.0.22") as web:
        assert (await lodge(web, before))[0] == 201
        await broken.execute_command("XADD", STREAM, LAST_ID, "s", before.sealed, "b", "")
        status, body = await lodge(web, after)
        assert (status, body["retry"]) == (503, True)
        told = [
            line
            for line in (stack.home.logs / "intake.log").read_text().splitlines()
            if '"exhausted"' in line
        ]
        assert told
        assert '"alarm"' in told[-1]
        assert "runbook on complaints, 10" in told[-1]
        async with storing(stack.servers) as numbers:
            await stored(stack.servers, before.number)
            await until(lambda: _is(sample(numbers, "waiting") == 0))
            await admin.delete(STREAM)
            assert (await lodge(web, after))[0] == 201
            assert len(await stored(stack.servers, after.number)) == 1
    assert len(await rows(stack.servers, before.number)) == 1


async def test_what_the_database_refuses_is_set_aside_and_holds_up_nothing(
    stack: Stack, edges: EdgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in the queue, said once, also over a restart; what came with it and after it is stored."""
    bad, good, later = (sealed(stack.home, text) for text in ("refused", "beside it", "behind it"))
    parse = serving.parse

    def without_care(entry_id: str, fields: dict[bytes, bytes], *, now_ms: int) -> serving.Entry | None:
        entry = parse(entry_id, fields, now_ms=now_ms)
        if entry is None or entry.lodged != bad:
            return entry
        return serving.Entry(entry_id, entry.lodged, 2**62)

    async with taken_over(stack) as (_, admin), caller(edges.url, "127.0.0.23") as web:
        for each in (bad, good):
            assert (await lodge(web, each))[0] == 201
        with monkeypatch.context() as patched:
            patched.setattr(serving, "parse", without_care)
            for batch in ((good,), (later,)):
                async with storing(stack.servers) as numbers:
                    if later in batch:
                        assert (await lodge(web, later))[0] == 201
                    for each in batch:
                        assert len(await stored(stack.servers, each.number)) == 1
                    await until(lambda: _is(sample(numbers, "waiting") == 1))
                    assert sample(numbers, "set_aside") == 1
                    assert sample(numbers, "retries_total") == 0
        assert await rows(stack.servers, bad.number) == []
        async with storing(stack.servers) as numbers:  # a version that knows better
            assert len(await stored(stack.servers, bad.number)) == 1
            await until(lambda: _is(sample(numbers, "waiting") == 0))
        assert await admin.xlen(STREAM) == 0


async def test_complaints_that_an_edge_removes_are_counted_as_missing(
    stack: Stack, edges: EdgeProcess
) -> None:
    """XADD … MAXLEN cannot be forbidden: done while the storing runs or while it is away, it is said."""
    one, other = sealed(stack.home, "kept"), sealed(stack.home, "removed")
    async with taken_over(stack) as (broken, _), caller(edges.url, "127.0.0.24") as web:
        async with storing(stack.servers) as numbers:
            assert (await lodge(web, one))[0] == 201
            await stored(stack.servers, one.number)
            await until(lambda: _is(sample(numbers, "waiting") == 0))
            assert sample(numbers, "missing_total") == 0
            await broken.execute_command("XADD", STREAM, "MAXLEN", "0", "*", "x", "y")
            await until(lambda: _is(sample(numbers, "missing_total") == 1))
        for _ in range(2):
            assert (await lodge(web, other))[0] == 201
        await broken.execute_command("XADD", STREAM, "MAXLEN", "0", "*", "x", "y")
        async with storing(stack.servers) as numbers:
            await until(lambda: _is(sample(numbers, "missing_total") == 3))
            assert (await lodge(web, one))[0] == 201
            await until(lambda: _is(sample(numbers, "waiting") == 0))
            assert sample(numbers, "missing_total") == 3
        async with storing(stack.servers) as numbers:
            assert (await lodge(web, one))[0] == 201
            await until(lambda: _is(sample(numbers, "waiting") == 0))
            assert sample(numbers, "missing_total") == 0
    assert await rows(stack.servers, other.number) == []


async def test_a_malformed_entry_is_told_once_however_often_its_batch_is_tried(
    stack: Stack, edges: EdgeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away its batch comes again and again, and it is counted once."""
    good = sealed(stack.home, "with a malformed one")
    connect, away = postgres.connect, 3

    async def refused(*args: Any) -> asyncpg.Connection:
        nonlocal away
        if away:
            away -= 1
            raise OSError
        return await connect(*args)

    async with taken_over(stack) as (broken, _), caller(edges.url, "127.0.0.25") as web:
        await broken.execute_command("XADD", STREAM, "*", "x", "y")
        assert (await lodge(web, good))[0] == 201
        with monkeypatch.context() as patched:
            patched.setattr(postgres, "connect", refused)
            async with storing(stack.servers) as numbers:
                await until(lambda: _is(away == 0 and sample(numbers, "waiting") == 0))
                assert sample(numbers, "retries_total") == 3
                assert sample(numbers, "malformed_total") == 1


async def test_a_history_is_written_by_the_function_alone(stack: Stack) -> None:
    """The desk's role cannot choose a line's place or time, and so cannot backdate or freeze a state."""
    lodged = sealed(stack.home, "its history")
    async with as_role(stack.servers, "ballot_people") as desk:
        await desk.execute(
            "SELECT complaints.store('post', $1, $2, $3, $4)",
            [lodged.number],
            [lodged.sealed],
            [None],
            [time.time_ns() // 1_000_000],
        )
        digest = sha256(lodged.sealed)
        for statement in (
            WRITE_LINE,
            WRITE_LINE.replace("(complaint,", "(id, at, complaint,").replace(
                "VALUES (", "OVERRIDING SYSTEM VALUE VALUES (9223372036854775807, 'epoch', "
            ),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await desk.execute(statement, digest)
        await desk.execute("SELECT complaints.add_line($1, 'in-hand', 'M. Evans', NULL)", digest)
        (line,) = await desk.fetch(
            "SELECT actor, at > now() - interval '1 minute' AS new FROM complaints.history "
            "WHERE complaint = $1 AND state = 'in-hand'",
            digest,
        )
        assert tuple(line) == ("M. Evans", True)


async def test_without_the_secret_complaints_are_listed_and_entered(
    stack: Stack, run_ballot: RunBallot
) -> None:
    """Numbers, times and states stay; one that came by post gets its day; only reading needs the key."""
    run_ballot("complaints", "key")
    secret, away = stack.home.secrets / "complaints.key", stack.home.secrets / "complaints.away"
    command = [
        "record",
        "--file",
        "-",
        "--route",
        "post",
        "--contact",
        "9 Hill St",
        "--received",
        "2026-01-02",
    ]
    secret.rename(away)
    try:
        number = run_ballot("complaints", *command, input="By post").stdout.strip()
        listed = run_ballot("complaints", "list")
        assert f"{number}  2026-01-02T12:00:00" in listed.stdout
        assert "cannot be read" in listed.stderr
        run_ballot("complaints", "status", number, "in-hand", "--note", "-", input="a note")
        refused = run_ballot("complaints", "show", number, check=False)
        assert (refused.returncode, "is missing" in refused.stderr) == (1, True)
    finally:
        away.rename(secret)
    async with as_role(stack.servers, "ballot_people") as desk:
        await desk.execute(
            "SELECT complaints.add_line(sha256, 'answered', 'desk', $2) FROM complaints.complaints "
            "WHERE number = $1",
            number,
            bytes(complaint.SEALED_BYTES),
        )
    shown = run_ballot("complaints", "show", number).stdout
    for expected in ("By post", "contact: 9 Hill St", "desk: a note", "its note is unreadable"):
        assert expected in shown
    assert shown.count(" read by desk") == 1
    late = run_ballot("complaints", *command[:-1], "2999-01-01", input="x", check=False)
    assert (late.returncode, "until today" in late.stderr) == (1, True)
