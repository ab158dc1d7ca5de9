"""The races of `test_races` on a Cluster of three primaries, each vote on a replica's disk when answered."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from runtime.home import Home
from runtime.servers import servers
from tests.conftest import Stack, environment_for
from tests.integration import cluster_rig, test_races
from tests.integration.intake_rig import edge
from tests.integration.test_races import LONG_S, ROUNDS_LONG, raced

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARDS = 16
ROUNDS_SHORT = 50
SETTINGS = {**test_races.SETTINGS, "BALLOT_DURABILITY": "replicated", "BALLOT_REPLICAS": "1"}


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Cluster and a home; no database, which the edge never needs."""
    folder = tmp_path_factory.mktemp("cluster")
    env = environment_for(folder / "home")
    home = Home.from_environment(env)
    for name in ("queue", "credential-digest", "receipts", "desk"):
        home.secret(name)
    with cluster_rig.cluster(home, folder) as rig:
        env["BALLOT_VALKEY_URL"] = rig.url
        env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
        for name in ("voterdb-ballot_owner", "userdb-ballot_owner"):
            (home.secrets / f"{name}.password").unlink(missing_ok=True)
        with servers(home, env) as found:
            yield Stack(home, found, env)


@pytest.fixture(scope="module")
def edge_urls(clustered: Stack) -> Iterator[list[str]]:
    """Two edges as on two machines, the first of two processes on one port."""
    with ExitStack() as running:
        yield [
            running.enter_context(edge(clustered.env, processes=processes, settings=SETTINGS)).url
            for processes in (2, 1)
        ]


@pytest.fixture(autouse=True)
def _sixteen_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_races, "SHARDS", SHARDS)


async def test_fifty_races_on_a_cluster_have_one_winner_each(
    clustered: Stack, ballot_id: str, edge_urls: list[str]
) -> None:
    """One code, two of one voter, or a paper too: one wins, losers know, all is logged, also after close."""
    figures = await raced(clustered, ballot_id, edge_urls, rounds=ROUNDS_SHORT, seconds=60)

    assert figures["rounds"] == ROUNDS_SHORT


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_thousands_of_races_on_a_cluster_have_one_winner_each(
    clustered: Stack, ballot_id: str, edge_urls: list[str]
) -> None:
    """The same for thousands of rounds, among which each side of each race wins some."""
    figures = await raced(clustered, ballot_id, edge_urls, rounds=ROUNDS_LONG, seconds=LONG_S)

    sys.stdout.write(f"{dict(figures)}\n")
    assert {
        "reissued: old",
        "reissued: new",
        "other method: paper",
        "other method: the vote",
    } < figures.keys()
