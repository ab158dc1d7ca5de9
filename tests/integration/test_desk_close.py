"""Opening and closing times: one instant on every shard, and nothing after it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ballot import handoff, receipt
from ballot.suite import keyed_digest
from runtime import valkey
from scrutineer import ballots, lifecycle
from scrutineer.gate import Gate
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import SHARDS, refusal


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


async def test_every_attempt_before_closing_is_stored(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Those too that are only counted, in the minute in which the ballot closes."""
    rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=SHARDS))
    run_ballot("open", ballot_id)
    vote = deskwork.seal(stack, ballot_id, next(iter(rows.values()))["code"], "yes")
    digest = keyed_digest(stack.home.secret("credential-digest"), vote.credential_sha256)
    keys = handoff.shard_keys(ballot_id, receipt.shard_of_digest(digest, SHARDS))
    client: Any = valkey.connect(stack.servers, "intake")
    for tries in (1_000, 10):
        await client.fcall("ballot_access", len(keys), *keys, *((digest, b"ip") * tries))
    await client.aclose()

    run_ballot("close", ballot_id)

    async with deskwork.desk_of(stack) as desk:
        stored = "SELECT sum(count) FROM ballot.attempts WHERE ballot = $1"
        assert await desk.votes.fetchval(stored, ballot_id) == 1_010
        assert not await desk.gate.exists(handoff.counted_key(ballot_id, 0))


async def test_a_shard_whose_clock_was_set_back_while_closing_is_waited_for(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as closed and open again when it is to keep that: closing goes on until the shard has latched."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=SHARDS)
    run_ballot("open", ballot_id)
    latch = Gate.latch
    set_back = [True]

    async def open_once(gate: Gate, shard: int) -> tuple[bool, int]:
        if shard == 1 and set_back:
            set_back.clear()
            return False, 0
        return await latch(gate, shard)

    monkeypatch.setattr(Gate, "latch", open_once)
    async with deskwork.desk_of(stack) as desk:
        await lifecycle.close_ballot(desk, ballot_id, wait=True)
        kept = [await desk.gate.hget(handoff.gate_key(ballot_id, shard), "state") for shard in range(SHARDS)]
    assert kept == [b"closed"] * SHARDS


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
    late = refusal(run_ballot, "extend", ballot_id, "--until", "9999-12-31T23:59:59Z")
    assert "--until is after the year 2100" in late


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


async def test_all_shards_close_at_one_instant_that_is_still_to_come(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard confirms the same instant before it comes; confirmed too late, none keeps it."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=4)
    run_ballot("open", ballot_id)
    set_closes = Gate.set_closes
    asked: list[tuple[int, int]] = []

    async def noted(gate: Gate, shard: int, closes_us: int) -> tuple[bool, int, str, int]:
        reply = await set_closes(gate, shard, closes_us)
        asked.append((closes_us, reply[1]))
        return reply

    async def too_late(gate: Gate, shard: int, closes_us: int) -> tuple[bool, int, str, int]:
        done, now_us, state, previous = await set_closes(gate, shard, closes_us)
        return done, max(now_us, closes_us), state, previous

    async with deskwork.desk_of(stack) as desk:
        gate = (await ballots.load(desk, ballot_id)).gate(desk)
        before = [state.closes_us for state in await gate.states()]
        monkeypatch.setattr(Gate, "set_closes", too_late)
        with pytest.raises(Exception, match="all keep the old one"):
            await lifecycle.close_ballot(desk, ballot_id, wait=False)
        assert [state.closes_us for state in await gate.states()] == before
        monkeypatch.setattr(Gate, "set_closes", noted)
        closes_us = await lifecycle.close_ballot(desk, ballot_id, wait=False)
        after = await gate.states()

    assert {state.closes_us for state in after} == {closes_us}
    assert [instant for instant, _ in asked] == [closes_us] * 4
    assert all(now_us < closes_us for _, now_us in asked)


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
        ("member_id,received_at\n ,2026-01-01T00:00:00Z\n", "line 2: member_id is empty"),
    ):
        file.write_text(content)
        assert told in refusal(run_ballot, "returns", ballot_id, file, "--method", "postal")
    async with deskwork.desk_of(stack) as desk:
        states = await (await ballots.load(desk, ballot_id)).gate(desk).states()
    assert states[0].voted["postal"] == 0
