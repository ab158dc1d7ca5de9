"""What a ballot needs at its worst second: processors by part, syncs, bytes; arithmetic only.

A part costs something for being there, something a vote, and something a call or commit, which holds one
vote while votes are far apart and more and more the faster they come.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from loadtests.capacity.measured import BATCH_VOTES_MAX, PARTS, Costs

FULL: Final = 0.5
"""How much of a core or a disk is planned for: the other half is for bursts, retries and restarts."""

SHARDS_MAX: Final = 32
"""A ballot's shards, and so the largest number of primaries that can share it."""

ROLL_MAX: Final = 5_000_000
"""Members in one roll: what `ballot roll import` takes today (scrutineer/roll_file.py)."""

RATE_MAX: Final = 1e9
OUTAGE_S: Final = 300.0
DAYS_KEPT: Final = 35


@dataclass(frozen=True, slots=True)
class Demand:
    """The ballot: who may vote, who does, how many at most in a second; `curve` says whose shape it is."""

    electorate: int
    votes: int
    second: float
    minute: float
    hour: float
    curve: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, and what runs on it as `ballot up` starts it."""

    cores: int = 2
    memory_bytes: float = 16 * 2**30
    workers: int = 1


def votes_a_call(costs: Costs, rate: float) -> float:
    """How many votes a call to one primary holds at `rate` votes a second: what has come during the last."""
    left = 1 - rate * costs.call_vote_us / 1e6
    if left <= 0:
        return math.inf
    return max(1.0, rate * costs.call_us / 1e6 / left)


def calls(costs: Costs, rate: float, *, primaries: int = 1) -> float:
    """Calls, and so syncs of the queue's disks, a second, at all primaries together."""
    if not rate:
        return 0.0
    held = votes_a_call(costs, rate / primaries)
    return rate / min(held, BATCH_VOTES_MAX)


def least(costs: Costs, part: str, rate: float, *, web: bool = True) -> float:
    """How many cores `part` must have: with all calls full, as they are when it has no time to spare.

    The edge with pages and new TLS connections as well, unless `web` is left out.
    """
    cost = costs.parts[part]
    a_vote_us = cost.vote_us + cost.batch_us / BATCH_VOTES_MAX
    if part == "edge" and web:
        a_vote_us += sum(web_us(costs))
    return cost.idle_cores + rate * a_vote_us / 1e6


def workers_busy(costs: Costs, rate: float) -> float:
    """How many workers `rate` keeps busy all the time; one also waits for the database."""
    return max(least(costs, "worker", rate), rate / costs.worker_votes)


def web_us(costs: Costs) -> tuple[float, float]:
    """What the edge spends on a voter's other requests, and on their new TLS connections."""
    return (costs.requests - 1) * costs.request_us, costs.requests * costs.cold * costs.handshake_us


def expected(costs: Costs, part: str, rate: float, *, processes: int = 1) -> float:
    """How many cores `part` is seen to use for casts alone: calls hold few votes while there is time.

    A process that is always busy is no sign that it cannot keep up: its calls then hold more.
    """
    cost = costs.parts[part]
    alone = (rate * cost.vote_us + calls(costs, rate) * cost.batch_us) / 1e6
    return max(cost.idle_cores + min(alone, float(processes)), least(costs, part, rate, web=False))


@dataclass(frozen=True, slots=True)
class Place:
    """Something that fills up: how much of it a rate uses, up to 1, and what to add when it is full."""

    name: str
    used: Callable[[float], float]
    then: str


def places(costs: Costs, machine: Machine) -> list[Place]:
    """All that can fill up on one machine, with one queue and an edge process a core."""

    def whole(rate: float) -> float:
        return sum(least(costs, part, rate) for part in PARTS) / machine.cores

    return [
        Place(
            "all cores of the machine",
            whole,
            "edges to machines of their own: they take most, know no vote, and nothing moves",
        ),
        Place(
            "edge processes",
            lambda rate: least(costs, "edge", rate) / machine.cores,
            "edge processes, then edge machines behind the balancer; or end TLS there",
        ),
        Place(
            "the workers",
            lambda rate: workers_busy(costs, rate) / machine.workers,
            "another `ballot worker`; voters do not wait for it, the queue only grows meanwhile",
        ),
        Place(
            "the queue's core",
            lambda rate: least(costs, "queue", rate),
            "a Cluster (before the ballot opens), then primaries: one runs functions on one core",
        ),
        Place(
            "the queue's disk and round trip",
            lambda rate: rate * (costs.call_us / BATCH_VOTES_MAX + costs.call_vote_us) / 1e6,
            "a disk that syncs faster, or primaries with disks of their own",
        ),
        Place(
            "the voter database's cores",
            lambda rate: least(costs, "voterdb", rate) / machine.cores,
            "a larger machine of its own for it: there is one, and it writes every vote",
        ),
    ]


