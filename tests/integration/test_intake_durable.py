"""Votes are taken only by a queue that keeps what it takes: on disk, alone, whole, and vouched for."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
import pytest

from runtime.home import Home
from runtime.servers import Servers, servers
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, vouch
from tests.integration.intake_scratch import DURABLE, Scratch, becomes, cast, readiness, scratch_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """A durable queue of one's own."""
    with scratch_queue(tmp_path) as running:
        yield running


@pytest.fixture
def configured(scratch: Scratch) -> Iterator[Servers]:
    """The scratch queue as a configured server."""
    home = Home.from_environment(scratch.env)
    with servers(home, scratch.env) as found:
        yield found


@pytest.fixture
def edges(scratch: Scratch) -> Iterator[EdgeProcess]:
    """One edge process in front of it, with short bounds."""
    with edge(scratch.env, settings={"BALLOT_CONFIRM_SECONDS": "1"}) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge."""
    async with aiohttp.ClientSession(edges.url) as session:
        yield session


@pytest.fixture
async def poll(configured: Servers, ballot_id: str) -> AsyncIterator[Booth]:
    """An open, published ballot."""
    async with booth(configured, ballot_id) as found:
        await found.arm()
        await found.publish()
        yield found


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendonly", "no"),
    ],
)
async def test_a_queue_that_could_lose_votes_gets_none(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth, setting: str, value: str
) -> None:
    """Not ready and 503 while a setting is wrong, noticed within seconds; ready again once put right."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)
    await becomes(web, "ready")

    with closing(scratch.admin()) as admin:
        admin.config_set(setting, value)
        await becomes(web, "not_durable")
        assert (await cast(web, poll, vote))[0] == 503
        assert not await poll.stored()
        admin.config_set(setting, {**DURABLE, "appendonly": "yes"}[setting])

    await becomes(web, "ready")
    assert (await cast(web, poll, vote))[0] == 201


async def test_a_queue_with_a_replica_gets_no_votes(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth, tmp_path: Path
) -> None:
    """A replica could take the primary's place without the votes that only the primary's disk holds."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)
    await becomes(web, "ready")

    with scratch.replica(tmp_path):
        await becomes(web, "has_replicas")
        assert (await cast(web, poll, vote))[0] == 503

    # Its first replica gave the primary another replication id, as if it had been a replica itself.
    await vouch(poll.worker)
    await becomes(web, "ready")
    assert (await cast(web, poll, vote))[0] == 201


async def test_the_first_rewrite_is_waited_for(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Switched on, the file holds nothing until its first rewrite ends; an ordinary one stops no votes."""
    voters = await poll.issue(20)
    vote = voters[0].vote(poll.document)
    await becomes(web, "ready")

    with closing(scratch.admin()) as admin:
        admin.config_set("rdb-key-save-delay", 100_000)
        admin.config_set("appendonly", "no")
        await becomes(web, "not_durable")
        admin.config_set("appendonly", "yes")
        await becomes(web, "rewriting")
        assert (await cast(web, poll, vote))[0] == 503
        admin.config_set("rdb-key-save-delay", 0)
        admin.config_set("appendonly", "no")
        admin.config_set("appendonly", "yes")
        await becomes(web, "ready")

        admin.config_set("rdb-key-save-delay", 1_000_000)
        admin.bgrewriteaof()
        await asyncio.sleep(2.5)  # the edge looks every two seconds
        assert admin.info("persistence")["aof_rewrite_in_progress"] == 1
        assert await readiness(web) == "ready"
        assert (await cast(web, poll, vote))[0] == 201
        admin.config_set("rdb-key-save-delay", 0)


async def test_a_restarted_queue_takes_votes_only_once_vouched_for(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Killed and started again: 503 until a worker wrote its trust mark; the earlier vote is still there."""
    before, after = await poll.issue(2)
    first, second = before.vote(poll.document), after.vote(poll.document)
    await becomes(web, "ready")
    status, receipt = await cast(web, poll, first)
    assert status == 201

    scratch.send(signal.SIGKILL)
    assert (await cast(web, poll, second))[0] == 503
    scratch.start()
    await becomes(web, "not_trusted")
    assert (await cast(web, poll, second))[0] == 503
    await poll.worker.connection_pool.disconnect()
    await vouch(poll.worker)

    await becomes(web, "ready")
    assert (await cast(web, poll, second))[0] == 201
    status, again = await cast(web, poll, first)
    assert (status, again["reference"]) == (200, receipt["reference"])
