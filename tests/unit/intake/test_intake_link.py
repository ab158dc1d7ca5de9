"""One primary's link, stepped by hand: how long it waits, what makes it let go, how soon it tries again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import MovedError, NoPermissionError, OutOfMemoryError, ResponseError

from intake.clocks import Clocks
from intake.gate import CAST, Call, Unready
from intake.lines import Item
from intake.link import BACKOFF_S, CHECK_S, CHECK_SOON_S, Link
from tests.manual_clock import ManualClock
from tests.unit.intake.hand_node import HandNode, accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from intake.gate import Decision


class Bench:
    """A link to a primary played by hand, whose clock moves only when somebody sleeps or the test says so."""

    def __init__(self) -> None:
        self.node = HandNode()
        self.clock = ManualClock()
        self.sent_on: list[Item] = []
        self.answered: dict[int, Decision | None] = {}
        self.states: list[tuple[bool, str]] = []
        self.noted: list[tuple[str, int, list[str]]] = []
        self.note_fails = False
        self.link = Link(
            self.node,
            name="one:1",
            clock=self.clock,
            clocks=Clocks(),
            issue_receipts=lambda leaves: [b"receipt"] * len(leaves),
            redirect=lambda item, _error: self.sent_on.append(item),
            changed=lambda: self.states.append((self.link.ready, self.link.reason)),
            note=self.note,
        )

    def note(self, ballot: str, shard: int, decisions: Sequence[Decision]) -> None:
        """Remember what was noted, and that everybody had their answer by then."""
        assert self.answered
        self.noted.append((ballot, shard, [decision.outcome for decision in decisions]))
        if self.note_fails:
            raise RuntimeError("a bug in the journal")

    def add(self, number: int, *, shard: int = 0, seconds: float = 2.0) -> None:
        """Let a vote wait for at most so long."""
        args = (b"d" * 32, b"i" * 16, b"reference", b"record", b"s" * 32, b"ip")
        deadline_s = self.clock.monotonic() + seconds

        def done(decision: Decision | None) -> None:
            self.answered[number] = decision

        self.link.add(Item(CAST, "b", shard, args, deadline_s, done, CAST))

    async def fails(self, error: Exception, number: int) -> float:
        """Let a round die of `error`; how long the link kept away before it connected again."""
        opened, slept_s = self.node.opened, self.clock.slept_s
        self.node.answer(error)
        self.add(number)
        await until(lambda: self.node.opened > opened and self.link.ready)
        return self.clock.slept_s - slept_s


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """A bench whose link runs."""
    bench = Bench()
    task = asyncio.create_task(bench.link.run())
    await until(lambda: bench.link.ready)
    try:
        yield bench
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_each_call_accepted_is_noted_after_the_answers() -> None:
    """A line a call, for votes only; a fault there costs no vote and no connection."""
    async with running() as bench:
        bench.note_fails = True
        bench.add(1)
        bench.add(2)
        bench.add(3, shard=1)
        bench.node.answer()
        await until(lambda: len(bench.answered) == 3)
        bench.add(4)
        bench.node.answer()
        await until(lambda: len(bench.answered) == 4)
        opened = bench.node.opened

    assert bench.noted == [("b", 0, ["accepted"] * 2), ("b", 1, ["accepted"]), ("b", 0, ["accepted"])]
    assert all(decision is not None for decision in bench.answered.values())
    assert opened == 1


async def test_replicas_have_as_long_as_the_last_vote_of_the_round() -> None:
    """One whose time is nearly over does not take the others' away."""
    async with running() as bench:
        bench.add(1, seconds=0.01)
        bench.add(2, seconds=1.5)
        bench.add(3, shard=1, seconds=0.5)
        bench.node.answer()
        await until(lambda: len(bench.answered) == 3)

    assert bench.node.waits == [pytest.approx(1.5)]


@pytest.mark.parametrize("error", [OutOfMemoryError("command not allowed"), ResponseError("OOM no memory")])
async def test_a_full_queue_has_its_name_and_is_tried_less_and_less_often(error: Exception) -> None:
    """Connecting works each time; only a round that works makes the next failure a first one again."""
    async with running() as bench:
        kept_away = [await bench.fails(error, number) for number in range(7)]
        assert bench.states[1::2] == [(False, "out_of_memory")] * 7
        bench.node.answer()
        bench.add(7)
        await until(lambda: bench.answered.get(7) is not None)
        kept_away.append(await bench.fails(error, 8))

    doubling = [min(BACKOFF_S[0] * 2**number, BACKOFF_S[1]) for number in range(7)]
    assert kept_away == pytest.approx([*doubling, BACKOFF_S[0]])
    assert [bench.answered[number] for number in (*range(7), 8)] == [None] * 8


