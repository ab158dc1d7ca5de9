"""Whom the edges may send votes to: each primary's run is judged by itself, by the shards it holds."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from ballot import handoff
from runtime.lifecycle import Retry
from runtime.nodes import Primary
from workers.gates import GateKept
from workers.metrics import WorkerMetrics
from workers.store import Kept, Mark
from workers.trust import AGAIN_LOOKS, AGAIN_MARKS, EPOCH_LOOKS, Trust

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SHARDS = 16
HALF = 8_191
AS_RECORDED = GateKept(5, 9, closed=False, revoked=2, released=1, epoch=7)
LOW, HIGH = ((0, HALF),), ((HALF + 1, 16_383),)


class Queue:
    """Two primaries with half of the slots each; every shard has taken ten votes."""

    def __init__(self) -> None:
        self.primaries = {"low": primary(1, LOW), "high": primary(2, HIGH)}
        self.silent = 0
        self.latched = False
        self.marks: set[str] = {"ended"}
        self.rebuilt = 0
        self.asked = 0
        self.gates: dict[int, GateKept | None] = dict.fromkeys(range(SHARDS), AS_RECORDED)
        self.ends = {handoff.votes_key("b", shard): ("100-0", 10) for shard in range(SHARDS)}

    async def runs(self) -> tuple[dict[str, Primary], int]:
        """Those that answer."""
        return dict(self.primaries), self.silent

    async def recovering(self) -> bool:
        """Whether somebody recovers it."""
        return self.latched

    async def epoch(self) -> int:
        """How often it was rebuilt."""
        return self.rebuilt

    async def trusted(self) -> set[str]:
        """The marks given."""
        return set(self.marks)

    async def trust(self, run_id: str) -> None:
        """Give one."""
        self.marks.add(run_id)

    async def distrust(self, run_ids: Collection[str]) -> None:
        """Take some back."""
        self.marks -= set(run_ids)

    async def extents(self, streams: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Where streams end."""
        self.asked += 1
        return {stream: self.ends[stream] for stream in streams}

    async def kept(self, shards: Collection[tuple[str, int]]) -> dict[tuple[str, int], GateKept | None]:
        """What gates have."""
        self.asked += 1
        return {shard: self.gates[shard[1]] for shard in shards}

    async def accepted(self, shards: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """What shards have accepted."""
        self.asked += 1
        return dict.fromkeys(shards, 10)


class Store:
    """A voter database that has seen ten votes of each shard."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.faults: list[str] = []
        self.looks = 0
        self.rebuilt = 0
        self.ballots = ["b"]
        self.record = [Kept("b", shard, 5, 9, 2, 1, 7) for shard in range(SHARDS)]

    async def epoch(self, _queue: int) -> int:
        """How often the queue was rebuilt."""
        return self.rebuilt

    async def marks(self) -> list[Mark]:
        """How far it has come."""
        self.looks += 1
        return [
            Mark(ballot, shard, "stored", "100-0", 10, 10 * SHARDS)
            for ballot in self.ballots
            for shard in range(SHARDS)
        ]

    async def kept(self) -> list[Kept]:
        """What the gates must still have."""
        return self.record

    async def gate_epochs(self) -> dict[str, int]:
        """What a recovery gave the gates."""
        return {each.ballot: each.epoch for each in self.record}

    async def event(self, _ballot: str | None, kind: str, **detail: Any) -> None:
        """Keep a line of the audit log."""
        self.events.append(f"{kind} {detail['run_id']}")
        self.faults += detail.get("faults", [])


def primary(port: int, slots: tuple[tuple[int, int], ...]) -> Primary:
    """A primary that nobody connects to."""
    client: Any = None
    return Primary(("127.0.0.1", port), client, slots)


def shard_of(holder: Primary) -> str:
    """The stream of a shard that this primary holds."""
    return next(
        stream
        for stream in (handoff.votes_key("b", shard) for shard in range(SHARDS))
        if holder.holds(stream)
    )


@pytest.fixture
def queue() -> Queue:
    """Two primaries that have lost nothing."""
    return Queue()


@pytest.fixture
def store() -> Store:
    """What was stored of them."""
    return Store()


@pytest.fixture
def trust(queue: Queue, store: Store) -> Trust:
    """The check, on those two."""
    given: Any = (queue, store)
    return Trust(queue=given[0], store=given[1], metrics=WorkerMetrics(CollectorRegistry()))


async def test_each_run_is_compared_once(queue: Queue, store: Store, trust: Trust) -> None:
    """Both runs are vouched for, the mark of one that ended is taken back, and nothing is compared again."""
    await trust.check()
    assert queue.marks == {"low", "high"}
    looks = store.looks
    await trust.check()
    assert store.looks == looks


async def test_a_trusted_primary_that_fell_behind_is_trusted_no_more(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """Within a few looks, though its run and slots are as they were; and again when it is mended."""
    await trust.check()
    stream = shard_of(queue.primaries["low"])
    queue.ends[stream] = ("100-0", 9)
    for _ in range(AGAIN_LOOKS):
        with suppress(Retry):
            await trust.check()
    assert queue.marks == {"high"}
    assert store.events[-1] == "trust_refused low"

    queue.ends[stream] = ("100-0", 10)
    await trust.check()
    assert queue.marks == {"low", "high"}


async def test_many_ballots_are_asked_for_together_and_looked_at_in_turn(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """No look takes long, for it also has to see that a recovery begins; and no ballot is left out."""
    store.ballots = [f"b-{number:03}" for number in range(3 * AGAIN_MARKS // SHARDS)]
    queue.ends = {
        handoff.votes_key(ballot, shard): ("100-0", 10) for ballot in store.ballots for shard in range(SHARDS)
    }
    await trust.check()
    assert queue.asked == 3 * len(queue.primaries)
    compared: list[set[str]] = []
    faults = trust._faults

    async def noted(primary: Primary, marks: Sequence[Mark]) -> list[str]:
        compared.append({mark.ballot for mark in marks})
        assert len(marks) <= AGAIN_MARKS
        return await faults(primary, marks)

    trust._faults = noted  # type: ignore[method-assign]  # looked at
    for _ in range(4 * AGAIN_LOOKS):
        await trust.check()
    assert set().union(*compared) == {*store.ballots}
    assert len(compared) == 4 * len(queue.primaries)

    queue.ends[handoff.votes_key(store.ballots[-1], 3)] = ("100-0", 9)
    with suppress(Retry):
        for _ in range(4 * AGAIN_LOOKS):
            await trust.check()
    assert len(queue.marks) == 1


async def test_a_primary_that_lost_votes_keeps_out_itself_alone(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """A replica that took a place without all its votes is refused, once in the log; the others go on."""
    await trust.check()
    queue.primaries["heir"] = queue.primaries.pop("low")
    stream = shard_of(queue.primaries["heir"])
    queue.ends[stream] = ("99-0", 9)
    for _ in range(2):
        with pytest.raises(Retry, match="lost what was stored"):
            await trust.check()
    assert queue.marks == {"high"}
    assert store.events.count("trust_refused heir") == 1

    queue.ends[stream] = ("100-0", 10)
    await trust.check()
    assert queue.marks == {"high", "heir"}


async def test_while_the_queue_is_recovered_nothing_is_vouched_for(queue: Queue, trust: Trust) -> None:
    """With the latch every mark is taken back and none is given; without it each run is compared again."""
    await trust.check()
    queue.latched = True
    for _ in range(2):
        with pytest.raises(Retry, match="ballot recover"):
            await trust.check()
        assert queue.marks == set()

    queue.latched = False
    await trust.check()
    assert queue.marks == {"low", "high"}


async def test_a_queue_from_before_a_recovery_is_not_vouched_for(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """Rebuilt another number of times than the voter database knows: a run is not trusted, nor stays so."""
    store.rebuilt = 1
    for _ in range(2):
        with pytest.raises(Retry, match="ballot recover"):
            await trust.check()
    assert queue.marks == set()
    assert store.events == [
        "trust_refused low",
        "trust_refused high",
    ]  # once, for it stays so without a person
    assert "epoch 0" in store.faults[0]

    queue.rebuilt = 1
    await trust.check()
    assert queue.marks == {"low", "high"}

    queue.rebuilt = 0  # emptied while it ran
    with suppress(Retry):
        for _ in range(EPOCH_LOOKS):
            await trust.check()
    assert queue.marks == set()


async def test_a_voter_database_that_is_away_takes_nothing_back(
    queue: Queue, store: Store, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its word is wanted again now and then; what was vouched for stays so without it, what is new waits."""
    await trust.check()

    async def away(_queue: int) -> int:
        raise Retry("voter database")

    monkeypatch.setattr(store, "epoch", away)
    for _ in range(EPOCH_LOOKS):
        await trust.check()
    assert queue.marks == {"low", "high"}

    queue.primaries["heir"] = queue.primaries.pop("low")
    with pytest.raises(Retry, match="voter database"):
        await trust.check()
    assert "heir" not in queue.marks


async def test_slots_that_arrive_without_their_votes_cost_the_trust(queue: Queue, trust: Trust) -> None:
    """A trusted primary that takes over slots is compared again, and refused if they came empty."""
    await trust.check()
    moved = shard_of(queue.primaries["low"])
    queue.primaries = {"low": primary(1, ()), "high": primary(2, LOW + HIGH)}
    await trust.check()
    assert queue.marks == {"low", "high"}

    queue.primaries = {"low": primary(1, LOW), "high": primary(2, HIGH)}
    queue.ends[moved] = ("0-0", 0)
    with pytest.raises(Retry):
        await trust.check()
    assert queue.marks == {"high"}


async def test_a_silent_primary_keeps_nobody_elses_place_and_its_own_mark(queue: Queue, trust: Trust) -> None:
    """While one does not answer the others are judged; no mark is taken back, for it may be back at once."""
    queue.primaries.pop("low")
    queue.silent = 1
    assert not await trust.check()
    assert queue.marks == {"high", "ended"}


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (
            GateKept(5, 9, closed=False, revoked=1, released=1, epoch=7),
            "has revoked 1 codes, 2 are on record",
        ),
        (
            GateKept(5, 9, closed=False, revoked=2, released=0, epoch=7),
            "has released 0 votes, 1 are on record",
        ),
        (GateKept(5, 10, closed=False, revoked=2, released=1, epoch=7), "opens and closes at 5 and 10 us"),
        (GateKept(5, 8, closed=False, revoked=2, released=1, epoch=7), "opens and closes at 5 and 8 us"),
        (GateKept(5, 9, closed=False, revoked=2, released=1, epoch=6), "is from before a recovery (6, 7 is"),
        (GateKept(5, 10, closed=True, revoked=2, released=1, epoch=7), ""),
        (GateKept(5, 9, closed=False, revoked=None, released=2, epoch=8), ""),
        (None, ""),
    ],
)
async def test_a_gate_that_forgot_what_is_on_record_is_not_vouched_for(
    queue: Queue, store: Store, trust: Trust, gate: GateKept | None, said: str
) -> None:
    """An older copy would take votes with a revoked code or after the close; what is closed takes none."""
    shard = next(each for each in range(SHARDS) if queue.primaries["low"].holds(handoff.votes_key("b", each)))
    queue.gates[shard] = gate
    if not said:
        assert await trust.check()
        return
    with pytest.raises(Retry):
        await trust.check()
    assert queue.marks == {"high"}
    assert [said in each for each in store.faults] == [True]
    queue.gates[shard] = AS_RECORDED
    assert await trust.check()
    assert queue.marks == {"low", "high"}


