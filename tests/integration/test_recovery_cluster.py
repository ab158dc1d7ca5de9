"""A disk is lost where there are several: a replica with everything takes over, or all is put back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from loadtests.published import scenario
from loadtests.staging.stage import wait_until
from loadtests.voting.voter import Refused
from tests.acceptance.small_ballot import SmallBallot
from tests.acceptance.test_kill import RECEIPTS_AFTER, small_tube
from tests.acceptance.test_recovery import NO, WELL_S, check, readiness, recover, stored, wait_ready
from tests.integration import cluster_rig, cluster_stage

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.crowds.crowd import Crowd
    from loadtests.staging.stage import Stage
    from tests.integration.cluster_rig import Node

__all__ = ["small_tube"]  # a fixture: the tube ballot at a tenth of its size

USERS, THINK_S = 6, 0.1


def lose_disk(node: Node) -> None:
    """Take away all that a killed server had written; what it is in the Cluster it still knows."""
    shutil.rmtree(node.directory / "appendonlydir")


@pytest.mark.long
def test_a_primary_loses_its_disk_and_nothing_is_missing(tmp_path: Path, small_tube: str) -> None:
    """At level `replicated` its replica is promoted with every confirmed vote: nothing to recover."""
    with cluster_stage.staged(tmp_path) as (stage, rig):
        stage.up(extra=("--processes", "2", "--no-monitor"))

        def during(stage: Stage, crowd: Crowd) -> None:
            victim = rig.primaries()[0]
            (heir,) = rig.replicas_of(victim)
            before = crowd.receipts()
            rig.kill(victim)
            lose_disk(victim)
            cluster_rig.until(lambda: heir.role == "primary", "the replica to be promoted")
            rig.restart(victim)  # empty, and by now a replica: it takes everything from the heir
            rig.wait_well()
            crowd.wait_for(before + RECEIPTS_AFTER, seconds=WELL_S)
            assert rig.replicas_of(heir) == [victim]
            assert recover(stage) == (0, {"wrong": []})

        cluster_stage.play(stage, scenario.load(small_tube), users=USERS, think=THINK_S, during=during)


@pytest.mark.long
def test_a_cluster_that_lost_every_disk_is_mended_in_place(tmp_path: Path) -> None:
    """Six servers come back empty: closed, until the record is put back, on all replicas' disks too."""
    with cluster_stage.staged(tmp_path) as (stage, rig):
        stage.up(extra=("--processes", "1", "--no-monitor"))
        ballot = SmallBallot(stage, "all-disks-lost")
        ballot.set_up()
        vote, receipt = stored(ballot, "A-1")
        for node in rig.nodes:
            rig.kill(node)
            lose_disk(node)
        for node in rig.nodes:
            rig.restart(node)
        rig.wait_well()
        wait_until(lambda: readiness(ballot)[0] == 503, seconds=WELL_S, what="the edge to be closed")

        code, told = recover(stage, "--dry-run")
        assert (code, len(told["wrong"]) > 16) == (1, True), told
        code, told = recover(stage)
        assert code == 0
        wait_ready(ballot)

        assert ballot.cast(vote).reference == receipt.reference
        with pytest.raises(Refused):
            ballot.cast(ballot.seal(ballot.code("A-1"), NO))
        _, another = stored(ballot, "B-2")
        report = told["report"]["ballots"][ballot.ballot]
        assert (report["published"], report["marks_restored"], report["conflicts"]) == (True, 1, [])
        assert json.loads(stage.run("status", ballot.ballot, "--json"))["balanced"]
        assert recover(stage) == (0, {"wrong": []})
        found = check(ballot, [receipt, another])
        assert found["differences"] == 0, found
