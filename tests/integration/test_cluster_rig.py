"""The rig that other tests stand on: what it starts is what it says, and can be broken and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from runtime.home import Home
from tests.conftest import environment_for
from tests.integration import cluster_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cluster_rig import Node


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home for the users' passwords."""
    return Home.from_environment(environment_for(tmp_path / "home"))


@pytest.mark.long
def test_a_replica_takes_a_killed_primarys_place(home: Home, tmp_path: Path) -> None:
    """A Cluster of three primaries with a replica each heals by itself, and takes the old primary back."""
    with cluster_rig.cluster(home, tmp_path) as rig:
        victim = rig.owner("{b:00}:gate")
        (heir,) = rig.replicas_of(victim)

        rig.kill(victim)
        cluster_rig.until(lambda: heir.role == "primary", "the replica to be promoted")
        rig.restart(victim)
        rig.wait_well()

        assert rig.owner("{b:00}:gate") is heir
        assert rig.replicas_of(heir) == [victim]
        assert heir.ask("FUNCTION LIST", "LIBRARYNAME", "ballot")
        pids = [node.process for node in rig.nodes]

    assert not any(process is not None and process.alive for process in pids)


def test_slots_move_while_they_are_used(home: Home, tmp_path: Path) -> None:
    """A range of slots moves with its keys from one primary to another."""
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        source = rig.owner("{b}:x")
        target = next(node for node in rig.primaries() if node is not source)
        source.ask("SET", "{b}:x", "kept")
        slot = source.ask("CLUSTER KEYSLOT", "{b}:x")

        rig.migrate_slots(source, target, slot, slot)

        assert rig.owner("{b}:x") is target
        assert target.ask("GET", "{b}:x") == b"kept"


def test_a_replica_without_a_cluster_is_promoted_by_hand(home: Home, tmp_path: Path) -> None:
    """A primary with two replicas: what it has is on all their disks, and one of them can take its place."""
    with cluster_rig.replicated(home, tmp_path, replicas=2) as rig:
        primary, replica, _ = rig.nodes
        primary.ask("SET", "x", "kept")
        rig.wait_well()
        rig.kill(primary)

        rig.promote(replica)

        assert replica.ask("GET", "x") == b"kept"
        assert rig.primaries() == [replica]


def test_what_replicates_is_a_user_that_can_nothing_else(home: Home, tmp_path: Path) -> None:
    """Whole copies, missed parts, waits and a change of places need no more; the edge can read no other."""
    with cluster_rig.replicated(home, tmp_path) as rig:
        primary, replica = rig.nodes
        assert number(primary, "sync_full") == 1
        replica.ask("CLIENT KILL", "TYPE", "master")
        cluster_rig.until(lambda: number(primary, "sync_partial_ok") == 1, "the replica to catch up")
        rig.wait_well()
        password = home.password("valkey-intake").reveal()
        with redis.Redis(port=replica.port, username="intake", password=password) as edge:
            seen = edge.config_get("masteruser", "masterauth")
            assert seen == {"masteruser": "replica", "masterauth": home.password("valkey-replica").reveal()}
        with redis.Redis(port=primary.port, username="replica", password=seen["masterauth"]) as thief:
            for command in (
                "CONFIG GET masterauth",
                "GET x",
                "SET x 1",
                "FCALL x 0",
                "ACL WHOAMI",
                "INFO",
                "SYNC",
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    thief.execute_command(*command.split())

        primary.ask("FAILOVER")
        cluster_rig.until(lambda: replica.role == "primary", "the two to change places")
        rig.wait_well()
        assert rig.replicas_of(replica) == [primary]


def number(node: Node, name: str) -> int:
    """One number of INFO stats."""
    lines = node.ask("INFO", "stats").decode().splitlines()
    return int(dict(line.split(":", 1) for line in lines if ":" in line)[name])
