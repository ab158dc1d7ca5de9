"""A primary played by hand, which answers when the test says so, and a voter who waits for a decision."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from intake.gate import CAST, Call, Unready
from intake.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from intake.batch import Batcher
    from intake.clocks import Reading
    from intake.gate import Decision


class HandNode(Node):
    """Keeps the rounds it was sent; each waits for the next of `answers`."""

    def __init__(self) -> None:
        self.rounds: list[list[Call]] = []
        self.answers: asyncio.Queue[Callable[[list[Call]], list[Any]] | Exception] = asyncio.Queue()
        self.refuse: Unready | None = None
        self.failing: Unready | None = None
        self.opened = 0
        self.reading: Reading | None = None
        self.caught_up = asyncio.Event()
        self.checks = 0
        self.waits: list[float] = []

    @property
    def alive(self) -> bool:
        """There is no connection that could be gone."""
        return True

    async def open(self) -> None:
        """Connect, unless the test refuses."""
        self.opened += 1
        if self.refuse is not None:
            raise self.refuse

    async def check(self) -> None:
        """Find nothing wrong, unless the test says what."""
        self.checks += 1
        if self.failing is not None:
            raise self.failing

    async def drop(self) -> None:
        """Forget nothing: there is no connection."""

    async def call(self, calls: Sequence[Call], *, wait_s: float) -> list[Any]:
        """Wait for the test's answer."""
        self.rounds.append(list(calls))
        self.waits.append(wait_s)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer(list(calls))

    async def kept(self, wait_s: float) -> bool:
        """Whether the test lets the replicas catch up."""
        try:
            await asyncio.wait_for(self.caught_up.wait(), min(wait_s, 0.01))
        except TimeoutError:
            return False
        return True

    def answer(self, *errors: Exception) -> None:
        """Answer one round with an error a call, or accept everything."""
        self.answers.put_nowait((lambda _: list(errors)) if errors else accept)


def accept(calls: list[Call]) -> list[Any]:
    """Accept every vote, and find every credential ready."""
    replies = []
    for call in calls:
        if call.function == CAST:
            rows = [
                [b"accepted", call.args[index + 2], b"1700000000000000", call.args[index + 4]]
                for index in range(0, len(call.args), 6)
            ]
        else:
            rows = [[b"ready", b"", b"", b""] for _ in range(0, len(call.args), 2)]
        replies.append([b"1", b"9", b"open", *rows])
    return replies


async def ask(
    batcher: Batcher, function: str, *, ballot: str, shard: int, args: Sequence[bytes]
) -> Decision | None:
    """Submit one item and wait for its decision; None also when it is not taken on."""
    answered: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()
    if not batcher.submit(function, ballot=ballot, shard=shard, args=args, done=answered.set_result):
        return None
    return await answered
