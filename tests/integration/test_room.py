"""There is memory for every vote still to come: asked before a ballot opens, and kept from floods."""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ballot.receipt import draw_reference
from runtime import valkey
from runtime.addresses import ADMIN
from scrutineer.room import shard_bytes
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
        await admin.config_set("maxmemory", await used(admin) + (20 << 20))
        told = refusal(run_ballot, "open", ballot_id)
        named = re.search(r"set `maxmemory` to (\d+) or more", told)
        assert named, told
        wanted = int(named[1])
        await admin.config_set("maxmemory", wanted - (1 << 20))
        assert "`maxmemory`" in refusal(run_ballot, "open", ballot_id)
        await admin.config_set("maxmemory", wanted + (1 << 20))

        run_ballot("open", ballot_id)


async def test_no_flood_takes_the_memory_of_the_votes(stack: Stack, ballot_id: str) -> None:
    """With just the memory that opening asks for, tries fill all their budgets, and all voters vote."""
    async with booth(stack.servers, ballot_id) as poll, bounded(stack) as admin:
        await poll.arm()
        voters = await poll.issue(VOTERS)
        flooders = await poll.issue(FLOODERS)
        room = shard_bytes(voters=VOTERS, padded_size=RECORD_BYTES - 1_336)
        await admin.config_set("maxmemory", await used(admin) + room)

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
