"""The edge's processes are replaced one after the other while votes flow, and no voter notices."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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
CONFIRM_S = 1.0
SLOW_S = 4.6
"""Longer than the grace for idle connections and the queue's time together."""


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


@pytest.mark.parametrize("asked", [signal.SIGHUP, signal.SIGTERM], ids=["replaced", "stopped"])
async def test_a_vote_that_arrives_slowly_is_still_taken(
    scratch: Scratch, ballot_id: str, asked: signal.Signals
) -> None:
    """Its body is on its way when its process is asked to stop: it is accepted, and nothing is reset."""
    async with open_ballot(scratch, ballot_id) as poll:
        (voter,) = await poll.issue()
        vote = voter.vote(poll.document).to_json()
        with edge(scratch.env, settings={"BALLOT_CONFIRM_SECONDS": str(CONFIRM_S)}) as running:
            async with aiohttp.ClientSession(running.url) as web:
                await becomes(web, "ready")
            log = scratch.home.logs / "intake.log"
            parts = urlsplit(running.url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: vote\r\n\r\n")
            await reader.readuntil(b'"live"}')
            writer.write(b"POST %b HTTP/1.1\r\nHost: vote\r\n" % poll.path("votes").encode())
            writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(vote))
            os.kill(running.process.pid, asked)
            if asked is signal.SIGHUP:
                await until(lambda: said(log, "listening", times=2))
            for at in range(0, len(vote), len(vote) // 20):
                writer.write(vote[at : at + len(vote) // 20])
                await asyncio.sleep(SLOW_S / 20)
            answer = await reader.read()
            writer.close()
            assert not await said(log, "edge process killed: it did not stop")
        stored = await poll.stored()

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert len(stored) == 1


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


async def said(log: Path, action: str, *, times: int = 1) -> bool:
    """Whether the log says so, so many times."""
    return (await asyncio.to_thread(log.read_text)).count(f'"action":"{action}"') >= times
