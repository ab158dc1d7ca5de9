"""The queue stands still, is out of memory, becomes a replica, or its replies get lost: nothing accepted is.

Every test ends with `ballot check` over all receipts that its voters hold.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.integration.cutting_proxy import LOSSES, cutting_proxy
from tests.integration.weather_rig import CONFIRM_S, LATE_S, Weather, edge_of, in_time, note, ready, weather

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.integration.cutting_proxy import CuttingProxy, Loss
    from tests.integration.intake_rig import EdgeProcess
    from tests.integration.steady_load import SteadyLoad

pytestmark = pytest.mark.alone

VOTERS = 4_500
RATE = 150
LOST = 40
REWRITTEN_MB = 100
FLOW_S = 2.0
"""Votes flow within so much of the weather's end."""
BACK_S = 5.0
"""And within so much when a worker must compare the queue first."""
STILL_S = 5.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weather]:
    """A deployment with one ballot; every test uses up some of its voters."""
    directory = tmp_path_factory.mktemp("weather")
    with weather(directory) as made:
        made.prepare("weather", directory, voters=VOTERS)
        yield made


@pytest.fixture
def edges(here: Weather) -> Iterator[EdgeProcess]:
    """Two edge processes on one port."""
    with edge_of(here, processes=2) as running:
        yield running


@pytest.mark.long  # fault runs freeze it too, and so does the simulation
async def test_a_queue_that_stands_still_for_five_seconds(here: Weather, edges: EdgeProcess) -> None:
    """Nobody waits beyond the deadline, nothing accepted is lost, and votes flow again by themselves."""
    await ready(here, edges.url)
    async with here.load(edges.url, votes=3_000, rate=RATE) as load:
        await load.reaches(100)
        here.queue.send(signal.SIGSTOP)
        stopped_s = time.monotonic()
        await asyncio.sleep(STILL_S)
        here.queue.send(signal.SIGCONT)
        resumed_s = time.monotonic()
        await load.reaches(200)

    in_time(load)
    note(f"first receipt {load.first_receipt_after(resumed_s):.3f} s after")
    hopeless = [cast for cast in load.casts if stopped_s < cast.sent_s < resumed_s - CONFIRM_S - LATE_S]
    assert hopeless
    assert {cast.status for cast in hopeless} == {503}
    assert load.first_receipt_after(resumed_s) <= FLOW_S + load.lag_s
    await load.settle()
    await here.balances()


async def test_a_queue_out_of_memory(here: Weather, edges: EdgeProcess) -> None:
    """Votes are refused whole, with a 503 and nothing written of them; with memory again they flow."""
    await ready(here, edges.url)
    with closing(here.queue.admin()) as admin:
        async with here.load(edges.url, votes=3_000, rate=RATE) as load:
            await load.reaches(100)
            admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 200_000)
            await load.until(lambda: len(load.answered(503)) >= 100)
            refused = [cast.vote.identity for cast in load.answered(503)]
            written = {mark.identity for mark in here.marks()}
            admin.config_set("maxmemory", 0)
            more_s = time.monotonic()
            await load.reaches(200)

    in_time(load)
    note(f"first receipt {load.first_receipt_after(more_s):.3f} s after")
    assert load.first_receipt_after(more_s) <= FLOW_S + load.lag_s
    assert not written & set(refused)
    await load.settle()
    await here.balances()


async def test_a_queue_turned_into_a_replica_and_back(
    here: Weather, edges: EdgeProcess, tmp_path: Path
) -> None:
    """While another server is the primary every vote is refused; back as primary and judged, votes flow."""
    await ready(here, edges.url)
    with closing(here.queue.admin()) as admin, here.queue.replica(tmp_path) as other:
        async with here.load(edges.url, votes=6_000, rate=RATE) as load:
            await load.reaches(100)
            other.replicaof("127.0.0.1", here.queue.port)
            await load.until(lambda: last_refused(load, RATE))  # every edge process has seen it
            other.replicaof("NO", "ONE")
            admin.replicaof("127.0.0.1", other.get_connection_kwargs()["port"])
            turned_s = time.monotonic()
            refused = len(load.answered(503))
            await load.until(lambda: len(load.answered(503)) >= refused + RATE)
            admin.replicaof("NO", "ONE")
            back_s = time.monotonic()
            await load.reaches(200)

    in_time(load)
    note(f"first receipt {load.first_receipt_after(back_s):.3f} s after")
    accepted = [cast for cast in load.answered(201) if turned_s < cast.answered_s < back_s]
    assert not accepted
    assert load.first_receipt_after(back_s) <= BACK_S + load.lag_s
    await load.settle()
    await here.balances()


