"""The edge in front of a Cluster: each shard's votes go to its primary, whatever the others do."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from redis.crc import key_slot

from ballot import handoff
from runtime.home import Home
from runtime.servers import servers
from tests.conftest import environment_for
from tests.integration import cluster_rig
from tests.integration.intake_rig import Booth, booth, edge, shard_of, until
from tests.integration.intake_scratch import becomes, cast, readiness
from tests.integration.steady_load import steady_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.cluster_rig import Node, Rig
    from tests.integration.intake_rig import Voter

SHARDS = 16
REPLICATED = {"BALLOT_DURABILITY": "replicated", "BALLOT_REPLICAS": "1"}


@asynccontextmanager
async def open_ballot(rig: Rig, home: Home, env: dict[str, str], ballot: str) -> AsyncIterator[Booth]:
    """An open, published ballot of 16 shards on the Cluster, which is then the environment's queue."""
    env["BALLOT_VALKEY_URL"] = rig.url
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    with servers(home, env) as found:
        async with booth(found, ballot, shards=SHARDS) as poll:
            await poll.arm()
            await poll.publish()
            yield poll


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own."""
    return environment_for(tmp_path / "home")


@pytest.fixture
def home(env: dict[str, str]) -> Home:
    """A home with the secrets that edges and desk share."""
    found = Home.from_environment(env)
    for name in ("queue", "credential-digest", "receipts", "desk"):
        found.secret(name)
    return found


def slot(ballot: str, shard: int) -> int:
    """The slot that holds a shard."""
    return key_slot(handoff.gate_key(ballot, shard).encode())


def references(rig: Rig, poll: Booth) -> list[bytes]:
    """The reference of every vote in the queue."""
    found = []
    for shard in range(SHARDS):
        key = handoff.votes_key(poll.id, shard)
        for _, fields in rig.owner(key).ask("XRANGE", key, "-", "+"):
            found.append(fields[fields.index(b"ref") + 1])
    return found


def on(rig: Rig, poll: Booth, node: Node, voters: list[Voter]) -> list[Voter]:
    """The voters whose shard a node holds."""
    held = [shard for shard in range(SHARDS) if rig.owner(handoff.gate_key(poll.id, shard)) is node]
    return [voter for voter in voters if shard_of(voter, SHARDS) in held]


async def test_one_primary_that_stands_still_delays_nobody_elses_votes(
    home: Home, env: dict[str, str], tmp_path: Path, ballot_id: str
) -> None:
    """Its own voters get their 503 in time, then at once; the others' votes go on; then it is used again."""
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        async with open_ballot(rig, home, env, ballot_id) as poll:
            voters = await poll.issue(60)
            still = rig.owner(handoff.gate_key(poll.id, 0))
            there = on(rig, poll, still, voters)
            elsewhere = [voter for voter in voters if voter not in there]
            assert there
            assert elsewhere
            with edge(env, settings={"BALLOT_CONFIRM_SECONDS": "1"}) as running:
                async with aiohttp.ClientSession(running.url) as web:
                    await becomes(web, "ready")
                    assert (await cast(web, poll, elsewhere[0].vote(poll.document)))[0] == 201
                    rig.stop(still)
                    loop = asyncio.get_running_loop()
                    started = loop.time()
                    stuck = asyncio.create_task(cast(web, poll, there[0].vote(poll.document)))
                    others = [cast(web, poll, voter.vote(poll.document)) for voter in elsewhere[1:]]
                    assert {status for status, _ in await asyncio.gather(*others)} == {201}
                    went_on_s = loop.time() - started
                    assert (await stuck)[0] == 503
                    stuck_s = loop.time() - started
                    await until(lambda: unready(web))
                    started = loop.time()
                    assert (await cast(web, poll, there[1].vote(poll.document)))[0] == 503
                    refused_s = loop.time() - started

                    rig.resume(still)
                    await becomes(web, "ready")
                    votes = [cast(web, poll, voter.vote(poll.document)) for voter in there[2:]]
                    assert {status for status, _ in await asyncio.gather(*votes)} <= {201}
    assert went_on_s < 1
    assert 0.9 < stuck_s < 1.6
    assert refused_s < 0.25


async def unready(web: aiohttp.ClientSession) -> bool:
    """Whether the edge would not take every vote."""
    return await readiness(web) != "ready"


