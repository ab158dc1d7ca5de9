"""Group commit, stepped by hand: what waits goes together, bounds hold, every waiter gets one answer.

The queue's end of the connection is played here by hand; the gate itself is tested on a real server.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from redis.exceptions import ResponseError

from ballot import receipt
from ballot.suite import SigningKey
from intake.batch import CALL_ITEMS_MAX, Batcher, Decision
from intake.gate import ACCESS, CAST, Call, Unready
from intake.settings import Settings
from runtime.clock import SystemClock
from tests.unit.intake.hand_node import HandNode, accept
from tests.unit.intake.hand_node import ask as decide

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


KEY = SigningKey.from_seed(b"k" * 32)
SETTINGS = Settings(confirm_s=0.5, inflight_max=600)


@asynccontextmanager
async def batching(queue: HandNode, settings: Settings = SETTINGS) -> AsyncIterator[Batcher]:
    """A running batcher in front of `queue`."""

    def issue(leaves: Sequence[receipt.Leaf]) -> list[bytes]:
        return receipt.issue_bodies(leaves, KEY)

    batcher = Batcher(
        lambda _address, _trusted: queue,
        alone=("one", 1),
        settings=settings,
        clock=SystemClock(),
        issue_receipts=issue,
    )
    running = asyncio.create_task(batcher.run())
    await wait_for(lambda: queue.opened > 0)
    try:
        yield batcher
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def wait_for(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.001)


def cast(batcher: Batcher, number: int = 0, *, shard: int = 0) -> asyncio.Task[Decision | None]:
    """Submit a vote with a reference of its own."""
    reference = f"0000-0000-0000-{number:04d}".encode()
    args = (b"d" * 32, b"i" * 16, reference, b"record", number.to_bytes(32, "big"), b"ip")
    return asyncio.create_task(decide(batcher, CAST, ballot="b", shard=shard, args=args))


def ask(batcher: Batcher, *, shard: int = 0) -> asyncio.Task[Decision | None]:
    """Submit an access request."""
    return asyncio.create_task(decide(batcher, ACCESS, ballot="b", shard=shard, args=(b"d" * 32, b"ip")))


async def test_what_waits_goes_together_and_each_gets_its_own_receipt() -> None:
    """One vote goes alone at once; those that come meanwhile share the next call and one signature."""
    queue = HandNode()
    async with batching(queue) as batcher:
        first = cast(batcher, 1)
        await wait_for(lambda: len(queue.rounds) == 1)
        others = [cast(batcher, number) for number in range(2, 12)]
        await wait_for(lambda: batcher.inflight == 11)
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)
        decisions = await asyncio.gather(first, *others)

    assert [len(calls[0].args) // 6 for calls in queue.rounds] == [1, 10]
    bodies = [decision.receipt for decision in decisions if decision and decision.receipt]
    receipts = [receipt.Receipt.from_dict(orjson.loads(body)) for body in bodies]
    assert [each.reference[-4:] for each in receipts] == [f"{number:04d}" for number in range(1, 12)]
    for each in receipts:
        receipt.verify(each, KEY.public)
    assert len({each.signature for each in receipts[1:]}) == 1


async def test_shards_and_functions_share_a_round() -> None:
    """Calls to several shards, and access requests, are written together."""
    queue = HandNode()
    async with batching(queue) as batcher:
        first = cast(batcher)
        await wait_for(lambda: len(queue.rounds) == 1)
        votes = [cast(batcher, number, shard=number % 4) for number in range(8)]
        asked = ask(batcher)
        await wait_for(lambda: batcher.inflight == 10)
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)
        await asyncio.gather(first, *votes)
        decision = await asked

    assert decision is not None
    assert (decision.outcome, decision.receipt) == ("ready", None)
    assert sorted((call.function, call.shard) for call in queue.rounds[1]) == [
        (ACCESS, 0),
        *((CAST, shard) for shard in range(4)),
    ]


async def test_a_call_holds_only_so_many() -> None:
    """A long line is sent in bounded calls, in order, none left behind."""
    queue = HandNode()
    async with batching(queue) as batcher:
        first = cast(batcher)
        await wait_for(lambda: len(queue.rounds) == 1)
        votes = [cast(batcher, number) for number in range(CALL_ITEMS_MAX + 5)]
        await wait_for(lambda: batcher.inflight == CALL_ITEMS_MAX + 6)
        for _ in range(3):
            queue.answers.put_nowait(accept)
        decisions = await asyncio.gather(first, *votes)

    assert [len(calls[0].args) // 6 for calls in queue.rounds] == [1, CALL_ITEMS_MAX, 5]
    assert all(decision and decision.receipt for decision in decisions)


async def test_beyond_the_bound_the_answer_is_immediate() -> None:
    """The line never grows past the bound, and there is room again once answers came."""
    queue = HandNode()
    async with batching(queue, replace(SETTINGS, inflight_max=3)) as batcher:
        waiting = [cast(batcher, number) for number in range(3)]
        await wait_for(lambda: batcher.inflight == 3)

        assert await cast(batcher, 9) is None
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)
        await asyncio.gather(*waiting)
        queue.answers.put_nowait(accept)
        assert await cast(batcher, 10) is not None


async def test_access_requests_keep_no_vote_out() -> None:
    """A flood of access requests fills a quarter of the room; votes still go, and before all that asks."""
    queue = HandNode()
    async with batching(queue, replace(SETTINGS, inflight_max=8)) as batcher:
        first = cast(batcher)
        await wait_for(lambda: len(queue.rounds) == 1)
        asked = [ask(batcher, shard=number) for number in range(20)]
        assert [await each for each in asked[2:]] == [None] * 18
        votes = [cast(batcher, number) for number in range(7)]
        await wait_for(lambda: batcher.inflight == 10)
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)

        decisions = await asyncio.gather(first, *votes, *asked[:2])

    assert all(decisions)
    assert [call.function for call in queue.rounds[1]] == [CAST, ACCESS, ACCESS]


async def test_throttled_addresses_keep_nobody_else_out() -> None:
    """Theirs is an eighth of each room, however many they are; everybody else's places stay free."""
    queue = HandNode()
    async with batching(queue, replace(SETTINGS, inflight_max=16)) as batcher:
        first = cast(batcher)
        await wait_for(lambda: len(queue.rounds) == 1)
        taken: list[Decision | None] = []

        def submit(function: str, args: tuple[bytes, ...], *, throttled: bool) -> bool:
            return batcher.submit(
                function, ballot="b", shard=0, args=args, done=taken.append, throttled=throttled
            )

        vote = (b"d" * 32, b"i" * 16, b"reference", b"record", b"s" * 32, b"ip")
        junk = [submit(CAST, vote, throttled=True) for _ in range(50)]
        guesses = [submit(ACCESS, vote[:2], throttled=True) for _ in range(50)]
        votes = [submit(CAST, vote, throttled=False) for _ in range(16)]
        asked = [submit(ACCESS, vote[:2], throttled=False) for _ in range(5)]
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)
        assert await first is not None
        await wait_for(lambda: len(taken) == 22)

    assert (sum(junk), sum(guesses), sum(votes), sum(asked)) == (2, 1, 15, 4)
    assert all(taken)
    assert batcher.inflight == 0


