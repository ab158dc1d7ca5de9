"""The level of durability of a deployment: how many replicas must have on disk what is answered for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.environment import Environment

LEVELS = ("disk", "replicated")
REPLICAS_MAX = 5


def replicas_awaited(settings: Environment) -> int:
    """Return how many replicas' disks are waited for: 0 at level `disk`, else every replica a primary has."""
    level = settings.text("BALLOT_DURABILITY", LEVELS[0], choices=LEVELS)
    replicas = settings.integer("BALLOT_REPLICAS", 1, 1, REPLICAS_MAX)
    return replicas if level == "replicated" else 0
