"""Clocks that step: the queue's own decides, forwards and never back; the edges' clocks decide nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ballot import document, handoff
from tests.integration.fake_clocks import FakeClock, goes_by_a_fake_clock
from tests.integration.weather_rig import Weather, edge_of, ready, weather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.intake_rig import EdgeProcess
    from tests.integration.steady_load import Cast, SteadyLoad

VOTERS = 3_000
RATE = 150
BEFORE_US = 1_500_000
STEP_S = 2.0
STEPS = 8
REST_S = 0.3
HOUR_S = 3600.0
OPEN, NOT_OPEN = (201, ""), (409, "not_open")


@dataclass
class Clocks:
    """The deployment, the clock of its queue, and edges with a clock each."""

    here: Weather
    queue: FakeClock
    edges: list[tuple[EdgeProcess, FakeClock]]
    opens_us: int
    closes_us: int


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocks]:
    """A ballot that is not open yet by the queue's clock, and two edges."""
    directory = tmp_path_factory.mktemp("clocks")
    queue = FakeClock(directory / "queue")
    queue.set(-HOUR_S - 600.0)
    with weather(directory, env=queue.environment) as here, ExitStack() as running:
        here.prepare("clocks", directory, voters=VOTERS)
        paper = document.parse((here.stack.home.public / "clocks.document").read_bytes())
        edges = []
        for number in range(2):
            clock = FakeClock(directory / f"edge-{number}")
            edge = running.enter_context(edge_of(here, env=clock.environment))
            edges.append((edge, clock))
        yield Clocks(here, queue, edges, paper.definition.opens_us, paper.definition.closes_us)


async def cast_around(clocks: Clocks, instant_us: int, *, seed: int) -> list[SteadyLoad]:
    """Cast at both edges from before that instant on, while all clocks step forwards and backwards."""
    weather_ = random.Random(seed)
    for edge, _ in clocks.edges:
        await ready(clocks.here, edge.url)
        assert all(goes_by_a_fake_clock(pid) for pid in edge.children())
    clocks.queue.set_to(instant_us - BEFORE_US)
    one, two = (clocks.here.load(edge.url, votes=VOTERS // 4, rate=RATE) for edge, _ in clocks.edges)
    async with one as first, two as second:
        stepped_s = 0.0
        for _ in range(STEPS):
            await asyncio.sleep(REST_S)
            step_s = -STEP_S if stepped_s else STEP_S
            stepped_s += step_s
            clocks.queue.step(step_s)
            for _, clock in clocks.edges:
                clock.set(weather_.choice((-HOUR_S, -STEP_S, 0.0, STEP_S, HOUR_S)))
    return [first, second]


def in_order(loads: list[SteadyLoad]) -> list[Cast]:
    """All casts in the order of sending."""
    return sorted((cast for load in loads for cast in load.casts), key=lambda cast: cast.sent_s)


def never_turns(casts: list[Cast], first: tuple[int, str], then: tuple[int, str]) -> None:
    """From the first answer of the second kind on, whatever is sent afterwards gets that answer too."""
    turned_s = min(cast.answered_s for cast in casts if (cast.status, cast.error) == then)
    kinds = {(cast.status, cast.error) for cast in casts}
    assert kinds == {first, then}, kinds
    late = [cast for cast in casts if cast.sent_s > turned_s and (cast.status, cast.error) == first]
    assert not late, [(cast.sent_s - turned_s, cast.status) for cast in late]


async def within_the_window(clocks: Clocks, loads: list[SteadyLoad]) -> None:
    """By receipts, by the gate's marks and by the stream: every vote came while the ballot was open."""
    here = clocks.here
    times = [receipt.accepted_us for load in loads for receipt in load.receipts()]
    admin: Any
    with closing(here.queue.admin()) as admin:
        for key in here.keys(handoff.votes_key):
            entries = [int(entry[b"t"]) for _, entry in admin.xrange(key)]
            assert all(one <= two for one, two in pairwise(entries))
            times += entries
    times += [mark.at_us for mark in here.marks()]
    assert times
    assert clocks.opens_us <= min(times)
    assert max(times) < clocks.closes_us


async def test_the_opening_while_clocks_step(clocks: Clocks) -> None:
    """Nothing is taken before the opening; once a vote was taken, no step backwards shuts it again."""
    loads = await cast_around(clocks, clocks.opens_us, seed=1)

    never_turns(in_order(loads), NOT_OPEN, OPEN)
    await within_the_window(clocks, loads)
    for load in loads:
        await load.settle()
    await clocks.here.balances()


@pytest.mark.long  # the opening, which steps as well, is in every run
async def test_the_closing_while_clocks_step(clocks: Clocks) -> None:
    """Nothing is taken from the closing on; once a voter was told so, no step backwards opens it again."""
    loads = await cast_around(clocks, clocks.closes_us, seed=2)

    never_turns(in_order(loads), OPEN, NOT_OPEN)
    clocks.queue.set_to(clocks.closes_us - int(HOUR_S * 1e6))
    for load in loads:
        await load.repeat(load.casts)
        assert {(cast.status, cast.error) for cast in load.casts} <= {(200, ""), NOT_OPEN}
    await within_the_window(clocks, loads)
    await clocks.here.balances()