@pytest.mark.parametrize(
    "error", [ConnectionError(), TimeoutError(), ResponseError("OOM"), ValueError("bug")]
)
async def test_a_failed_round_is_not_confirmed_and_the_next_one_works(error: Exception) -> None:
    """Whatever a round dies of, its votes are answered, the connection is made anew, and votes go on."""
    queue = HandNode()
    async with batching(queue) as batcher:
        vote = cast(batcher)
        queue.answers.put_nowait(error)
        assert await vote is None

        await wait_for(lambda: queue.opened == 2 and batcher.ready)
        queue.answers.put_nowait(accept)
        assert await cast(batcher) is not None
    assert batcher.inflight == 0


async def test_one_refused_call_leaves_the_others_their_answers() -> None:
    """An error for one shard costs that shard's votes only."""
    queue = HandNode()

    def half(calls: list[Call]) -> list[Any]:
        return [ResponseError("OOM") if call.shard == 1 else accept([call])[0] for call in calls]

    async with batching(queue) as batcher:
        first = cast(batcher)
        await wait_for(lambda: len(queue.rounds) == 1)
        good, bad = cast(batcher, 1, shard=0), cast(batcher, 2, shard=1)
        await wait_for(lambda: batcher.inflight == 3)
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(half)
        decisions = await asyncio.gather(first, good, bad)

    assert [decision is not None for decision in decisions] == [True, True, False]


async def test_who_waits_too_long_is_told_and_never_sent() -> None:
    """A vote that expired while it waited is not sent afterwards: its voter was told to try again."""
    queue = HandNode()
    async with batching(queue, replace(SETTINGS, confirm_s=0.1)) as batcher:
        sent, waiting = cast(batcher, 1), cast(batcher, 2)
        await wait_for(lambda: len(queue.rounds) == 1)
        late = cast(batcher, 3)

        assert list(await asyncio.gather(sent, waiting, late)) == [None, None, None]
        queue.answers.put_nowait(accept)
        queue.answers.put_nowait(accept)
        assert await cast(batcher, 4) is not None

    sent_references = [call.args[index + 2] for calls in queue.rounds for call in calls for index in (0,)]
    assert b"0000-0000-0000-0003" not in sent_references


async def test_an_unready_queue_takes_nothing() -> None:
    """While the queue is not good enough the answer is immediate and the reason is kept."""
    queue = HandNode()
    queue.refuse = Unready("not_durable", "Set appendfsync always.")
    async with batching(queue) as batcher:
        await wait_for(lambda: batcher.reason == "not_durable")
        assert await cast(batcher) is None

        queue.refuse = None
        await wait_for(lambda: batcher.ready)
        queue.answers.put_nowait(accept)
        assert await cast(batcher) is not None
    assert not queue.rounds[1:]


class Keeps(HandNode):
    """A connection being made that keeps a cancellation to itself and goes on."""

    swallowed = 0

    async def open(self) -> None:
        """Wait for the first cancellation, and be there."""
        self.opened += 1
        if not self.swallowed:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.swallowed += 1


async def test_it_ends_though_a_link_keeps_a_cancellation_to_itself() -> None:
    """Each is told again until it ends: a task group by itself tells them once."""
    queue = Keeps()
    async with asyncio.timeout(5), batching(queue):
        pass
    assert queue.swallowed == 1
