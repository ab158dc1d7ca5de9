"""The queue's disk is full: it ends, is started again until it can write, and nothing accepted is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.small_disk import small_disk
from tests.integration.weather_rig import edge_of, in_time, note, ready, weather

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTES = 16
VOTERS = 2_000
RATE = 150
FLOW_S = 15.0
"""Votes flow within so much of there being room: the wait before a start is five seconds at most, and a
worker then compares the queue.
"""


@pytest.mark.long
async def test_a_full_disk_under_the_queue(tmp_path: Path) -> None:
    """While there is no room every vote is refused in time; with room again votes flow by themselves."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with (
        small_disk(disk, megabytes=MEGABYTES) as small,
        weather(tmp_path, disk=disk, inside=small.inside) as here,
    ):
        here.prepare("full", tmp_path, voters=VOTERS)
        with edge_of(here) as edges:
            await ready(here, edges.url)
            async with here.load(edges.url, votes=VOTERS, rate=RATE) as load:
                await load.reaches(100)
                starts = here.queue.starts
                small.fill(here.queue)
                await load.until(lambda: here.queue.starts > starts + 1)
                small.free(here.queue)
                freed_s = time.monotonic()
                await load.reaches(100)
            in_time(load)
            note(f"{type(small).__name__}: {here.queue.starts} starts, longest 503 {load.longest(503):.3f} s")
            note(f"first receipt {load.first_receipt_after(freed_s):.3f} s after")
            assert load.first_receipt_after(freed_s) <= FLOW_S
            await load.settle()
            await here.balances()
