"""Several primaries, stepped by hand: each shard's votes go to its own, and again only where not done."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, TryAgainError

from ballot import receipt
from ballot.suite import SigningKey
from intake.batch import Batcher
from intake.clocks import Reading
from intake.gate import CAST, Unready
from intake.node import NotKept
from intake.routing import Address, Map, slot_of
from intake.scout import Scout
from intake.settings import Settings
from runtime.clock import SystemClock
from tests.unit.intake.hand_node import HandNode, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from intake.batch import Decision

KEY = SigningKey.from_seed(b"k" * 32)
A, B, C = ("a", 1), ("b", 2), ("c", 3)
ON_A, ON_B = 0, 1
SLOT = slot_of("b", ON_A)


class HandScout(Scout):
    """Says what the test says."""

    def __init__(self) -> None:
        self.trusted = frozenset()
        self.owners: list[Address | None] = [A] * REDIS_CLUSTER_HASH_SLOTS
        self.owners[slot_of("b", ON_B)] = B
        self.primaries = frozenset((A, B))
        self.map: Map | None = None
        self.looked = 0

    async def look(self) -> None:
        """Tell it."""
        self.looked += 1
        self.map = Map(self.looked, self.primaries, list(self.owners))

    async def close(self) -> None:
        """Nothing is open."""


class Field:
    """A batcher in front of three primaries; the Cluster uses two of them."""

    def __init__(self) -> None:
        self.scout = HandScout()
        self.nodes = {A: HandNode(), B: HandNode(), C: HandNode()}
        self.batcher = Batcher(
            lambda address, _trusted: self.nodes[address],
            scout=self.scout,
            settings=Settings(confirm_s=1.5, inflight_max=100),
            clock=SystemClock(),
            issue_receipts=issue,
        )

    def cast(self, number: int, shard: int) -> asyncio.Task[Decision | None]:
        """Submit a vote on a shard."""
        reference = f"0000-0000-0000-{number:04d}".encode()
        args = (b"d" * 32, b"i" * 16, reference, b"record", number.to_bytes(32, "big"), b"ip")
        return asyncio.create_task(ask(self.batcher, CAST, ballot="b", shard=shard, args=args))

    async def sent(self, address: Address, count: int = 1) -> None:
        """Wait until a primary was sent so many rounds."""
        await until(lambda: len(self.nodes[address].rounds) >= count)


def issue(leaves: Sequence[receipt.Leaf]) -> list[bytes]:
    """Sign receipts."""
    return receipt.issue_bodies(leaves, KEY)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.001)


@pytest.fixture
async def field() -> AsyncIterator[Field]:
    """A running, ready field."""
    async with running(Field()) as found:
        await until(lambda: found.batcher.ready)
        yield found


@asynccontextmanager
async def running(field: Field) -> AsyncIterator[Field]:
    """Run the batcher while the block runs."""
    task = asyncio.create_task(field.batcher.run())
    try:
        yield field
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_slow_primary_delays_only_its_own(field: Field) -> None:
    """While one round hangs, votes on the other primary go and come, and fill no room of theirs."""
    stuck = [field.cast(number, ON_A) for number in range(50)]
    await field.sent(A)
    assert await field.cast(50, ON_A) is None
    for number in range(60, 70):
        field.nodes[B].answer()
        assert await field.cast(number, ON_B) is not None

    field.nodes[A].answer()
    assert all(await asyncio.gather(*stuck))


async def test_readiness_is_each_primarys_own() -> None:
    """One that is not good enough refuses its shards at once; the edge as a whole is not ready."""
    field = Field()
    field.nodes[A].refuse = Unready("not_trusted", "Start a worker.")
    async with running(field):
        await until(lambda: field.batcher.reason == "not_trusted")
        await until(lambda: field.nodes[B].opened > 0)
        assert await field.cast(1, ON_A) is None
        field.nodes[B].answer()
        assert await field.cast(2, ON_B) is not None
        assert not field.nodes[A].rounds

        field.nodes[A].refuse = None
        await until(lambda: field.batcher.ready)


async def test_what_has_moved_is_sent_to_where_it_is(field: Field) -> None:
    """MOVED: nothing was done; the vote goes to the primary that was named, and others follow at once."""
    vote = field.cast(1, ON_A)
    await field.sent(A)
    field.nodes[A].answer(MovedError(f"{SLOT} b:2"))
    field.nodes[B].answer()
    assert await vote is not None

    field.scout.owners[SLOT] = B
    field.nodes[B].answer()
    assert await field.cast(2, ON_A) is not None
    assert (len(field.nodes[A].rounds), len(field.nodes[B].rounds)) == (1, 2)


async def test_a_primary_that_is_new_is_found(field: Field) -> None:
    """MOVED to one that we did not know: we look again, connect, and send what waited."""
    field.scout.owners[SLOT] = C
    field.scout.primaries = frozenset((A, B, C))
    vote = field.cast(1, ON_A)
    await field.sent(A)
    field.nodes[A].answer(MovedError(f"{SLOT} c:3"))
    field.nodes[C].answer()

    assert await vote is not None


async def test_a_shard_on_its_way_is_asked_for_where_it_goes(field: Field) -> None:
    """ASK and TRYAGAIN: the vote is asked for at the target until it is there, without changing the map."""
    vote = field.cast(1, ON_A)
    await field.sent(A)
    field.nodes[A].answer(AskError(f"{SLOT} b:2"))
    field.nodes[B].answer(TryAgainError("Multiple keys request during rehashing of slot"))
    field.nodes[A].answer(AskError(f"{SLOT} b:2"))
    field.nodes[B].answer(ClusterDownError("The cluster is down"))
    field.nodes[A].answer(AskError(f"{SLOT} b:2"))
    field.nodes[B].answer()

    assert await vote is not None
    assert [calls[0].asking for calls in field.nodes[B].rounds] == [True, True, True]
    assert [calls[0].asking for calls in field.nodes[A].rounds] == [False, False, False]


async def test_a_primary_that_became_a_replica(field: Field) -> None:
    """READONLY: nothing was done; once the Cluster says who took its place the vote goes there."""
    vote = field.cast(1, ON_A)
    await field.sent(A)
    field.scout.owners[SLOT] = B
    field.nodes[A].refuse = Unready("replica", "It is a replica.")
    field.nodes[B].answer()
    field.nodes[A].answer(ReadOnlyError("You can't write against a read only replica."))

    assert await vote is not None


async def test_votes_that_wait_follow_their_shard(field: Field) -> None:
    """The primary is gone from the Cluster: what waits goes to its successor, what was sent does not."""
    sent = field.cast(1, ON_A)
    await field.sent(A)
    waiting = field.cast(2, ON_A)
    await until(lambda: field.batcher.inflight == 2)
    field.scout.owners = [B] * REDIS_CLUSTER_HASH_SLOTS
    field.scout.primaries = frozenset((B,))
    field.nodes[B].answer()

    assert await waiting is not None
    assert await sent is None
    (references,) = [[call.args[2] for call in calls] for calls in field.nodes[B].rounds]
    assert references == [b"0000-0000-0000-0002"]


async def test_what_goes_in_circles_ends_at_its_deadline(field: Field) -> None:
    """Two primaries that name each other cost a vote its time, not the edge its own."""

    def elsewhere(port: int) -> Callable[[list[Any]], list[Any]]:
        return lambda calls: [MovedError(f"{SLOT} {'ab'[port - 1]}:{port}") for _ in calls]

    for _ in range(100):
        field.nodes[A].answers.put_nowait(elsewhere(2))
        field.nodes[B].answers.put_nowait(elsewhere(1))

    assert await field.cast(1, ON_A) is None
    assert len(field.nodes[A].rounds) + len(field.nodes[B].rounds) < 90


async def test_no_vote_counts_before_its_replicas_have_it(field: Field) -> None:
    """Replicas that are late: nothing of the round is confirmed, none is taken until they have caught up."""
    votes = [field.cast(number, ON_A) for number in range(3)]
    await field.sent(A)
    field.nodes[A].answers.put_nowait(NotKept())
    field.nodes[A].answers.put_nowait(NotKept())
    assert list(await asyncio.gather(*votes)) == [None] * 3
    await until(lambda: field.batcher.reason == "replicas_behind")
    assert await field.cast(4, ON_A) is None
    field.nodes[B].answer()
    assert await field.cast(5, ON_B) is not None

    rounds = len(field.nodes[A].rounds)
    field.nodes[A].caught_up.set()
    await until(lambda: field.batcher.ready)
    assert len(field.nodes[A].rounds) == rounds


async def test_clocks_that_differ_stop_every_vote() -> None:
    """As long as two primaries' clocks are apart, no vote is taken on any of them."""
    field = Field()
    field.nodes[A].reading, field.nodes[B].reading = Reading(0, 0), Reading(2_000_000, 0)
    async with running(field):
        await until(lambda: field.batcher.reason == "clock_skew")
        assert await field.cast(1, ON_A) is None
        assert await field.cast(2, ON_B) is None
    assert not field.nodes[A].rounds
    assert not field.nodes[B].rounds
