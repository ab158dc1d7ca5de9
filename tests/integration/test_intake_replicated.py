"""At level `replicated` a vote is confirmed when it is on every replica's disk, and not before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from runtime.home import Home
from runtime.servers import servers
from tests.conftest import environment_for
from tests.integration import cluster_rig
from tests.integration.intake_rig import Booth, booth, edge
from tests.integration.intake_scratch import becomes, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ballot.vote import CastVote
    from tests.integration.cluster_rig import Rig

LEVEL = {"BALLOT_DURABILITY": "replicated", "BALLOT_REPLICAS": "1"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own."""
    return environment_for(tmp_path / "home")


@pytest.fixture
def home(env: dict[str, str]) -> Home:
    """A home with the secrets that edges and desk share, made before a server is configured."""
    found = Home.from_environment(env)
    for name in ("queue", "credential-digest", "receipts", "desk"):
        found.secret(name)
    return found


@pytest.fixture
def rig(home: Home, env: dict[str, str], tmp_path: Path) -> Iterator[Rig]:
    """A primary and one replica; no database, which the edge never needs."""
    with cluster_rig.replicated(home, tmp_path) as found:
        env["BALLOT_VALKEY_URL"] = found.url
        env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
        yield found


@pytest.fixture
async def poll(rig: Rig, home: Home, env: dict[str, str], ballot_id: str) -> AsyncIterator[Booth]:
    """An open, published ballot."""
    assert rig.alive
    with servers(home, env) as found:
        async with booth(found, ballot_id) as opened:
            await opened.arm()
            await opened.publish()
            yield opened


async def test_no_vote_is_confirmed_without_its_replica(rig: Rig, env: dict[str, str], poll: Booth) -> None:
    """With the replica stopped: 503, and 503 on a retry over a new connection; then the first's receipt."""
    first, second = await poll.issue(2)
    vote, another = first.vote(poll.document), second.vote(poll.document)
    _, replica = rig.nodes
    with edge(env, settings=LEVEL) as one, edge(env, settings=LEVEL) as other:
        async with aiohttp.ClientSession(one.url) as web, aiohttp.ClientSession(other.url) as elsewhere:
            await becomes(web, "ready")
            await becomes(elsewhere, "ready")
            assert (await cast(web, poll, another))[0] == 201

            rig.stop(replica)
            assert (await cast(web, poll, vote))[0] == 503
            (original,) = [entry for entry in await poll.stored() if entry[b"u"] == first.uin]
            await becomes(web, "replicas_behind")
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert (await cast(web, poll, vote))[0] == 503
            assert loop.time() - started < 0.25
            # The other edge's connection wrote nothing yet: that the retry writes makes it wait all the same.
            assert (await cast(elsewhere, poll, vote))[0] == 503
            assert (await cast(elsewhere, poll, another))[0] == 503

            rig.resume(replica)
            await becomes(web, "ready")
            status, receipt = await cast(web, poll, vote)

    assert status == 200
    assert receipt["reference"].encode() == original[b"ref"]
    assert len(await poll.stored()) == 2


async def test_exactly_the_replicas_waited_for(rig: Rig, env: dict[str, str], poll: Booth) -> None:
    """A replica that is gone, or one more than waited for, and votes are refused; the log says what to do."""
    (voter,) = await poll.issue()
    primary, replica = rig.nodes
    with edge(env, settings=LEVEL) as running, edge(env) as alone:
        async with aiohttp.ClientSession(running.url) as web, aiohttp.ClientSession(alone.url) as disk:
            await becomes(web, "ready")
            await becomes(disk, "has_replicas")

            rig.kill(replica)
            await becomes(web, "replicas_missing")
            assert (await cast(web, poll, voter.vote(poll.document)))[0] == 503
            await becomes(disk, "ready")
            rig.restart(replica)
            replica.ask("REPLICAOF", primary.host, primary.port)
            await becomes(web, "ready")
            await becomes(disk, "has_replicas")

            primary.ask("REPLICAOF", replica.host, replica.port)
            await becomes(web, "replica")
            assert (await cast(web, poll, voter.vote(poll.document)))[0] == 503
    assert not await poll.stored()
    log = (poll.home.logs / "intake.log").read_text()
    assert "BALLOT_DURABILITY=replicated and BALLOT_REPLICAS=1" in log
    assert "votes must reach 1: connect" in log


async def test_who_takes_the_primarys_place_has_every_vote(
    rig: Rig, env: dict[str, str], poll: Booth
) -> None:
    """The primary is killed and its replica promoted: each accepted vote's retry gets its reference."""
    voters = await poll.issue(30)
    votes = [voter.vote(poll.document) for voter in voters]
    primary, replica = rig.nodes
    with edge(env, settings=LEVEL) as running:
        async with aiohttp.ClientSession(running.url) as web:
            await becomes(web, "ready")
            before = [receipt for status, receipt in await _cast_all(web, poll, votes) if status == 201]
    assert len(before) == len(votes)

    rig.kill(primary)
    rig.promote(replica)
    replica.ask("HSET", "ballot:trust", replica.run, 1)
    moved = {**env, "BALLOT_VALKEY_URL": f"valkey://{replica.host}:{replica.port}"}
    with edge(moved) as heir:
        async with aiohttp.ClientSession(heir.url) as web:
            await becomes(web, "ready")
            again = await _cast_all(web, poll, votes)

    assert [status for status, _ in again] == [200] * len(votes)
    assert [each["reference"] for _, each in again] == [each["reference"] for each in before]


async def _cast_all(
    web: aiohttp.ClientSession, poll: Booth, votes: list[CastVote]
) -> list[tuple[int, dict[str, Any]]]:
    return await asyncio.gather(*(cast(web, poll, vote) for vote in votes))
