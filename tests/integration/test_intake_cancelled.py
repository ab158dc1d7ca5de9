"""An edge ends at whatever moment it is asked to, also while it connects to the queue."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from intake.batch import Batcher
from intake.durability import Durability
from intake.node import Node
from intake.settings import Settings
from intake.wire import Wire
from runtime import valkey
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from tests.conftest import Stack

TURNS_MAX = 400
TIMEOUT_S = 2.0
END_S = 20.0


def connecting(stack: Stack) -> Callable[[], Redis]:
    """What connects as an edge does."""
    address = stack.servers.valkey
    place = (address.host, address.port)
    return partial(valkey.node, stack.servers, "intake", *place, timeout_s=TIMEOUT_S)


async def test_a_connection_that_is_cancelled_is_not_made(stack: Stack) -> None:
    """After each turn of the loop until it is there: Python's and the client's own waits may keep one."""
    cancelled = 0
    for turns in range(TURNS_MAX):
        wire = Wire(connecting(stack), timeout_s=TIMEOUT_S)
        task = asyncio.create_task(wire.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            await wire.drop()
            break
        task.cancel()
        await asyncio.wait({task}, timeout=END_S)
        assert task.cancelled(), f"asked after {turns} turns of the loop, it went on"
        cancelled += 1
        await wire.drop()
    assert cancelled > 0


async def test_what_sends_votes_ends_at_any_moment(stack: Stack) -> None:
    """Asked once, after any number of turns: no task of it is left connecting for ever."""
    address = stack.servers.valkey

    def node(*_: object) -> Node:
        clock = SystemClock()
        return Node(connecting(stack), durability=Durability(0), clock=clock, timeout_s=TIMEOUT_S)

    for turns in range(0, TURNS_MAX, 3):
        batcher = Batcher(
            node,
            alone=(address.host, address.port),
            settings=Settings.from_environment({}),
            clock=SystemClock(),
            issue_receipts=lambda leaves: [b""] * len(leaves),
        )
        task = asyncio.create_task(batcher.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=END_S)
        assert task.cancelled(), f"asked after {turns} turns of the loop: {task}"
