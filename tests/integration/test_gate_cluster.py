"""The gate on a Cluster: also while a slot moves key by key, and with the rights of the edge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ballot import handoff
from ballot.receipt import draw_reference
from runtime.home import Home
from tests.conftest import environment_for
from tests.integration import cluster_rig
from tests.integration.intake_rig import HOUR_US, now_us

if TYPE_CHECKING:
    from pathlib import Path

BALLOT = "gate-2025"
DIGEST, UIN = b"d" * 32, b"u" * 16


def test_tries_beyond_the_budget_are_counted_on_a_cluster_too(tmp_path: Path) -> None:
    """Counted as the edge's user, and moved to the log a minute later."""
    home = Home.from_environment(environment_for(tmp_path / "home"))
    keys = handoff.shard_keys(BALLOT, 0)
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        owner = rig.owner(keys[0])
        password = home.password("valkey-intake")
        edge = redis.Redis(port=owner.port, username="intake", password=password.reveal())
        owner.ask("FCALL", "ballot_arm", len(keys), *keys, now_us() - HOUR_US, now_us() + HOUR_US)
        owner.ask("FCALL", "ballot_issue", len(keys), *keys, DIGEST, UIN, b"e")
        for rows in (1_000, 10):
            edge.fcall("ballot_access", len(keys), *keys, *((DIGEST, b"ip") * rows))
        counted = owner.ask("HLEN", keys[8])

        owner.ask("HSET", keys[0], "last_us", now_us() + 60_000_000)
        edge.fcall("ballot_access", len(keys), *keys, b"n" * 32, b"ip")

        newest = owner.ask("XREVRANGE", handoff.attempts_key(BALLOT, 0), "+", "-", "COUNT", 1)
        edge.close()

    assert counted in {1, 2}  # the minute may have changed in between
    fields = dict(zip(newest[0][1][::2], newest[0][1][1::2], strict=True))
    assert (fields[handoff.DIGEST_FIELD], int(fields[handoff.COUNT_FIELD])) in {
        (DIGEST, n) for n in range(1, 11)
    }


def test_a_call_that_lacks_a_key_writes_nothing(tmp_path: Path) -> None:
    """The counts move first, then the others one by one: until all are there, nothing is decided."""
    home = Home.from_environment(environment_for(tmp_path / "home"))
    keys = handoff.shard_keys(BALLOT, 0)
    with cluster_rig.cluster(home, tmp_path, replicas=0) as rig:
        source = rig.owner(keys[0])
        target = next(node for node in rig.primaries() if node is not source)
        password = home.password("valkey-intake")
        edge = redis.Redis(port=source.port, username="intake", password=password.reveal())
        source.ask("FCALL", "ballot_arm", len(keys), *keys, now_us() - HOUR_US, now_us() + HOUR_US)
        source.ask("FCALL", "ballot_issue", len(keys), *keys, DIGEST, UIN, b"e", b"x" * 32, b"y" * 16, b"e")
        assert cast(edge, keys, b"x" * 32)[3][0] == b"accepted"
        edge.fcall("ballot_access", len(keys), *keys, b"n" * 32, b"ip")
        for rows in (1_000, 10):
            edge.fcall("ballot_access", len(keys), *keys, *((DIGEST, b"ip") * rows))
        source.ask("HSET", keys[0], "last_us", now_us() + 60_000_000)
        slot = source.ask("CLUSTER KEYSLOT", keys[0])
        assert set(source.ask("CLUSTER GETKEYSINSLOT", slot, 100)) == {key.encode() for key in keys}

        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))
        login = ("AUTH2", "admin", home.password("valkey-admin").reveal())
        for key in reversed(keys[1:]):
            source.ask("MIGRATE", target.host, target.port, key, 0, 5_000, *login)
            with pytest.raises(redis.exceptions.TryAgainError):
                cast(edge, keys, DIGEST)
        source.ask("MIGRATE", target.host, target.port, keys[0], 0, 5_000, *login)
        for node in (target, source, *rig.primaries()):
            node.ask("CLUSTER SETSLOT", slot, "NODE", target.ask("CLUSTER MYID"))
        edge.close()
        assert target.ask("XLEN", keys[4]) == target.ask("HLEN", keys[2]) == 1

        edge = redis.Redis(port=target.port, username="intake", password=password.reveal())
        assert cast(edge, keys, DIGEST)[3][0] == b"accepted"
        edge.close()
        assert target.ask("XLEN", keys[4]) == 2
        assert not target.ask("EXISTS", keys[8])


def cast(edge: redis.Redis, keys: tuple[str, ...], digest: bytes) -> Any:
    """Cast one vote as the edge does."""
    reference = draw_reference(0, 1, random=os.urandom)
    return edge.fcall(
        "ballot_cast", len(keys), *keys, digest, b"i" * 16, reference, b"record", b"s" * 32, b"ip"
    )
