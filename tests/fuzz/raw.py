"""Raw sockets against the edge: hypothesis draws what is sent, `exchange` judges what comes back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.drawn import Script, scripts
from tests.fuzz.exchange import exchange

if TYPE_CHECKING:
    from tests.fuzz.ground import Ground


@dataclass(slots=True)
class Tally:
    """What was sent and how it was answered."""

    connections: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def answers(self) -> int:
        """Return how many answers there were."""
        return self.statuses.total()


def fuzz(ground: Ground, tally: Tally, *, examples: int, seeded: int) -> None:
    """Run `examples` connections; the first that breaks a rule is made as small as it can be, and raised."""

    @seed(seeded)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
    )
    @given(scripts(ground))
    def one(script: Script) -> None:
        found = exchange((ground.host, ground.port), script)
        tally.connections += 1
        tally.statuses.update(found.statuses)
        tally.slowest_s = max(tally.slowest_s, found.seconds)

    one()
