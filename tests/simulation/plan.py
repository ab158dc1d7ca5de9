"""What a seed is: how large a ballot, who votes when, what goes wrong when; all drawn before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from tests.simulation.kernel import START_US
from tests.simulation.material import VOTERS_MAX

Level = Literal["disk", "replicated"]
LEVELS: Final[tuple[Level, ...]] = ("disk", "replicated")

OPENS_S: Final = 0.3
VOTING_S: Final = 1.5
MOMENT: Final = 0.000_3
"""In some seeds voters come in crowds: so short a part of the time apart that they share calls."""

CLOSES_WITHIN_S: Final = 0.8
"""A ballot that closes by itself does so that long after the last first votes, while faults go on."""

FAULTS_MAX: Final = 5
FAULTS_UNTIL_S: Final = 2.2

KILLS: Final = ("edge", "worker", "queue", "database")
"""What a process can be killed for; the others are told apart by level."""

Kind = Literal[
    "edge", "worker", "queue", "database", "network", "partition", "clock", "older_queue", "older_database",
    "lax_queue", "failover", "replica_held",
]  # fmt: skip
WEIGHTS: Final[dict[Kind, int]] = {
    "edge": 4,
    "worker": 4,
    "queue": 4,
    "database": 3,
    "network": 4,
    "partition": 2,
    "clock": 2,
    "older_queue": 2,
    "older_database": 2,
    "lax_queue": 1,
}
REPLICATED_WEIGHTS: Final[dict[Kind, int]] = {
    "edge": 4,
    "worker": 4,
    "queue": 2,
    "database": 3,
    "network": 4,
    "partition": 2,
    "clock": 1,
    "failover": 5,
    "replica_held": 3,
}
ALONE: Final[frozenset[Kind]] = frozenset({"older_queue", "older_database", "lax_queue"})
"""At most one of these in a seed: each is somebody's mistake or misfortune with its own promise."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong: at `at_s`, and then after `count` more messages of whom it meets; for `for_s`."""

    kind: Kind
    at_s: float
    count: int
    for_s: float
    number: int
    """Which of several; and for whatever else has to be chosen."""

    share: float
    """Between 0 and 1: how much, how likely, which of two."""


@dataclass(frozen=True, slots=True)
class Casting:
    """One device that will vote."""

    voter: int
    paper: int
    at_s: float
    asks_first: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed, whole."""

    seed: int
    level: Level
    shards: int
    voters: int
    edges: int
    workers: int
    replicas: int
    castings: tuple[Casting, ...]
    faults: tuple[Fault, ...]
    trims: bool
    opens_us: int
    closes_us: int
    close_at_s: float | None
    """When the desk closes; None: the ballot closes by itself, and the desk only waits."""

    confirm_s: float
    claim_idle_s: float
    edge_clock_us: int
    worker_clock_us: int

    def has(self, kind: Kind) -> bool:
        """Whether such a fault is in it."""
        return any(fault.kind == kind for fault in self.faults)


def drawn(seed: int, level: Level) -> Plan:
    """The plan of a seed."""
    random = Random(f"plan {level} {seed}")
    voters = random.randint(3, VOTERS_MAX)
    faults = _faults(random, level)
    kinds = {fault.kind for fault in faults}
    early = not kinds & {"older_queue", "lax_queue"} and random.random() < 0.6
    closes_s = OPENS_S + VOTING_S + 0.3 + CLOSES_WITHIN_S * random.random()
    return Plan(
        seed=seed,
        level=level,
        shards=random.choice((1, 1, 2, 4)),
        voters=voters,
        edges=random.choice((1, 2, 2)),
        workers=random.choice((1, 1, 2)),
        replicas=0 if level == "disk" else 1,
        castings=_castings(random, voters),
        faults=faults,
        trims=random.random() < 0.5,
        opens_us=START_US + round(OPENS_S * 1_000_000),
        closes_us=START_US + round((1000.0 if early else closes_s) * 1_000_000),
        close_at_s=OPENS_S + VOTING_S * random.random() if early else None,
        confirm_s=random.choice((0.5, 2.0)),
        claim_idle_s=random.choice((0.5, 1.0)),
        edge_clock_us=random.randint(-5_000_000, 5_000_000),
        worker_clock_us=random.randint(-5_000_000, 5_000_000),
    )


def _castings(random: Random, voters: int) -> tuple[Casting, ...]:
    found = []
    moments = [random.random() for _ in range(random.randint(1, 4))] if random.random() < 0.4 else []
    for voter in range(voters):
        share = random.choice(moments) + random.random() * MOMENT if moments else random.random()
        at_s = OPENS_S - 0.1 + VOTING_S * share
        found.append(Casting(voter, 0, at_s, random.random() < 0.2))
        if random.random() < 0.35:  # on another device, with another vote, often at the same moment
            later_s = random.choice((0.0, 0.001, random.random() * 2))
            found.append(Casting(voter, 1, at_s + later_s, random.random() < 0.2))
    return tuple(found)


def _faults(random: Random, level: Level) -> tuple[Fault, ...]:
    weights = WEIGHTS if level == "disk" else REPLICATED_WEIGHTS
    kinds: list[Kind] = []
    for kind in random.choices(list(weights), list(weights.values()), k=random.randint(0, FAULTS_MAX)):
        if kind not in ALONE or not ALONE & set(kinds):
            kinds.append(kind)
    if "older_queue" in kinds:
        # What an older copy lacks must be told from what a clock that was set wrongly makes of it.
        kinds = [kind for kind in kinds if kind != "clock"]
    faults = [
        Fault(
            kind=kind,
            at_s=OPENS_S + (FAULTS_UNTIL_S - OPENS_S) * random.random(),
            count=random.choice((0, random.randint(1, 8), random.randint(1, 40))),
            for_s=random.choice((0.02, 0.3, 1.0)) * (0.5 + random.random()),
            number=random.randrange(1 << 16),
            share=random.random(),
        )
        for kind in kinds
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
