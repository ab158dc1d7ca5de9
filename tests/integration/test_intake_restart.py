"""The edge's processes are replaced one after the other while votes flow, and no voter notices."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from runtime.home import Home
from runtime.servers import servers
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, until
from tests.integration.intake_scratch import Scratch, becomes, scratch_queue
from tests.integration.steady_load import steady_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

RATE = 40


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """A durable queue of one's own."""
    with scratch_queue(tmp_path) as running:
        yield running


@asynccontextmanager
async def open_ballot(scratch: Scratch, ballot: str) -> AsyncIterator[Booth]:
    """An open, published ballot."""
    home = Home.from_environment(scratch.env)
    with servers(home, scratch.env) as found:
        async with booth(found, ballot) as poll:
            await poll.arm()
            await poll.publish()
            yield poll


async def replaced(running: EdgeProcess, before: list[int]) -> bool:
    """Whether none of the processes is one of those before."""
    children = running.children()
    return len(children) == len(before) and not set(children) & set(before)


async def test_a_rolling_restart_refuses_and_resets_nobody(scratch: Scratch, ballot_id: str) -> None:
    """SIGHUP under a steady load, over kept and over new connections: every vote is accepted at once."""
    async with open_ballot(scratch, ballot_id) as poll:
        votes = (voter.vote(poll.document) for voter in await poll.issue(1_500))
        with edge(scratch.env, processes=2) as running:
            async with aiohttp.ClientSession(running.url) as web:
                await becomes(web, "ready")
            before = running.children()
            async with (
                steady_load(running.url, poll.id, votes, rate=RATE) as kept,
                steady_load(running.url, poll.id, votes, rate=RATE, fresh=True) as fresh,
            ):
                await kept.reaches(RATE)
                os.kill(running.process.pid, signal.SIGHUP)
                await until(lambda: replaced(running, before))
                await kept.reaches(RATE)
                await fresh.reaches(RATE)
            statuses = kept.statuses() + fresh.statuses()
        stored = await poll.stored()

    assert set(statuses) == {(201, "")}
    assert statuses.total() == len(stored) > 4 * RATE


async def test_a_replacement_that_is_no_use_is_given_up(scratch: Scratch, ballot_id: str) -> None:
    """New processes that cannot start change nothing: the one before goes on taking votes."""
    async with open_ballot(scratch, ballot_id) as poll:
        (voter,) = await poll.issue()
        with edge(scratch.env) as running:
            async with aiohttp.ClientSession(running.url) as web:
                await becomes(web, "ready")
                before = running.children()
                secret = scratch.home.secrets / "receipts.key"
                aside = secret.rename(secret.with_suffix(".aside"))
                os.kill(running.process.pid, signal.SIGHUP)
                log = scratch.home.logs / "intake.log"
                await until(lambda: said(log, "edge processes not replaced"))
                aside.rename(secret)
                async with steady_load(running.url, poll.id, [voter.vote(poll.document)], rate=10) as load:
                    await load.reaches(1)
                assert running.children() == before
                assert await asyncio.to_thread(running.process.poll) is None


async def said(log: Path, action: str) -> bool:
    """Whether the log says so."""
    return f'"action":"{action}"' in await asyncio.to_thread(log.read_text)
