"""Windows of ballots: read beside one another, each once for all who wait; a hung queue holds nobody up."""

import asyncio
from typing import Any

import pytest

from ballot.rejection import Rejected
from intake.reads import Reads
from intake.windows import AT_ONCE_S, READS_MAX, WINDOW_S, Window, Windows
from tests.manual_clock import ManualClock

SECOND = 1_000_000


class Queue:
    """Answers as the gate does; while `hung` it fails when `failing` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hung = False
        self.failing = asyncio.Event()

    async def fcall_ro(self, _function: str, _count: int, *keys: str) -> list[Any]:
        """Opens at 1, closes at 100, open."""
        self.asked.append(keys[0])
        if self.hung:
            await self.failing.wait()
            raise TimeoutError
        return [1 * SECOND, 100 * SECOND, b"open", 5 * SECOND]


@pytest.fixture
def queue() -> Queue:
    """A queue that answers."""
    return Queue()


@pytest.fixture
def clock() -> ManualClock:
    """Time as the test sets it."""
    return ManualClock()


@pytest.fixture
def windows(queue: Queue, clock: ManualClock) -> Windows:
    """Windows read from it."""
    client: Any = queue
    return Windows(Reads(client), clock=clock)


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_all_who_wait_share_one_read(windows: Windows, queue: Queue, clock: ManualClock) -> None:
    """And within a second nobody asks again."""
    found = await asyncio.gather(*(windows.find("a") for _ in range(50)))
    await windows.find("a")

    assert len(queue.asked) == 1
    assert {window.state_at(clock.monotonic()) for window in found} == {"open"}


async def test_three_ballots_of_a_hung_queue_wait_once(windows: Windows, queue: Queue) -> None:
    """All at the same time; and after the failure nobody asks for a second, nor waits."""
    queue.hung = True
    waiting = [asyncio.create_task(windows.find(name)) for name in ("a", "b", "c")]
    await settled()
    assert len(queue.asked) == 3

    queue.failing.set()
    for task in waiting:
        with pytest.raises(Rejected):
            await task
    with pytest.raises(Rejected):
        await windows.find("d")
    assert len(queue.asked) == 3


async def test_a_known_window_is_told_at_once(windows: Windows, queue: Queue, clock: ManualClock) -> None:
    """The next is read beside it; one too old to be honest is waited for, unless the queue hangs."""
    first = await windows.find("a")
    clock.advance(WINDOW_S)
    assert await windows.find("a") is first
    await settled()
    second = await windows.find("a")
    assert (second is first, len(queue.asked)) == (False, 2)

    clock.advance(AT_ONCE_S)
    queue.hung = True
    waiting = asyncio.create_task(windows.find("a"))
    await settled()
    assert not waiting.done()
    queue.failing.set()
    assert await waiting is second
    queue.failing.clear()
    clock.advance(WINDOW_S)
    assert await asyncio.wait_for(windows.find("a"), 5) is second
    await settled()
    assert len(queue.asked) == 4

    queue.failing.set()
    await settled()
    queue.hung = False
    clock.advance(WINDOW_S)
    await windows.find("a")
    await settled()
    assert (await windows.find("a")).read_s == clock.monotonic()


async def test_only_so_many_ballots_are_read_at_once(windows: Windows, queue: Queue) -> None:
    """Whoever comes beyond that is refused at once."""
    queue.hung = True
    waiting = [asyncio.create_task(windows.find(f"a-{number}")) for number in range(READS_MAX)]
    await settled()
    with pytest.raises(Rejected):
        await asyncio.wait_for(windows.find("b"), 5)
    assert len(queue.asked) == READS_MAX

    queue.failing.set()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_ballot_that_was_not_armed_is_looked_at_again(
    windows: Windows, queue: Queue, clock: ManualClock
) -> None:
    """It is found as soon as it is armed, not from the answer before."""
    windows._windows["a"] = Window(0, 0, "", 0, clock.monotonic())

    assert (await windows.find("a")).state == "open"
    assert len(queue.asked) == 1
