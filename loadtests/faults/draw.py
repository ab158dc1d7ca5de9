"""Which fault comes when, how long and how hard: drawn from a seed before anything runs; no I/O.

The kinds come in shuffled rounds, each kind as often a round as it says, so that a run of any length is an
even mix. The same kinds, seed and number of kills give the same faults.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtests.faults.kinds import Kind

LASTS_SECONDS = (0.5, 3.5)
RESTS_SECONDS = (0.2, 1.2)
FAULTS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: how long it `lasts`, the calm that follows, and two even draws for the details."""

    number: int
    kind: Kind
    lasts_s: float
    rests_s: float
    share: float
    choice: float


def draw(kinds: Sequence[Kind], *, seed: int, kills: int) -> list[Fault]:
    """Faults until `kills` processes have been killed, or so many faults when none of `kinds` kills."""
    return list(_until(kills, _endless(kinds, seed), counts_faults=not any(kind.kills for kind in kinds)))


def _until(kills: int, faults: Iterator[Fault], *, counts_faults: bool) -> Iterator[Fault]:
    done = 0
    for fault in faults:
        if done >= kills or fault.number > FAULTS_MAX:
            return
        done += 1 if counts_faults else fault.kind.kills
        yield fault


def _endless(kinds: Sequence[Kind], seed: int) -> Iterator[Fault]:
    """Round after round."""
    rng = random.Random(f"faults/{seed}")
    number = 0
    while True:
        deck = [kind for kind in kinds for _ in range(kind.often)]
        rng.shuffle(deck)
        for kind in deck:
            number += 1
            lasts, rests = rng.uniform(*LASTS_SECONDS), rng.uniform(*RESTS_SECONDS)
            yield Fault(number, kind, lasts, rests, rng.random(), rng.random())