def last_refused(load: SteadyLoad, count: int) -> bool:
    """Whether none of the last so many answers was a receipt."""
    return not any(cast.receipts for cast in load.answered()[-count:])


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_lost_reply_is_found_again(here: Weather, loss: Loss) -> None:
    """The reply is lost after the vote went in: not confirmed, and the same vote again gets its receipt."""
    async with cutting_proxy(here.queue.port) as proxy:
        with edge_of(here, env={"BALLOT_VALKEY_URL": f"redis://127.0.0.1:{proxy.port}"}) as running:
            await ready(here, running.url)
            while not await found_again(here, proxy, running.url, loss):
                pass  # the reply to a check was lost first, and the edge sent no vote over that connection
    await here.balances()


async def found_again(here: Weather, proxy: CuttingProxy, url: str, loss: Loss) -> bool:
    """Lose the replies to some votes, send these again; whether any of them was in already."""
    async with here.load(url, votes=LOST, rate=10_000) as load:
        proxy.lose(loss, after=1)
        await load.until(partial(answered, load, LOST))
        proxy.lose("nothing")
    in_time(load)
    before_us = time.time_ns() // 1000
    await load.settle()
    note(f"{loss}: {load.statuses()}")
    found = [cast for cast in load.casts if cast.status == 200]
    assert all(cast.receipts[0].accepted_us < before_us for cast in found)
    return bool(found)


def answered(load: SteadyLoad, count: int) -> bool:
    """Whether so many casts have their answer."""
    return len(load.answered()) >= count


@pytest.mark.long
async def test_connections_that_break_all_the_time(here: Weather) -> None:
    """Replies delayed, swallowed and cut at random under load: every vote is in once, under one reference."""
    weather = random.Random(7)
    async with cutting_proxy(here.queue.port) as proxy:
        with edge_of(here, env={"BALLOT_VALKEY_URL": f"redis://127.0.0.1:{proxy.port}"}) as running:
            await ready(here, running.url)
            async with here.load(running.url, votes=2_000, rate=RATE) as load:
                for _ in range(12):
                    await asyncio.sleep(weather.uniform(0.05, 0.4))
                    match weather.randrange(4):
                        case 0:
                            proxy.cut()
                        case 1:
                            proxy.lose("cut")
                        case 2:
                            proxy.lose("swallow")
                        case _:
                            proxy.delay_s = weather.uniform(0.01, 0.1)
                    await asyncio.sleep(weather.uniform(0.01, 0.1))
                    proxy.lose("nothing")
                    proxy.delay_s = 0.0
                await load.reaches(100)
            in_time(load)
            await load.settle()
            await load.repeat(load.casts)
    assert {cast.status for cast in load.casts} == {200}
    await here.balances()


async def test_a_rewrite_and_a_rolling_restart_are_not_noticed(here: Weather, edges: EdgeProcess) -> None:
    """While the queue rewrites 100 MB and every edge process is replaced, each vote is taken at once."""
    await ready(here, edges.url)
    before = edges.children()
    with closing(here.queue.admin()) as admin, filler(admin, REWRITTEN_MB):
        async with (
            here.load(edges.url, votes=3_000, rate=RATE / 2) as kept,
            here.load(edges.url, votes=3_000, rate=RATE / 2, fresh=True) as fresh,
        ):
            await kept.reaches(100)
            started_s = time.monotonic()
            admin.bgrewriteaof()
            edges.process.send_signal(signal.SIGHUP)
            await kept.until(lambda: not rewriting(admin))
            rewritten_s = time.monotonic()
            await kept.until(lambda: not set(edges.children()) & set(before))
            await kept.reaches(100)
    for load in (kept, fresh):
        p99s = [
            load.quantile(0.99, until_s=started_s),
            load.quantile(0.99, since_s=started_s, until_s=rewritten_s),
            load.quantile(0.99, since_s=rewritten_s),
        ]
        note(
            f"rewrite {rewritten_s - started_s:.1f} s; p99 before, in, after it: {p99s}; {load.longest(201)}"
        )
        assert set(load.statuses()) == {(201, "")}, load.statuses()
    await here.balances()


@contextmanager
def filler(admin: redis.Redis, megabytes: int) -> Iterator[None]:
    """So much that the queue must write, until the block ends."""
    names = [f"filler:{number}" for number in range(megabytes)]
    for name in names:
        admin.set(name, random.randbytes(1_000_000))
    try:
        yield
    finally:
        admin.delete(*names)


def rewriting(admin: redis.Redis) -> bool:
    """Whether the queue is rewriting its file, or about to."""
    found = admin.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])