@pytest.mark.parametrize("looks", [1, AGAIN_LOOKS])
async def test_a_gate_from_before_a_recovery_closes_the_queue_whoever_vouched_for_it(
    queue: Queue, trust: Trust, looks: int
) -> None:
    """At the first look of a worker, for one of an older version has not compared it; and now and then."""
    if looks == 1:
        queue.marks = {"low", "high"}
    else:
        await trust.check()
    shard = next(each for each in range(SHARDS) if queue.primaries["low"].holds(handoff.votes_key("b", each)))
    queue.gates[shard] = GateKept(5, 9, closed=False, revoked=2, released=1, epoch=6)
    with suppress(Retry):
        for _ in range(looks):
            await trust.check()
    assert queue.marks == {"high"}


async def test_a_page_that_met_a_silent_primary_comes_again_at_once(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """Its next turn would be after all the others'."""
    store.ballots = [f"b-{number:03}" for number in range(3 * AGAIN_MARKS // SHARDS)]
    queue.ends = {
        handoff.votes_key(ballot, shard): ("100-0", 10) for ballot in store.ballots for shard in range(SHARDS)
    }
    await trust.check()
    ask, compared = trust._faults, []
    silent = True

    async def once_silent(primary: Primary, marks: Sequence[Mark]) -> list[str]:
        compared.append(marks[0].ballot)
        if silent:
            raise Retry("queue: a primary does not answer")
        return await ask(primary, marks)

    trust._faults = once_silent  # type: ignore[method-assign]  # looked at
    for _ in range(AGAIN_LOOKS):
        with suppress(Retry):
            await trust.check()
    assert len(compared) == 1
    silent = False
    for _ in range(2 * AGAIN_LOOKS):
        await trust.check()
    first, again, other = compared[0], compared[1], compared[-1]
    assert first == again == store.ballots[0]
    assert other > first


async def test_what_the_desk_changes_closes_no_queue_that_is_trusted(
    queue: Queue, store: Store, trust: Trust
) -> None:
    """A closing time is at the gate before it is on record: a worker that comes meanwhile waits."""
    await trust.check()
    queue.gates = dict.fromkeys(range(SHARDS), GateKept(5, 7, closed=False, revoked=-1, released=0, epoch=7))
    given: Any = (queue, store)
    another = Trust(queue=given[0], store=given[1], metrics=WorkerMetrics(CollectorRegistry()))
    for _ in range(AGAIN_LOOKS):
        assert await another.check()
    assert queue.marks == {"low", "high"}
