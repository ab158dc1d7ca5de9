"""There is memory for every vote still to come: asked before a ballot opens, and kept from floods."""

from __future__ import annotations

import json
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ballot import gate_layout, handoff
from ballot.receipt import draw_reference
from runtime import valkey
from runtime.addresses import ADMIN
from scrutineer import ballots, room
from scrutineer.room import Logs, tries_bytes, votes_bytes
from tests.integration import deskwork
from tests.integration.deskwork import refusal
from tests.integration.intake_rig import booth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import RunBallot, Stack
    from tests.integration.intake_rig import Booth

VOTERS = 300
FLOODERS = 80
RECORD_BYTES = 2_000
SEALED_IP = b"i" * 90


@asynccontextmanager
async def bounded(stack: Stack) -> AsyncIterator[Any]:
    """Return the administrator's client; the queue's memory is bounded no more afterwards."""
    admin: Any = valkey.connect(stack.servers, ADMIN)
    try:
        yield admin
    finally:
        await admin.config_set("maxmemory", 0)
        await admin.aclose()


async def used(admin: Any) -> int:
    """Return what the queue uses."""
    return int((await admin.info("memory"))["used_memory"])


async def test_a_ballot_opens_only_with_memory_for_its_votes(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Refused, the setting and its value are named; with that value it opens, with less it does not."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=2)

    async with bounded(stack) as admin:
        await admin.config_set("maxmemory", await used(admin) + (5 << 20))
        told = refusal(run_ballot, "open", ballot_id)
        named = re.search(r"set `maxmemory` to (\d+) or more", told)
        assert named, told
        wanted = int(named[1])
        await admin.config_set("maxmemory", wanted - (1 << 20))
        assert "`maxmemory`" in refusal(run_ballot, "open", ballot_id)
        await admin.config_set("maxmemory", wanted + (1 << 20))

        run_ballot("open", ballot_id)


def test_a_log_asks_for_what_it_may_still_take() -> None:
    """Few codes cannot fill it, what stands in it is in use already, and without codes only strangers try."""
    unknown = gate_layout.UNKNOWN_TRIES_BYTES
    whole = gate_layout.ATTEMPTS_BYTES + gate_layout.COUNTS_BYTES + unknown

    assert tries_bytes(codes=0, logs=Logs()) == unknown
    assert tries_bytes(codes=0, logs=Logs(unknown=1 << 30)) == 0
    assert tries_bytes(codes=4, logs=Logs()) < 7 * gate_layout.MIB
    assert tries_bytes(codes=1_000_000, logs=Logs()) == whole
    assert tries_bytes(codes=1_000_000, logs=Logs(attempts=60_000, counted=8_192, unknown=0)) == (
        whole - 60_000 * gate_layout.TRY_BYTES - gate_layout.COUNTS_BYTES
    )


async def test_a_ballot_by_post_alone_asks_for_no_votes(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Nobody votes online in it: what strangers may try is asked for, and no more."""
    file = tmp_path / "ballot.toml"
    file.write_text(deskwork.definition(ballot_id, methods='["postal"]'))
    run_ballot("create", file, "--shards", "4")
    sent = json.dumps(deskwork.key_registration(ballot_id, result_seed=os.urandom(32)))
    run_ballot("keyring", "register", ballot_id, "-", input=sent)
    roll = deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(30))
    run_ballot("roll", "import", ballot_id, roll)

    async with deskwork.desk_of(stack) as desk:
        asked = await room.shard_needs(desk, await ballots.load(desk, ballot_id))

    assert asked == [gate_layout.UNKNOWN_TRIES_BYTES] * 4


async def test_what_the_logs_hold_is_asked_for_once(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """It is in the memory that the queue uses, so another ballot's opening does not count it again."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=1)
    tries = 500
    async with bounded(stack) as admin, deskwork.desk_of(stack) as desk:
        stored = await ballots.load(desk, ballot_id)
        [before] = await room.shard_needs(desk, stored)
        for key in (handoff.attempts_key(ballot_id, 0), handoff.unknown_tries_key(ballot_id, 0)):
            for _ in range(tries):
                await admin.xadd(key, {"k": "vote"})
        await admin.hset(handoff.counted_key(ballot_id, 0), "one", "count")
        [after] = await room.shard_needs(desk, stored)

    assert before - after == 2 * tries * gate_layout.TRY_BYTES + gate_layout.COUNTED_BYTES


async def test_no_flood_takes_the_memory_of_the_votes(stack: Stack, ballot_id: str) -> None:
    """With just the memory that opening asks for, tries fill all their budgets, and all voters vote."""
    async with booth(stack.servers, ballot_id) as poll, bounded(stack) as admin:
        await poll.arm()
        voters = await poll.issue(VOTERS)
        flooders = await poll.issue(FLOODERS)
        wanted = votes_bytes(voters=VOTERS, padded_size=RECORD_BYTES - 1_336)
        wanted += tries_bytes(codes=VOTERS + FLOODERS, logs=Logs())
        await admin.config_set("maxmemory", await used(admin) + wanted)

        await flood(poll, [each.digest for each in flooders])
        replies = [await poll.call("ballot_cast", *row(voter.digest)) for voter in voters]

    assert {bytes(reply[3][0]) for reply in replies} == {b"accepted"}


async def flood(poll: Booth, digests: list[bytes]) -> None:
    """Try with issued credentials until their log is full and far beyond, with others too."""
    for _ in range(2):
        for digest in digests:
            await poll.call("ballot_access", *((digest, SEALED_IP) * 1_000))
    for _ in range(40):
        unknown = os.urandom(32 * 1_000)
        rows = [part for at in range(0, len(unknown), 32) for part in (unknown[at : at + 32], SEALED_IP)]
        await poll.call("ballot_access", *rows)


def row(digest: bytes) -> list[bytes | str]:
    """Return a vote as an edge sends it."""
    reference = draw_reference(0, 1, random=os.urandom)
    return [digest, os.urandom(16), reference, os.urandom(RECORD_BYTES), os.urandom(32), SEALED_IP]