async def test_a_connection_that_lasts_is_a_good_one() -> None:
    """A check some seconds later makes the next failure a first one again, also when nobody votes."""
    async with running() as bench:
        for number in range(3):
            await bench.fails(ConnectionError(), number)
        bench.clock.advance(CHECK_S)
        bench.link.tick()
        await until(lambda: bench.node.checks == 1)

        assert await bench.fails(ConnectionError(), 3) == pytest.approx(BACKOFF_S[0])


def second_fails(error: Exception) -> Callable[[list[Call]], list[Any]]:
    """Accept all calls but those on shard 1."""
    return lambda calls: [error if call.shard == 1 else accept([call])[0] for call in calls]


async def test_an_error_of_one_call_costs_that_call_only() -> None:
    """The other shards were answered: the connection stays, and is checked soon."""
    async with running() as bench:
        for shard in (0, 1, 2):
            bench.add(shard, shard=shard)
        bench.node.answers.put_nowait(second_fails(ResponseError("WRONGTYPE")))
        await until(lambda: len(bench.answered) == 3)
        assert [bench.answered[shard] is not None for shard in (0, 1, 2)] == [True, False, True]
        bench.clock.advance(CHECK_SOON_S)
        bench.link.tick()
        await until(lambda: bench.node.checks == 1)

    assert bench.node.opened == 1
    assert bench.states[0] == (True, "ready")
    assert all(ready for ready, _ in bench.states)


async def test_a_broken_shard_is_logged_once_a_second(capfd: pytest.CaptureFixture[str]) -> None:
    """However many rounds meet it."""
    async with running() as bench:
        for number in range(20):
            bench.add(2 * number)
            bench.add(2 * number + 1, shard=1)
            bench.node.answers.put_nowait(second_fails(ResponseError("WRONGTYPE")))
            await until(lambda number=number: len(bench.answered) == 2 * number + 2)  # type: ignore[misc]  # mypy
            bench.clock.advance(0.099)

    assert capfd.readouterr().err.count("call refused") == 2


async def test_the_check_after_it_finds_what_is_wrong_with_the_server() -> None:
    """A state that shows in one call's error makes the link not ready at the check, with the state's name."""
    async with running() as bench:
        bench.node.failing = Unready("no_functions", "Load them.")
        bench.add(0)
        bench.add(1, shard=1)
        bench.node.answers.put_nowait(second_fails(ResponseError("Function not found")))
        await until(lambda: len(bench.answered) == 2)
        bench.clock.advance(CHECK_SOON_S)
        bench.link.tick()
        await until(lambda: (False, "no_functions") in bench.states)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OutOfMemoryError("no memory"), "out_of_memory"), (NoPermissionError("no permission"), "refused")],
)
async def test_an_error_about_the_server_ends_the_connection(error: Exception, reason: str) -> None:
    """Although other calls of the round were answered, and another error came before it."""

    def mixed(calls: list[Call]) -> list[Any]:
        return [ResponseError("WRONGTYPE"), error, *accept(calls[2:])]

    async with running() as bench:
        for shard in (0, 1, 2):
            bench.add(shard, shard=shard)
        bench.node.answers.put_nowait(mixed)
        await until(lambda: (False, reason) in bench.states)

    assert bench.answered[2] is not None


async def test_what_was_not_done_is_sent_on_whatever_else_went_wrong() -> None:
    """An error of one call before it does not keep the next from where its shard is now."""

    def mixed(_calls: list[Call]) -> list[Any]:
        return [ResponseError("WRONGTYPE"), MovedError("5 b:2")]

    async with running() as bench:
        for shard in (0, 1):
            bench.add(shard, shard=shard)
        bench.node.answers.put_nowait(mixed)
        await until(lambda: bench.node.opened == 2)

    assert [item.shard for item in bench.sent_on] == [1]
    assert bench.answered == {0: None}