def full_at(place: Place) -> float:
    """The rate at which `place` is used up."""
    low, high = 0.0, 1.0
    while place.used(high) < 1 and high < RATE_MAX:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if place.used(middle) < 1 else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of each are there, none of them more than half busy at the worst second."""

    edge_processes: int
    primaries: int
    workers: int
    voterdb_cores: int
    cores: float
    machines: int
    enough: bool
    one_machine: bool
    one_roll: bool


def layout(costs: Costs, demand: Demand, machine: Machine) -> Layout:
    """What the worst second needs; `enough` is False where even the most primaries are not."""
    rate, memory = demand.second, queue_memory(costs, demand)

    def fits(primaries: int) -> bool:
        each = rate / primaries
        disk = each * (costs.call_us / BATCH_VOTES_MAX + costs.call_vote_us) / 1e6
        held = memory / primaries <= machine.memory_bytes * FULL
        return held and disk <= FULL and least(costs, "queue", each) <= FULL

    primaries = next((count for count in range(1, SHARDS_MAX + 1) if fits(count)), SHARDS_MAX)
    busy = {part: least(costs, part, rate) for part in PARTS}
    total = sum(busy.values())
    return Layout(
        edge_processes=math.ceil(busy["edge"] / FULL),
        primaries=primaries,
        workers=math.ceil(workers_busy(costs, rate) / FULL),
        voterdb_cores=math.ceil(busy["voterdb"] / FULL),
        cores=total,
        machines=math.ceil(total / (machine.cores * FULL)),
        enough=fits(primaries),
        one_machine=fits(1) and total <= machine.cores * FULL,
        one_roll=demand.electorate <= ROLL_MAX,
    )


def queue_memory(costs: Costs, demand: Demand) -> float:
    """The gate with every code and mark, and the votes of five minutes that cannot be stored."""
    waiting = min(demand.votes, demand.minute * OUTAGE_S / 60)
    return (
        demand.electorate * costs.code_bytes + demand.votes * costs.voted_bytes + waiting * costs.entry_bytes
    )


def sizes(costs: Costs, demand: Demand) -> Mapping[str, float]:
    """Bytes, when all have voted."""
    people, votes = demand.electorate, demand.votes
    voterdb = people * costs.voterdb_code_bytes + votes * costs.voterdb_vote_bytes
    userdb, snapshot = people * costs.userdb_bytes, votes * costs.snapshot_bytes
    return {
        "queue_memory": queue_memory(costs, demand),
        "queue_codes": people * costs.code_bytes,
        "queue_marks": votes * costs.voted_bytes,
        "queue_a_minute_waiting": demand.minute * costs.entry_bytes,
        "append_only_file": votes * costs.log_bytes,
        "voterdb": voterdb,
        "voterdb_indexes": votes * costs.voterdb_index_bytes,
        "voterdb_wal": votes * costs.wal_bytes,
        "userdb": userdb,
        "backup_full": voterdb + userdb + snapshot,
        "backups_most": DAYS_KEPT * (voterdb + userdb + snapshot) + votes * costs.wal_bytes,
    }


def network(costs: Costs, demand: Demand) -> Mapping[str, float]:
    """Bits a second at the worst second: casts alone, and with a page and new connections for every voter."""
    handshakes = costs.requests * costs.cold
    return {
        "casts_in": demand.second * costs.request_bytes * 8,
        "casts_out": demand.second * costs.answer_bytes * 8,
        "all_in": demand.second * (costs.request_bytes + (costs.requests - 1) * 600 + handshakes * 600) * 8,
        "all_out": demand.second
        * (costs.answer_bytes + costs.page_bytes + handshakes * costs.handshake_bytes)
        * 8,
        "requests": demand.second * costs.requests,
        "handshakes": demand.second * handshakes,
    }


def before_and_after(costs: Costs, demand: Demand, machine: Machine) -> Mapping[str, float]:
    """Seconds of what the scrutineer waits for, on one machine."""
    millions = demand.votes / 1e6
    return {
        "issue": demand.electorate * costs.issue_us / 1e6 / machine.cores,
        "tally": demand.votes * costs.open_us / 1e6 / machine.cores,
        "check_signatures": demand.votes * costs.signature_us / 1e6 / machine.cores,
        "check": millions * costs.check_s,
        "backup_full": millions * costs.backup_s,
        "drill": millions * costs.drill_s,
        "recover": millions * costs.recover_s,
    }
