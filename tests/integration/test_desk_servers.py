"""The desk's acts while a server of the queue is hung or away: done everywhere, or said not to be."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import pytest

from ballot import handoff
from runtime import queue_preparation, valkey
from runtime.home import Home
from runtime.servers import servers
from scrutineer import lifecycle, replicated
from scrutineer.gate import Gate
from tests.conftest import environment_for
from tests.integration import cluster_rig
from tests.integration.intake_rig import HOUR_US, now_us

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.integration.cluster_rig import Rig

SHARDS = 8
START_S_MAX = 10.0
SILENT_S_MAX = 2.0
DIGEST, LATER, UIN, VOTER = b"d" * 32, b"l" * 32, b"u" * 16, b"v" * 16
LEVEL = {"BALLOT_DURABILITY": "replicated", "BALLOT_REPLICAS": "1"}


@asynccontextmanager
async def gate_of(rig: Rig, shards: int, level: dict[str, str]) -> AsyncIterator[Gate]:
    """A ballot's gate as a desk command has it, at a level of durability."""
    env = environment_for(rig.home.path) | level
    env["BALLOT_VALKEY_URL"] = rig.url
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    with servers(Home(rig.home.path, embedded=False), env) as found:
        client = valkey.connect(found, "desk", timeout_s=30.0)
        waits = replicated.replicated(found, env, timeout_s=30.0)
        try:
            yield Gate(client, "b", shards, replicated=waits)
        finally:
            await client.aclose()
            if waits is not None:
                await waits.nodes.aclose()


async def test_a_hung_primary_closes_no_part_of_a_ballot(tmp_path: Path) -> None:
    """The others take the closing time back before it comes; its shards are named; a later close works.

    And a command that is started meanwhile waits for it a few seconds at most.
    """
    home = Home.from_environment(environment_for(tmp_path / "home"))
    with cluster_rig.cluster(home, tmp_path, primaries=3, replicas=0) as rig:
        closes_us = now_us() + HOUR_US
        async with gate_of(rig, SHARDS, {}) as gate:
            await gate.arm(opens_us=now_us() - HOUR_US, closes_us=closes_us)
            states = await gate.states()
            victim = rig.primaries()[1]
            hers = [n for n in range(SHARDS) if rig.owner(handoff.gate_key("b", n)) is victim]
            rig.stop(victim)
            instant_us = now_us() + lifecycle.AHEAD_US
            with pytest.raises(click.ClickException) as caught:
                await lifecycle._set_everywhere(gate, states, instant_us)
            began_s = time.monotonic()
            async with gate_of(rig, SHARDS, {}):
                started_s = time.monotonic() - began_s
            await asyncio.sleep((instant_us - now_us()) / 1_000_000)
            rig.resume(victim)
        async with gate_of(rig, SHARDS, {}) as gate:
            after = await gate.states()
            instant_us = now_us() + lifecycle.AHEAD_US
            await lifecycle._set_everywhere(gate, after, instant_us)
            last = await gate.states()

    assert 0 < len(hers) < SHARDS
    assert started_s < START_S_MAX
    assert f"shards {', '.join(map(str, hers))} do not answer and may still take it" in caught.value.message
    assert "kept it" not in caught.value.message
    assert {(state.state, state.closes_us) for state in after} == {("open", closes_us)}
    assert {state.closes_us for state in last} == {instant_us}


async def test_the_desks_acts_are_done_once_replicas_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the replica stopped each fails and says to run it again; run again, a failover keeps them all."""
    home = Home.from_environment(environment_for(tmp_path / "home"))
    opens_us, closes_us = now_us() - HOUR_US, now_us() + HOUR_US
    with cluster_rig.replicated(home, tmp_path) as rig:
        primary, replica = rig.nodes
        async with gate_of(rig, 1, LEVEL) as gate:
            acts: dict[str, Callable[[], Awaitable[Any]]] = {
                "arm": lambda: gate.arm(opens_us=opens_us, closes_us=closes_us),
                "issue": lambda: gate.issue(0, [(DIGEST, UIN, "email")]),
                "issue all": lambda: gate.issue_all([(0, [(LATER, VOTER, "email")])], lambda _: None),
                "revoke": lambda: gate.revoke(0, [DIGEST]),
                "return": lambda: gate.record_returns(0, [(UIN, "postal", opens_us + 1)]),
                "release": lambda: gate.release(0, UIN, "none"),
                "close": lambda: gate.set_closes(0, closes_us - 1),
                "latch": lambda: gate.latch(0),
                "publish": lambda: gate.publish(b"{}"),
            }
            for act in acts.values():
                rig.stop(replica)
                monkeypatch.setattr(replicated, "WAIT_S", 0.1)
                with pytest.raises(click.ClickException, match="run this again"):
                    await act()
                monkeypatch.undo()
                rig.resume(replica)
                await act()
            said = await gate.state(0)
            rig.kill(primary)
            rig.promote(replica)
            keys = handoff.shard_keys("b", 0)
            fields = [replica.ask("HGET", keys[1], digest[:16])[16:17] for digest in (DIGEST, LATER)]
            state = [each.decode() for each in replica.ask("FCALL_RO", "ballot_state", len(keys), *keys)]
            names = replica.ask("HKEYS", keys[0])
            published = replica.ask("HGET", handoff.PUBLISHED_KEY, "b")

    assert said is not None
    assert (said.closes_us, said.voted["postal"], said.credentials) == (closes_us - 1, 1, 2)
    assert (int(state[1]), int(state[8]), int(state[10])) == (closes_us - 1, 1, 2)
    assert fields == [b"r", b"c"]
    assert published == b"{}"
    assert replicated.MARK.encode() not in names


async def test_a_replica_that_is_not_waited_for_is_not_enough(tmp_path: Path) -> None:
    """With one replica more than the level says, an act is not called done: that one could be promoted."""
    home = Home.from_environment(environment_for(tmp_path / "home"))
    with cluster_rig.replicated(home, tmp_path, replicas=2) as rig:
        async with gate_of(rig, 1, LEVEL) as gate:
            with pytest.raises(replicated.NotReplicatedError):
                await gate.publish(b"{}")
        async with gate_of(rig, 1, LEVEL | {"BALLOT_REPLICAS": "2"}) as gate:
            await gate.publish(b"{}")


def test_a_server_that_never_answers_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes connections and says nothing is tried once, alone or as a node of a Cluster."""
    monkeypatch.setattr(queue_preparation, "ANSWER_S", 0.3)
    monkeypatch.setattr(queue_preparation, "NODE_ANSWER_S", 0.3)
    env = environment_for(tmp_path / "home")
    home = Home.from_environment(env)
    assert home.password("valkey-admin").reveal()
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        for url in (f"valkey://{place}", f"valkey-cluster://{place}"):
            began_s = time.monotonic()
            with (
                pytest.raises(click.ClickException, match=r"was not prepared|No node of the Cluster answers"),
                servers(Home(home.path, embedded=False), env | {"BALLOT_VALKEY_URL": url}),
            ):
                pass
            assert time.monotonic() - began_s < SILENT_S_MAX
