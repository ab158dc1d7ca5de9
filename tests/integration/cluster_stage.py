"""A whole deployment on configured servers: a queue of several, databases of its own, and `ballot up`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loadtests.lifetime.life import Life
from loadtests.lifetime.table import differences
from loadtests.published import plan
from loadtests.staging.stage import Stage
from runtime.home import Home
from runtime.servers import servers
from tests.integration import cluster_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loadtests.lifetime.life import During
    from loadtests.published.scenario import Scenario
    from tests.integration.cluster_rig import Rig

KEYS = ("desk", "receipts", "queue", "credential-digest", "ip", "people", "member")


class ConfiguredStage(Stage):
    """A stage whose processes find configured servers, at level `replicated` unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__(keep=True, folder=folder)
        self.settings: dict[str, str] = {}

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that runs here."""
        return super().env | self.settings


@contextmanager
def staged(folder: Path, *, cluster: bool = True, level: str = "replicated") -> Iterator[tuple[Stage, Rig]]:
    """A stage on a Cluster of three primaries with a replica each, or on a primary and a replica."""
    with ConfiguredStage(folder) as stage:
        home = Home(stage.home)
        home.make()
        for name in KEYS:
            home.secret(name)  # with configured servers nothing is made up
        nodes = folder / "nodes"
        nodes.mkdir()
        rigged = cluster_rig.cluster(home, nodes) if cluster else cluster_rig.replicated(home, nodes)
        with servers(home) as own, rigged as rig:
            databases = {name: own.postgres(name) for name in ("voterdb", "userdb")}
            stage.settings = {
                "BALLOT_VALKEY_URL": rig.url,
                **{
                    f"BALLOT_{name.upper()}_URL": f"postgresql://{at.host}:{at.port}/{name}?sslmode=disable"
                    for name, at in databases.items()
                },
                "BALLOT_DURABILITY": level,
                "BALLOT_CHECK_SECONDS": "0",
            }
            yield stage, rig
            stage.stop()


def play(stage: Stage, played: Scenario, *, users: int, think: float, during: During) -> Life:
    """Play a ballot from its creation to the checked result; every figure must be the published one."""
    life = Life(stage, played, plan.draw(played), users=users, think=think)
    life.create(now_us=time.time_ns() // 1000)
    for step in (life.keys, life.roll, life.issue, life.open):
        step()
    life.vote(during=during)
    for step in (life.close, life.tally, life.verify, life.check):
        step()
    figures = [*life.figures(), *life.receipts()]
    assert differences(figures) == 0, figures
    return life
