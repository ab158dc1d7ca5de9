"""When the queue or a process goes away: honest 503s, nothing half taken, recovery by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
import pytest

from ballot import handoff
from runtime.home import Home
from runtime.servers import Servers, servers
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, until
from tests.integration.intake_scratch import Scratch, access, becomes, cast, scratch_queue

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


@pytest.mark.long
async def test_a_longer_bound_is_kept(scratch: Scratch, poll: Booth) -> None:
    """A queue that stands still for longer than five seconds costs nobody an answer when more is allowed."""
    (voter,) = await poll.issue()
    with edge(scratch.env, settings={"BALLOT_CONFIRM_SECONDS": "20"}) as running:
        async with aiohttp.ClientSession(running.url) as patient:
            await becomes(patient, "ready")
            await until(lambda: is_status(patient, poll.path("document"), 200))
            scratch.send(signal.SIGSTOP)
            answer = asyncio.create_task(cast(patient, poll, voter.vote(poll.document)))
            await asyncio.wait([answer], timeout=5.5)
            scratch.send(signal.SIGCONT)

            assert (await answer)[0] == 201


async def test_a_queue_that_hangs_gets_an_honest_answer_in_time(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """While the queue stands still: 503 within the bound; later a retry finds out what became of the vote."""
    voters = await poll.issue(3)
    votes = [voter.vote(poll.document) for voter in voters]
    await becomes(web, "ready")
    assert (await cast(web, poll, votes[0]))[0] == 201

    scratch.send(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    started = loop.time()
    asked = asyncio.create_task(access(web, poll, voters[0]))
    answers = await asyncio.gather(*(cast(web, poll, vote) for vote in votes))
    waited = loop.time() - started
    scratch.send(signal.SIGCONT)

    assert [status for status, _ in answers] == [503, 503, 503]
    assert waited < 2.5
    status, body = await asked
    assert (status, body["error"]) == (503, "not_confirmed")
    assert "vote" not in body["message"]
    await becomes(web, "ready")
    for vote in votes:
        assert (await cast(web, poll, vote))[0] in {200, 201}
        assert (await cast(web, poll, vote))[0] == 200
    assert len(await poll.stored()) == 3


async def test_a_ballot_is_still_shown_while_the_queue_hangs(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """The page has its ballot as last read; readers of receipts may try again; the log says it once."""
    await becomes(web, "ready")
    ballot, receipt = f"/api/v1/ballots/{poll.id}", poll.path("receipts/0123-4567-89AB-CDEF")

    async def status(path: str) -> int:
        async with web.get(path) as response:
            return response.status

    assert await status(ballot) == 200
    scratch.send(signal.SIGSTOP)
    await asyncio.sleep(1.1)  # what was read is old by then
    shown = await asyncio.gather(*(status(path) for path in [ballot, receipt] * 20))
    shown_again = await status(ballot)
    scratch.send(signal.SIGCONT)

    assert shown == [200, 503] * 20
    assert shown_again == 200
    await until(lambda: is_status(web, receipt, 404))
    log = (scratch.home.logs / "intake.log").read_text()
    assert log.count("queue does not answer reads") == log.count("queue answers reads again") == 1


async def test_while_a_shard_is_recovered_its_votes_get_an_honest_answer(
    web: aiohttp.ClientSession, poll: Booth
) -> None:
    """The edge knows of no recovery and the gate takes nothing: 503, safe to try again; then it is taken."""
    (voter,) = await poll.issue()
    vote, gate = voter.vote(poll.document), handoff.gate_key(poll.id, 0)
    await becomes(web, "ready")
    await poll.desk.hset(gate, "recovering", "1")
    status, body = await cast(web, poll, vote)
    assert (status, body["error"], body["retry"]) == (503, "not_confirmed", True)
    await poll.desk.hdel(gate, "recovering")

    async def taken() -> bool:
        return (await cast(web, poll, vote))[0] == 201

    await until(taken)


async def test_unknown_ballots_wait_in_no_line_while_the_queue_hangs(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """All who ask meanwhile share one attempt; after it, who asks within a second is refused at once."""
    await becomes(web, "ready")
    loop = asyncio.get_running_loop()
    paths = [f"/api/v1/ballots/unknown-{number}" for number in range(15)]
    paths.append(poll.path("document"))  # there, but this edge has not loaded it

    async def refused(path: str) -> bool:
        async with web.get(path) as response:
            return response.status == 503 and (await response.json())["error"] == "not_confirmed"

    scratch.send(signal.SIGSTOP)
    started = loop.time()
    first = await asyncio.gather(*map(refused, paths))
    first_s, started = loop.time() - started, loop.time()
    again = await asyncio.gather(*map(refused, paths))
    again_s = loop.time() - started
    scratch.send(signal.SIGCONT)

    assert all(first)
    assert all(again)
    assert first_s < 3.5
    assert again_s < 0.5
    await until(lambda: is_status(web, paths[0], 404))
    await until(lambda: is_status(web, paths[-1], 200))


async def is_status(web: aiohttp.ClientSession, path: str, wanted: int) -> bool:
    """Say whether reading `path` gives this status."""
    async with web.get(path) as response:
        return response.status == wanted


async def test_a_full_queue_refuses_and_recovers(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Out of memory is a 503 with nothing taken; with room again the same vote is accepted."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)
    await becomes(web, "ready")

    with closing(scratch.admin()) as admin:
        admin.config_set("maxmemory", "1mb")
        assert (await cast(web, poll, vote))[0] == 503
        admin.config_set("maxmemory", "0")

    async def accepted() -> bool:
        return (await cast(web, poll, vote))[0] == 201

    await until(accepted)
    assert len(await poll.stored()) == 1


async def test_a_killed_edge_process_is_replaced_and_loses_nothing(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Within a second another one takes votes on the same port; what was accepted stays accepted."""
    one, two = await poll.issue(2)
    vote = one.vote(poll.document)
    await becomes(web, "ready")
    assert (await cast(web, poll, vote))[0] == 201
    (killed,) = edges.children()

    os.kill(killed, signal.SIGKILL)

    async with aiohttp.ClientSession(edges.url) as fresh:
        await becomes(fresh, "ready")
        assert (await cast(fresh, poll, vote))[0] == 200
        assert (await cast(fresh, poll, two.vote(poll.document)))[0] == 201
    assert edges.children() != [killed]


async def test_stopping_answers_what_was_begun(
    scratch: Scratch, edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """SIGTERM while votes wait for the queue: they are answered, then the processes end with code 0."""
    voters = await poll.issue(20)
    await becomes(web, "ready")

    scratch.send(signal.SIGSTOP)
    begun = [asyncio.create_task(cast(web, poll, voter.vote(poll.document))) for voter in voters]
    await asyncio.wait(begun, timeout=0.3)
    edges.process.send_signal(signal.SIGTERM)
    scratch.send(signal.SIGCONT)
    answers = await asyncio.gather(*begun)

    assert {status for status, _ in answers} == {201}
    assert await asyncio.to_thread(edges.process.wait, 20) == 0
    assert len(await poll.stored()) == 20


async def test_edge_processes_end_with_their_parent(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """A parent that is killed leaves no process on the port."""
    await becomes(web, "ready")
    (child,) = edges.children()

    edges.process.kill()

    async def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return False

    await until(gone)
