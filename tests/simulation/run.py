"""`python -m tests.simulation.run`: plays seeds, says how many a minute, and shows the short history of one that fails.

A seed plays the same whenever and wherever it is played: `--from 17 --seeds 1 --history` plays one again.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat

import click


from tests.simulation.plan import LEVELS, Level, drawn
from tests.simulation.world import Verdict, World

CHUNK_SEEDS = 40
HISTORY_LINES = 80
FAILURES_SHOWN = 3


@dataclass(slots=True)
class Played:
    """What came of some seeds: how many, which failed and why, and one digest of all that happened."""

    count: int = 0
    receipts: int = 0
    simulated_s: float = 0.0
    failed: list[tuple[int, list[str]]] = field(default_factory=list)
    digest: str = ""


def play(seed: int, level: Level, *, mutation: str | None = None, keep: bool = False) -> Verdict:
    """Play one seed."""
    return World(drawn(seed, level), gate_source=None, keep=keep).run()


def play_some(seeds: Sequence[int], level: Level, mutation: str | None) -> Played:
    """Play some seeds, in this process."""
    played = Played()
    digest = sha256()
    gc.disable()  # a seed is over in milliseconds, and a collection in the middle would only take time
    for number, seed in enumerate(seeds):
        verdict = play(seed, level, mutation=mutation)
        digest.update(verdict.digest.encode())
        played.count += 1
        played.receipts += verdict.receipts
        played.simulated_s += verdict.simulated_s
        if verdict.problems:
            played.failed.append((seed, verdict.problems))
        if number % 10 == 9:
            gc.collect()
    gc.enable()
    played.digest = digest.hexdigest()
    return played
