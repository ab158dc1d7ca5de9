"""The model of the queue answers as Valkey does, whatever is asked of both."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.doors import compare, modelled, real
from tests.contract.queue_script import BEGINNING, HOUR_US, OPERATION, STREAM_OPERATION
from tests.contract.real_queue import RealQueue, real_queue
from tests.simulation.keyspace import Command
from tests.simulation.queue_model import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.contract.queue_script import Op

RUNS = 30
LONG_RUNS = 3000
OPERATIONS_MIN = 15
OPERATIONS_MAX = 40
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

salts = itertools.count()


@pytest.fixture(scope="module")
def queue() -> Iterator[RealQueue]:
    """One real server for all runs, emptied before each."""
    with real_queue() as found:
        yield found


def both(queue: RealQueue, ops: Sequence[Op]) -> None:
    """Do the same to both and compare."""
    steps = modelled(ops, b"%d" % next(salts))
    compare(steps, asyncio.run(real(queue, steps)))


def test_a_flood_is_counted_and_moved_alike(queue: RealQueue) -> None:
    """Beyond a thousand tries of one code both count by the minute, and move the counts when it is over."""
    flood: list[Op] = [
        ("flood", 0, 1, 0),
        ("flood", 0, 1, 0),
        ("flood", 0, 2, 9),
        ("flood", 0, 2, 9),
        ("look", 0),
    ]
    ops = [
        *BEGINNING,
        *flood,
        *(("wait", 61_000_000), ("cast", 0, [(1, 0, 1, None), (1, 0, 2, None), (1, 0, 1, None)])),
        *(
            ("cast", 0, [(2, 9, 1, None)]),
            ("latch", 0),
            ("look", 0),
            ("wait", 61_000_000),
            ("access", 0, [(3, 0)]),
        ),
        *(("wait", 2 * HOUR_US), ("flood", 0, 1, 0), ("latch", 0), ("latch", 0), ("ask", 2, 0)),
    ]
    both(queue, ops)


@settings(max_examples=RUNS, derandomize=True, phases=[Phase.generate], **COMMON)
@given(st.lists(OPERATION, min_size=OPERATIONS_MIN, max_size=OPERATIONS_MAX))
def test_the_model_answers_as_the_server(queue: RealQueue, ops: list[Op]) -> None:
    """Whatever votes, retries, returns, reads, claims, rewinds and trims come: every answer is the same."""
    both(queue, [*BEGINNING, *ops])


@settings(max_examples=RUNS, derandomize=True, phases=[Phase.generate], **COMMON)
@given(st.lists(STREAM_OPERATION, min_size=OPERATIONS_MIN, max_size=OPERATIONS_MAX))
def test_the_models_streams_are_the_servers(queue: RealQueue, ops: list[Op]) -> None:
    """Groups and their counts are the same whatever is trimmed, deleted, claimed and given out again."""
    both(queue, [("group", 0, "make", 0), *ops])


@pytest.mark.parametrize("wrong", ["XAUTOCLAIM", "XACK", "XTRIM", "HSETNX"])
def test_a_model_that_is_wrong_is_seen(queue: RealQueue, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """A model whose command does nothing, and says so politely, is told from the server."""
    lists = {"XAUTOCLAIM": [b"0-0", [], []]}
    idle = Command(lambda _keys, _args: lists.get(wrong, 0), least=0, writes=False)
    monkeypatch.setitem(COMMANDS, wrong.encode(), idle)
    reads: list[Op] = [("cast", 0, [(0, 0, 1, None), (1, 0, 1, None)]), ("read", 0, 2, [0])]
    paper: list[Op] = [("cast", 0, [(2, 0, 1, None)]), ("return", 0, [(2, "postal", 1)])]
    ends: list[Op] = [("claim", 1, 0, 0, 1), ("acknowledge", 0, [0]), ("trim", 0, 1)]
    with pytest.raises(AssertionError, match="server"):
        both(queue, [*BEGINNING, *reads, *paper, *ends])


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=LONG_RUNS, **COMMON)
@given(st.booleans(), st.lists(OPERATION, max_size=4 * OPERATIONS_MAX))
def test_the_model_answers_as_the_server_for_long(queue: RealQueue, ready: bool, ops: list[Op]) -> None:
    """The same with many more and longer runs, also without an armed ballot; new ones each time."""
    both(queue, [*(BEGINNING if ready else ()), *ops])