async def test_slots_move_while_votes_flow(
    home: Home, env: dict[str, str], tmp_path: Path, ballot_id: str
) -> None:
    """Shards move to another primary under load, one of them the old way: nobody is refused, none is lost."""
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        async with open_ballot(rig, home, env, ballot_id) as poll:
            voters = await poll.issue(600)
            votes = [voter.vote(poll.document) for voter in voters]
            with edge(env, processes=2) as running:
                async with aiohttp.ClientSession(running.url) as web:
                    await becomes(web, "ready")
                async with steady_load(running.url, poll.id, votes, rate=100) as load:
                    await load.reaches(50)
                    source = rig.owner(handoff.gate_key(poll.id, 0))
                    target = next(node for node in rig.primaries() if node is not source)
                    shards = [n for n in range(SHARDS) if rig.owner(handoff.gate_key(poll.id, n)) is source]
                    for shard in shards:
                        place = slot(poll.id, shard)
                        await asyncio.to_thread(rig.migrate_slots, source, target, place, place)
                    await load.reaches(100)
                assert set(load.statuses()) == {(201, "")}
            assert len(load.casts) == len(stored := references(rig, poll))
            assert {each.reference.encode() for each in load.receipts()} == set(stored)


@pytest.mark.long
async def test_a_shard_moved_the_old_way_loses_nothing(
    home: Home, env: dict[str, str], tmp_path: Path, ballot_id: str
) -> None:
    """Key by key, with ASK and TRYAGAIN on the way: a vote waits or is told to try again; none is lost."""
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        async with open_ballot(rig, home, env, ballot_id) as poll:
            voters = [voter for voter in await poll.issue(2_000) if shard_of(voter, SHARDS) < 4]
            votes = [voter.vote(poll.document) for voter in voters]
            with edge(env) as running:
                async with aiohttp.ClientSession(running.url) as web:
                    await becomes(web, "ready")
                async with steady_load(running.url, poll.id, votes, rate=50) as load:
                    await load.reaches(50)
                    await asyncio.to_thread(move_key_by_key, rig, home, slot(poll.id, 0))
                    await load.reaches(50)
                assert {status for status, _ in load.statuses()} <= {201, 503}
                await load.settle()
            assert len(load.casts) == len(stored := references(rig, poll))
            assert {each.reference.encode() for each in load.receipts()} == set(stored)


def move_key_by_key(rig: Rig, home: Home, place: int) -> None:
    """What was done before a slot could be moved in one step."""
    source = next(node for node in rig.primaries() if node.ask("CLUSTER COUNTKEYSINSLOT", place))
    target = next(node for node in rig.primaries() if node is not source)
    names = {node: node.ask("CLUSTER MYID").decode() for node in (source, target)}
    target.ask("CLUSTER SETSLOT", place, "IMPORTING", names[source])
    source.ask("CLUSTER SETSLOT", place, "MIGRATING", names[target])
    login = ("AUTH2", "admin", home.password("valkey-admin").reveal())
    for key in source.ask("CLUSTER GETKEYSINSLOT", place, 100):
        source.ask("MIGRATE", target.host, target.port, key, 0, 5_000, *login)
        time.sleep(0.1)  # so that votes meet every stage of it
    for node in (target, source, *rig.primaries()):
        node.ask("CLUSTER SETSLOT", place, "NODE", names[target])


@pytest.mark.long
async def test_a_killed_primarys_votes_are_on_its_replica(
    home: Home, env: dict[str, str], tmp_path: Path, ballot_id: str
) -> None:
    """At level replicated a primary dies under load: its replica takes over, and no accepted vote is lost."""
    with cluster_rig.cluster(home, tmp_path) as rig:
        async with open_ballot(rig, home, env, ballot_id) as poll:
            voters = await poll.issue(2_000)
            votes = [voter.vote(poll.document) for voter in voters]
            with edge(env, processes=2, settings=REPLICATED) as running:
                async with aiohttp.ClientSession(running.url) as web:
                    await becomes(web, "ready")
                    async with steady_load(running.url, poll.id, votes, rate=150) as load:
                        await load.reaches(300)
                        victim = rig.owner(handoff.gate_key(poll.id, 0))
                        (heir,) = await asyncio.to_thread(rig.replicas_of, victim)
                        await asyncio.to_thread(rig.kill, victim)
                        await load.until(lambda: heir.role == "primary", seconds=30)
                        await asyncio.to_thread(rig.restart, victim)
                        await asyncio.to_thread(rig.wait_well)
                        for node in rig.primaries():
                            rig.owner(handoff.TRUST_KEY).ask("HSET", handoff.TRUST_KEY, node.run, 1)
                        await becomes(web, "ready")
                    assert {status for status, _ in load.statuses()} <= {201, 503}
                    assert load.longest(503) < 2.25 + load.lag_s
                    await load.repeat([each for each in load.casts if each.receipts])
                    await load.settle()
            assert len(load.casts) == len(stored := references(rig, poll))
            assert {each.reference.encode() for each in load.receipts()} == set(stored)
