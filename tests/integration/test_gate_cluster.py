"""The gate on a Cluster: its one undeclared key is in the same slot, and the rights of the edge reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from ballot import handoff
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
        counted = owner.ask("HLEN", handoff.attempts_key(BALLOT, 0) + ":counted")

        owner.ask("HSET", keys[0], "last_us", now_us() + 60_000_000)
        edge.fcall("ballot_access", len(keys), *keys, b"n" * 32, b"ip")

        newest = owner.ask("XREVRANGE", handoff.attempts_key(BALLOT, 0), "+", "-", "COUNT", 1)
        edge.close()

    assert counted in {1, 2}  # the minute may have changed in between
    fields = dict(zip(newest[0][1][::2], newest[0][1][1::2], strict=True))
    assert (fields[handoff.DIGEST_FIELD], int(fields[handoff.COUNT_FIELD])) in {
        (DIGEST, n) for n in range(1, 11)
    }
