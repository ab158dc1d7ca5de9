"""From closing to the export: exact, drained, balanced, examined again, and nothing that names a voter."""

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
from scrutineer import ballots, lifecycle
from scrutineer.gate import Gate
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork

VOTERS = 20
SHARDS = 2


async def voted(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot: str, *, votes: int
) -> list[CastVote]:
    """An open ballot of twenty voters in two shards in which the first `votes` have voted."""
    rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot, voters=VOTERS, shards=SHARDS))
    run_ballot("open", ballot)
    sealed = [deskwork.seal(stack, ballot, rows[member]["code"], "yes") for member in sorted(rows)[:votes]]
    for vote in sealed:
        assert await deskwork.cast(stack, ballot, vote, shards=SHARDS) == "accepted"
    return sealed


def refusal(run_ballot: RunBallot, *command: str | Path) -> str:
    """The one message of a command that must be refused."""
    done = run_ballot(*command, check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


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


async def until_closed(stack: Stack, ballot: str) -> None:
    """Wait until every shard says it is closed."""
    async with deskwork.desk_of(stack) as desk:
        gate = (await ballots.load(desk, ballot)).gate(desk)
        async with asyncio.timeout(10):
            while not all(state.closed for state in await gate.states()):  # noqa: ASYNC110  # the gate tells nobody
                await asyncio.sleep(0.02)


async def test_after_close_nothing_is_accepted_and_nothing_reopens_it(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A vote after close is refused on every shard, extending is refused, and closing again only waits."""
    rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=8, shards=SHARDS))
    run_ballot("open", ballot_id)

    run_ballot("close", ballot_id)

    for row in rows.values():
        vote = deskwork.seal(stack, ballot_id, row["code"], "yes")
        assert await deskwork.cast(stack, ballot_id, vote, shards=SHARDS) == "not_open"
    assert "has closed" in refusal(run_ballot, "extend", ballot_id, "--until", "2040-01-01T00:00:00Z")
    assert "is closed" in refusal(
        run_ballot, "codes", "reissue", ballot_id, "M-00001", "--out", tmp_path / "no.csv"
    )
    run_ballot("close", ballot_id)
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (told["state"], told["balanced"]) == ("closed", True)


async def test_extending_moves_every_shard_and_only_forward(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A later time holds on every shard; a past, an earlier and an unreadable one are refused."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=8)
    run_ballot("open", ballot_id)

    run_ballot("extend", ballot_id, "--until", "2040-01-01T00:00:00+01:00")

    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert told["closes"] == "2039-12-31T23:00:00Z"
    assert "has passed" in refusal(run_ballot, "extend", ballot_id, "--until", "2020-01-01T00:00:00Z")
    assert "closes early" in refusal(run_ballot, "extend", ballot_id, "--until", "2039-01-01T00:00:00Z")
    assert "not a time" in refusal(run_ballot, "extend", ballot_id, "--until", "tomorrow")


async def test_a_closing_time_that_one_shard_did_not_take_is_taken_back_everywhere(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard fails to confirm: all keep the old time, and the ballot stays open."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=4)
    run_ballot("open", ballot_id)
    set_closes = Gate.set_closes
    failures = [True]

    async def fail_once(gate: Gate, shard: int, closes_us: int) -> tuple[bool, int, str, int]:
        if shard == 2 and failures:
            failures.clear()
            raise ConnectionError("the shard is away")
        return await set_closes(gate, shard, closes_us)

    async with deskwork.desk_of(stack) as desk:
        gate = (await ballots.load(desk, ballot_id)).gate(desk)
        before = [state.closes_us for state in await gate.states()]
        monkeypatch.setattr(Gate, "set_closes", fail_once)
        with pytest.raises(Exception, match="all keep the old one"):
            await lifecycle.close_ballot(desk, ballot_id, wait=False)
        after = await gate.states()

    assert [state.closes_us for state in after] == before
    assert {state.state for state in after} == {"open"}


async def test_returns_with_faults_record_nothing(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Wrong columns, times, repetitions and unknown members are told, and no voter is marked."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3)
    file = tmp_path / "returns.csv"
    file.write_text("member_id,received_at\nM-00001,2026-01-01T00:00:00Z\n")
    assert "never opened" in refusal(run_ballot, "returns", ballot_id, file, "--method", "postal")
    run_ballot("open", ballot_id)
    for content, told in (
        ("member,when\n", "line 1: the header"),
        ("member_id,received_at\nM-00001,soon\n", "line 2: received_at is not a time"),
        ("member_id,received_at\nM-00001,2039-01-01T00:00:00Z\n", "line 2: received_at is in the future"),
        (
            "member_id,received_at\nM-00001,2026-01-01T00:00:00Z\nM-00001,2026-01-01T00:00:00Z\n",
            "line 3: the member",
        ),
        (
            "member_id,received_at\nM-00001,2026-01-01T00:00:00Z\nX,2026-01-01T00:00:00Z\n",
            "not on the roll: X",
        ),
        ("member_id,received_at\n", "no return"),
    ):
        file.write_text(content)
        assert told in refusal(run_ballot, "returns", ballot_id, file, "--method", "postal")
    async with deskwork.desk_of(stack) as desk:
        states = await (await ballots.load(desk, ballot_id)).gate(desk).states()
    assert states[0].voted["postal"] == 0


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
        ("UPDATE ballot.votes SET sealed = sealed || '\\x00'::bytea WHERE ballot = $1", "sealed bytes"),
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
