"""Primaries of a Cluster whose clocks part: no edge takes a vote until they agree again, and none is lost."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.fake_clocks import FakeClock
from tests.integration.weather_rig import edge_of, note, ready, weather_on_a_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.steady_load import SteadyLoad

VOTERS = 2_000
RATE = 100
WITHIN_S = 0.04
STEP_S = 2.0
SEEN_S = 4.0
"""Each edge process reads the clocks every two seconds."""


async def parted(load: SteadyLoad, clock: FakeClock, step_s: float) -> None:
    """Step one primary's clock there and back; only 503s between seeing the one and seeing the other."""
    stepped_s = time.monotonic()
    clock.step(step_s)
    await load.until(lambda: refused(load, RATE // 2), seconds=SEEN_S + load.lag_s)
    seen_s = time.monotonic()
    await asyncio.sleep(1.0)
    clock.step(-step_s)
    back_s = time.monotonic()
    await load.reaches(RATE, seconds=SEEN_S + 1.0 + load.lag_s)
    flow_s = load.first_receipt_after(back_s)
    note(f"{step_s:+.0f} s: seen after {seen_s - stepped_s:.2f} s, votes {flow_s:.2f} s after they agreed")
    taken = [cast for cast in load.casts if cast.receipts and seen_s < cast.sent_s < back_s]
    assert not taken


def refused(load: SteadyLoad, count: int) -> bool:
    """Whether the last so many answers were all refusals."""
    last = [cast for cast in load.casts if cast.status is not None][-count:]
    return len(last) == count and not any(cast.receipts for cast in last)


@pytest.mark.long
@pytest.mark.parametrize("steps", [(STEP_S,), (-STEP_S, STEP_S, -600.0)])
async def test_primaries_whose_clocks_part(tmp_path: Path, steps: tuple[float, ...]) -> None:
    """A difference of 40 ms is nothing; one of two seconds closes every edge until the clocks agree again."""
    clocks = [FakeClock(tmp_path / f"clock-{number}") for number in range(3)]
    with weather_on_a_cluster(tmp_path, primaries=3, inside=lambda n: clocks[n].command) as (here, _):
        here.prepare("cluster-clocks", tmp_path, voters=VOTERS)
        with edge_of(here, processes=2, env={"BALLOT_DURABILITY": "disk"}) as edges:
            await ready(here, edges.url)
            async with here.load(edges.url, votes=VOTERS, rate=RATE) as load:
                clocks[0].set(WITHIN_S)
                await load.reaches(RATE * 3)
                assert set(load.statuses()) == {(201, "")}
                clocks[0].set(0.0)
                for step_s in steps:
                    await parted(load, clocks[1], step_s)
            assert set(load.statuses()) == {(201, ""), (503, "not_confirmed")}
            await load.settle()
            await here.balances()
