"""Ballots on a Cluster of three primaries with a replica each: the same votes, books and results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from loadtests.lifetime.life import nothing
from loadtests.published import scenario
from tests.acceptance.test_kill import RECEIPTS_AFTER, small_tube
from tests.integration import cluster_rig, cluster_stage

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.crowds.crowd import Crowd
    from loadtests.staging.stage import Stage
    from tests.integration.cluster_rig import Rig

__all__ = ["small_tube"]  # a fixture: the tube ballot at a tenth of its size

BACK_S = 60.0
USERS, THINK_S = 6, 0.1


@pytest.mark.long
def test_a_ballot_on_a_cluster(tmp_path: Path) -> None:
    """Sixteen shards, two edges, votes on replicas' disks: the published figures, and books that balance."""
    with cluster_stage.staged(tmp_path) as (stage, rig):
        stage.up(extra=("--processes", "2", "--no-monitor"))

        life = cluster_stage.play(stage, scenario.load("branch-41"), users=8, think=0.0, during=nothing)

        status = json.loads(stage.run("status", life.ballot, "--json"))
        holders = {rig.owner(f"{{{life.ballot}:{shard:02d}}}:gate").port for shard in range(16)}
    assert (status["shards"], status["state"], status["balanced"]) == (16, "closed", True)
    assert len(holders) == 3


@pytest.mark.long
def test_a_ballot_on_a_primary_with_a_replica(tmp_path: Path) -> None:
    """The same without a Cluster: one shard, votes on the replica's disk."""
    with cluster_stage.staged(tmp_path, cluster=False) as (stage, _):
        stage.up(extra=("--processes", "2", "--no-monitor"))

        life = cluster_stage.play(stage, scenario.load("branch-41"), users=8, think=0.0, during=nothing)

        status = json.loads(stage.run("status", life.ballot, "--json"))
    assert (status["shards"], status["state"], status["balanced"]) == (1, "closed", True)


def kill_a_primary(rig: Rig, crowd: Crowd) -> None:
    """Kill the primary of a third of the slots; votes go on, and it comes back as a replica by itself."""
    victim = rig.primaries()[0]
    (heir,) = rig.replicas_of(victim)
    before = crowd.receipts()

    rig.kill(victim)
    cluster_rig.until(lambda: heir.role == "primary", "the replica to be promoted")
    # No replica is left behind the heir: nothing is confirmed there until the killed one is back.
    rig.restart(victim)
    rig.wait_well()
    crowd.wait_for(before + RECEIPTS_AFTER, seconds=BACK_S)

    assert rig.replicas_of(heir) == [victim]


@pytest.mark.long
def test_a_primary_killed_while_votes_come_in(tmp_path: Path, small_tube: str) -> None:
    """Every receipt handed out has its vote at the gate, in the stream and stored; nothing is doubled."""
    with cluster_stage.staged(tmp_path) as (stage, rig):
        stage.up(extra=("--processes", "2", "--no-monitor"))

        def during(_stage: Stage, crowd: Crowd) -> None:
            kill_a_primary(rig, crowd)
            assert crowd.running
            kill_a_primary(rig, crowd)

        life = cluster_stage.play(stage, scenario.load(small_tube), users=USERS, think=THINK_S, during=during)

    assert life.summary["counts"]["sent again"] > 0


@pytest.mark.long
def test_slots_move_while_votes_come_in(tmp_path: Path, small_tube: str) -> None:
    """A range of slots moves to another primary and back, and no voter is refused for it."""
    with cluster_stage.staged(tmp_path) as (stage, rig):
        stage.up(extra=("--processes", "2", "--no-monitor"))

        def during(_stage: Stage, crowd: Crowd) -> None:
            source, target = rig.primaries()[:2]
            low = next(low for low, _, at, *_ in source.ask("CLUSTER SLOTS") if at[1] == source.port)
            for giver, taker in ((source, target), (target, source)):
                before = crowd.receipts()
                rig.migrate_slots(giver, taker, low, low + 2_000)
                crowd.wait_for(before + RECEIPTS_AFTER, seconds=BACK_S)
            assert crowd.running

        cluster_stage.play(stage, scenario.load(small_tube), users=USERS, think=THINK_S, during=during)
