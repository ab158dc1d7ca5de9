"""A real edge's journal: it names what voters were told, also after kill -9, and no vote suffers from it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from ballot import handoff
from ballot.acceptances import FILES, Acceptances
from ballot.encoding import Malformed
from tests.integration.intake_rig import edge, served_booth, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.conftest import Stack
    from tests.integration.intake_rig import Booth, EdgeProcess, Voter

JSON = {"Content-Type": "application/json"}


Ground = tuple["EdgeProcess", "Booth", aiohttp.ClientSession]


@pytest.fixture
async def ground(stack: Stack, ballot_id: str) -> AsyncIterator[Ground]:
    """An edge, an open ballot, and the way to it."""
    with edge(stack.env) as running:
        async with (
            aiohttp.ClientSession(running.url, headers=JSON) as web,
            served_booth(stack.servers, ballot_id, web) as poll,
        ):
            yield running, poll, web


async def cast(poll: Booth, web: aiohttp.ClientSession, voters: Sequence[Voter]) -> list[str]:
    """Cast a vote for each, one after the other; the references they were told."""
    told = []
    for voter in voters:
        body = voter.vote(poll.document).to_json()
        async with web.post(poll.path("votes"), data=body) as answer:
            assert answer.status == 201
            told.append((await answer.json())["reference"])
        async with web.post(poll.path("votes"), data=body) as again:  # a repeated vote is not another
            assert again.status == 200
    return told


def journaled(poll: Booth) -> dict[str, int]:
    """The number of every reference of the ballot in the journals; a line that was torn is left out."""
    found: dict[str, int] = {}
    for path in poll.home.journal.glob(FILES):
        for line in path.read_bytes().splitlines():
            try:
                read = Acceptances.from_line(line)
            except Malformed:
                continue
            if read.ballot == poll.id:
                assert not set(read.references) & set(found)
                found |= dict(zip(read.references, read.numbers, strict=True))
    return found


def files(poll: Booth) -> int:
    """How many journals name the ballot."""
    return sum(poll.id.encode() in path.read_bytes() for path in poll.home.journal.glob(FILES))


async def numbered(poll: Booth) -> dict[str, int]:
    """The number of every reference in the queue."""
    entries = await poll.stored()
    fields = (handoff.REFERENCE_FIELD, handoff.NUMBER_FIELD)
    return {entry[fields[0]].decode(): int(entry[fields[1]]) for entry in entries}


async def has(poll: Booth, references: Sequence[str]) -> bool:
    """Whether the journals name all of these."""
    return set(references) <= set(journaled(poll))


async def test_kill_9_costs_no_more_than_the_last_second(ground: Ground) -> None:
    """What was written is there, with the gate's own numbers; the process that comes next begins a file."""
    running, poll, web = ground
    voters = await poll.issue(30)
    told = await cast(poll, web, voters[:20])
    await until(lambda: has(poll, told))
    (child,) = running.children()
    os.kill(child, signal.SIGKILL)

    async def ready_again() -> Any:
        if running.children() in ([], [child]):
            return False
        try:
            async with web.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await until(ready_again)
    told += await cast(poll, web, voters[20:])
    await until(lambda: has(poll, told))

    assert journaled(poll) == await numbered(poll)
    assert sorted(journaled(poll).values()) == list(range(1, 31))
    assert files(poll) == 2


async def test_votes_go_on_without_a_journal(stack: Stack, ballot_id: str) -> None:
    """Its folder goes, then comes back: every vote is accepted, and what was noted is written by the end."""
    with edge(stack.env) as running:
        async with (
            aiohttp.ClientSession(running.url, headers=JSON) as web,
            served_booth(stack.servers, ballot_id, web) as poll,
        ):
            voters = await poll.issue(9)
            folder, log = poll.home.journal, poll.home.logs / "intake.log"
            before = log.stat().st_size

            async def said() -> bool:
                return b'"journal not written"' in log.read_bytes()[before:]

            folder.rename(folder.with_name("elsewhere"))
            try:
                told = await cast(poll, web, voters[:3])
                await until(said)
                told += await cast(poll, web, voters[3:6])
            finally:
                folder.with_name("elsewhere").rename(folder)
            await until(lambda: has(poll, told))
            assert len(running.children()) == 1
            told += await cast(poll, web, voters[6:])  # what waits when the edge is asked to stop

    assert set(told) == set(journaled(poll))
