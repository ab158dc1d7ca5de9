"""Complaints and a queue that is restarted, stopped, replicated or a Cluster: 201 means that it is kept."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from ballot import complaint, handoff
from runtime.home import Home
from runtime.servers import servers
from tests.integration import cluster_rig
from tests.integration.complaint_rig import caller, lodge, sealed, stored, storing
from tests.integration.intake_rig import edge, until
from tests.integration.intake_scratch import readiness, scratch_queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from ballot.complaint import Lodged
    from tests.conftest import Stack

STREAM = handoff.COMPLAINTS_KEY
SOON = {"BALLOT_CONFIRM_SECONDS": "0.5"}


def taken(web: aiohttp.ClientSession, lodged: Lodged) -> Callable[[], Awaitable[bool]]:
    """Whether it is taken now."""

    async def once() -> bool:
        return (await lodge(web, lodged))[0] == 201

    return once


async def test_without_databases_and_without_trust_complaints_are_taken(tmp_path: Path) -> None:
    """No database; a queue killed and started again that nobody vouches for: 201. Away: 503 in time."""
    with scratch_queue(tmp_path) as scratch:
        scratch.home.secret("complaints")
        first, second = sealed(scratch.home, "first"), sealed(scratch.home, "second")
        with edge(scratch.env, settings=SOON) as running:
            async with caller(running.url) as web:
                assert (await lodge(web, first))[0] == 201
                assert await readiness(web) == "not_trusted"
                scratch.send(signal.SIGKILL)
                status, body = await lodge(web, second)
                assert (status, body["retry"]) == (503, True)
                scratch.start()
                await until(taken(web, second))
                assert await readiness(web) != "ready"
                scratch.send(signal.SIGSTOP)
                assert (await lodge(web, second))[0] == 503
                scratch.send(signal.SIGCONT)
                await until(taken(web, second))
        with scratch.admin() as admin:
            found: Any = admin.xrange(STREAM)
        kept = [fields[b"s"] for _, fields in found]
        assert kept[0] == first.sealed
        assert set(kept[1:]) == {second.sealed}


async def test_at_level_replicated_the_replica_is_waited_for(tmp_path: Path) -> None:
    """201 once the replica has it on disk; while it hangs, an honest 503."""
    with scratch_queue(tmp_path) as scratch:
        home = Home.from_environment(scratch.env)
        scratch.home.secret("complaints")
        lodged = sealed(home, "replicated")
        directory = tmp_path / "nodes"
        directory.mkdir()
        with cluster_rig.replicated(scratch.home, directory) as rig:
            settings = {**SOON, "BALLOT_VALKEY_URL": rig.url, "BALLOT_DURABILITY": "replicated"}
            (primary,) = rig.primaries()
            (replica,) = rig.replicas_of(primary)
            with edge(scratch.env, settings=settings) as running:
                async with caller(running.url) as web:
                    await until(taken(web, lodged))
                    assert replica.ask("XLEN", STREAM) >= 1
                    rig.stop(replica)
                    assert (await lodge(web, lodged))[0] == 503
                    rig.resume(replica)
                    await until(taken(web, lodged))


async def test_on_a_cluster_the_stream_has_a_slot_of_its_own(stack: Stack, tmp_path: Path) -> None:
    """Taken at the primary that holds it, also after it moved to another, and stored from there."""
    with cluster_rig.cluster(stack.home, tmp_path, replicas=0) as rig:
        env = {**stack.env, "BALLOT_VALKEY_URL": rig.url}
        for name in ("voterdb", "userdb"):
            at = stack.servers.voterdb if name == "voterdb" else stack.servers.userdb
            env[f"BALLOT_{name.upper()}_URL"] = f"postgresql://{at.host}:{at.port}/{name}?sslmode=disable"
        before, after = sealed(stack.home, "before"), sealed(stack.home, "after")
        with edge(env) as running:
            async with caller(running.url) as web:
                await until(taken(web, before))
                source = rig.owner(STREAM)
                target = next(node for node in rig.primaries() if node is not source)
                slot = source.ask("CLUSTER KEYSLOT", STREAM)
                rig.migrate_slots(source, target, slot, slot)
                await until(taken(web, after))
                assert target.ask("XLEN", STREAM) >= 2
                with servers(Home.from_environment(env), env) as found:
                    async with storing(found):
                        for each in (before, after):
                            assert len(await stored(stack.servers, each.number)) == 1
    assert complaint.parse_number(before.number) == before.number
