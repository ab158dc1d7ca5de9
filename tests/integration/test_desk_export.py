"""The export: drained, balanced, examined again, shuffled, and nothing in it that names a voter."""

import asyncio
import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from ballot import export_file, sealing, signed
from ballot.encoding import b64encode
from ballot.vote import CastVote
from runtime import postgres
from scrutineer import ballots
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import refusal, voted


async def owner(stack: Stack) -> asyncpg.Connection:
    """The voter database as its administrator."""
    return await postgres.connect(stack.servers, "voterdb", "ballot_owner")


async def test_the_whole_of_it_closes_drains_and_exports(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Every vote cast is in the export once, shuffled and nameless, and returns count once."""
    votes = await voted(stack, run_ballot, tmp_path, ballot_id, votes=12)
    out = tmp_path / "export"
    assert "still open" in refusal(run_ballot, "export", ballot_id, "--out", out)
    returned = tmp_path / "returned.csv"
    received = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    returned.write_text(
        f"member_id,received_at\nM-00000,{received}\nM-00015,{received}\nM-00016,{received}\n"
    )
    done = run_ballot("returns", ballot_id, returned, "--method", "postal")
    assert "2 recorded, 0 recorded before, 1 not counted" in done.stdout
    assert "line 2: M-00000 has voted already (electronic)" in done.stderr
    assert (
        "0 recorded, 2 recorded before, 1 not"
        in run_ballot("returns", ballot_id, returned, "--method", "postal").stdout
    )

    run_ballot("close", ballot_id, "--no-wait")
    await until_closed(stack, ballot_id)
    assert "not stored yet" in refusal(run_ballot, "export", ballot_id, "--out", out)
    run_ballot("close", ballot_id)
    run_ballot("export", ballot_id, "--out", out)

    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    first, *lines = out.read_bytes().splitlines(keepends=True)
    manifest = export_file.parse_manifest(first)
    async with deskwork.desk_of(stack) as desk:
        signed.verify_object(manifest.value, label=signed.EXPORT_LABEL, public=desk.key.public)
        losers = await desk.votes.fetchval(
            "SELECT count(*) FROM ballot.events WHERE ballot = $1 AND kind = 'return.not_counted'", ballot_id
        )
    assert losers == 1
    assert manifest.votes_sha256 == hashlib.sha256(b"".join(lines)).digest()
    assert manifest.by_method == {"electronic": 12, "postal": 2, "workplace": 0}
    assert not any(manifest.books.differences().values())
    expected = [(sealing.bind(vote.nonce, vote.credential), vote.sealed) for vote in votes]
    found = [export_file.parse_vote_line(line) for line in lines]
    assert sorted(found) == sorted(expected)
    assert found != expected
    for vote in votes:
        for secret in (vote.credential, vote.nonce, vote.signature):
            assert b64encode(secret).encode() not in out.read_bytes()
    again = tmp_path / "again"
    run_ballot("export", ballot_id, "--out", again)
    second = export_file.parse_manifest(again.read_bytes().splitlines(keepends=True)[0])
    same = (
        "ballot",
        "document",
        "definition_sha256",
        "entitled",
        "votes",
        "books",
        "by_method",
        "quarantined",
    )
    assert {name: manifest.value[name] for name in same} == {name: second.value[name] for name in same}
    assert again.read_bytes().splitlines()[1:] != out.read_bytes().splitlines()[1:]
    assert "exists already" in refusal(run_ballot, "export", ballot_id, "--out", out)


def left(directory: Path) -> list[Path]:
    """What an export that failed left of itself."""
    return list(directory.glob("export*"))


async def until_closed(stack: Stack, ballot: str) -> None:
    """Wait until every shard says it is closed."""
    async with deskwork.desk_of(stack) as desk:
        gate = (await ballots.load(desk, ballot)).gate(desk)
        async with asyncio.timeout(10):
            while not all(state.closed for state in await gate.states()):  # noqa: ASYNC110  # the gate tells nobody
                await asyncio.sleep(0.02)


async def test_a_changed_register_row_stops_the_export_and_is_named(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """An administrator changes one issued code's row: the export refuses and names the row."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=4)
    run_ballot("close", ballot_id)
    connection = await owner(stack)
    try:
        await connection.execute(
            "UPDATE ballot.register SET issued_us = issued_us + 1 WHERE ballot = $1 AND position = 7",
            ballot_id,
        )
        digest = await connection.fetchval(
            """SELECT encode(credential_digest, 'hex') FROM ballot.register
                WHERE ballot = $1 AND position = 7 AND batch = 1""",
            ballot_id,
        )
    finally:
        await connection.close()

    message = refusal(run_ballot, "export", ballot_id, "--out", tmp_path / "export")

    assert "issue row 7 of batch 1" in message
    assert digest[:16] in message
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        (
            "UPDATE ballot.votes SET signature = decode(repeat('00', 64), 'hex') WHERE ballot = $1",
            "signature",
        ),
        pytest.param(
            "UPDATE ballot.votes SET sealed = sealed || '\\x00'::bytea WHERE ballot = $1",
            "sealed bytes",
            marks=pytest.mark.long,
        ),
        ("DELETE FROM ballot.votes WHERE ballot = $1", "neither stored nor quarantined"),
    ],
    ids=["signature", "bytes", "deleted"],
)
async def test_a_changed_or_missing_vote_stops_the_export_and_is_named(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, tampering: str, told: str
) -> None:
    """A vote that is not as it was cast, or is gone, is named by its reference and nothing is exported."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=1)
    run_ballot("close", ballot_id)
    connection = await owner(stack)
    try:
        reference = await connection.fetchval(
            "SELECT reference FROM ballot.votes WHERE ballot = $1", ballot_id
        )
        await connection.execute(tampering, ballot_id)
    finally:
        await connection.close()

    message = refusal(run_ballot, "export", ballot_id, "--out", tmp_path / "export")

    assert told in message
    assert reference in message
    assert not (tmp_path / "export").exists()
    assert not (tmp_path / "export.partial").exists()


async def test_a_voter_whose_vote_was_spoilt_on_the_way_is_released_and_votes_again(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A badly signed vote is quarantined; the desk releases its voter, whose new code then counts."""
    rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3))
    run_ballot("open", ballot_id)
    good = deskwork.seal(stack, ballot_id, rows["M-00000"]["code"], "yes")
    burnt = CastVote(good.credential, good.suite, good.nonce, good.sealed, bytes(64))
    assert await deskwork.cast(stack, ballot_id, burnt) == "accepted"
    run_ballot("worker", "--until-drained")
    out = tmp_path / "new.csv"

    run_ballot("codes", "reissue", ballot_id, "M-00000", "--out", out)

    vote = deskwork.seal(stack, ballot_id, deskwork.read_codes(out)["M-00000"]["code"], "yes")
    assert await deskwork.cast(stack, ballot_id, vote) == "accepted"
    run_ballot("close", ballot_id)
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert told["balanced"], told["differences"]
    assert (told["books"]["released"], told["books"]["quarantined"], told["books"]["stored"]) == (1, 1, 1)
    run_ballot("export", ballot_id, "--out", tmp_path / "export")
    line = (tmp_path / "export").read_bytes().splitlines(keepends=True)[1]
    assert export_file.parse_vote_line(line) == (sealing.bind(vote.nonce, vote.credential), vote.sealed)


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        (
            "INSERT INTO ballot.electorate (ballot, uin) VALUES ($1, decode(md5($1), 'hex'))",
            "the desk signed an electorate of 20 voters; the voter database has 21",
        ),
        pytest.param(
            """UPDATE ballot.electorate SET uin = decode(md5($1), 'hex') WHERE ballot = $1
                AND uin = (SELECT uin FROM ballot.electorate WHERE ballot = $1 ORDER BY uin LIMIT 1)""",
            "the electorate has 20 voters as the desk signed, but not the same ones",
            marks=pytest.mark.long,
        ),
        ("UPDATE ballot.returns SET counted = false WHERE ballot = $1", "returned_postal: a difference of 2"),
        pytest.param(
            "UPDATE ballot.returns SET method = 'workplace' WHERE ballot = $1",
            "returned_workplace: a difference of -2",
            marks=pytest.mark.long,
        ),
        (
            """UPDATE ballot.lifecycle SET document = set_byte(document, 100, get_byte(document, 100) # 1)
                WHERE ballot = $1 AND kind = 'armed'""",
            "the ballot document is not what the desk signed",
        ),
    ],
    ids=["elector invented", "elector exchanged", "returns uncounted", "method changed", "document changed"],
)
async def test_what_an_administrator_changes_beside_the_votes_stops_the_export(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, tampering: str, told: str
) -> None:
    """Electors, returns and the document are compared with what the desk signed and the gate counted."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=1)
    returned = tmp_path / "returned.csv"
    received = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    returned.write_text(f"member_id,received_at\nM-00015,{received}\nM-00016,{received}\n")
    run_ballot("returns", ballot_id, returned, "--method", "postal")
    run_ballot("close", ballot_id)
    connection = await owner(stack)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(tampering, ballot_id)
    finally:
        await connection.close()

    message = refusal(run_ballot, "export", ballot_id, "--out", tmp_path / "export")

    assert message.startswith("ballot: no export: ")
    assert told in message
    assert not left(tmp_path)


async def test_an_export_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """An unwritable place and a full disk are told plainly; half an export never stays."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=4)
    run_ballot("close", ballot_id)
    out = tmp_path / "export"

    assert "/proc/e cannot be written" in refusal(run_ballot, "export", ballot_id, "--out", Path("/proc/e"))
    done = deskwork.run_on_small_disk(stack, "export", ballot_id, "--out", out, bytes_max=2000)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{out} cannot be written: File too large; no file is left" in done.stderr
    assert not left(tmp_path)
    run_ballot("export", ballot_id, "--out", out)
