"""What edges could not confirm is kept a minute at a time, through restarts of theirs and absences."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ops.availability.service_record import UNCONFIRMED, ServiceRecord
from ops.availability.unconfirmed import KEEP_SECONDS, Unconfirmed
from runtime import logs
from tests.manual_clock import ManualClock


def page(votes: int, access: int = 0) -> bytes:
    """The edges' metrics, as far as they matter, among what does not."""
    return (
        "# HELP ballot_intake_votes_total Answers\n"
        f'ballot_intake_votes_total{{outcome="accepted"}} 900.0\n'
        f'ballot_intake_votes_total{{outcome="not_confirmed"}} {votes}.0\n'
        f'ballot_intake_access_total{{outcome="not_confirmed"}} {access}.0\n'
        f'ballot_intake_complaints_total{{outcome="not_confirmed"}} 77.0\n'
    ).encode()


@asynccontextmanager
async def following(directory: Path, clock: ManualClock) -> AsyncIterator[tuple[Unconfirmed, list[bytes]]]:
    """Follows edges that serve the last page of the list; while it is empty, none answers."""
    pages: list[bytes] = []

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=pages[-1]) if pages else web.Response(status=503)

    app = web.Application()
    app.router.add_get("/metrics", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:
        url = f"http://{host}:{port}/metrics"
        record = ServiceRecord(directory)
        yield Unconfirmed(session, url=url, record=record, clock=clock, log=logs.get("test")), pages
    await runner.cleanup()


def kept(directory: Path) -> list[tuple[int, int]]:
    """What is on record."""
    return [(each.votes, each.access) for each in ServiceRecord(directory).all() if each.kind == UNCONFIRMED]


async def test_what_was_added_is_kept_by_the_minute(tmp_path: Path) -> None:
    """Not what was counted before, nothing twice, and no line for a minute without any."""
    clock = ManualClock()
    async with following(tmp_path, clock) as (follower, pages):
        await follower.look()
        for votes, access in ((5, 1), (8, 1), (9, 3)):
            pages.append(page(votes, access))
            await follower.look()
        assert kept(tmp_path) == []
        clock.advance(KEEP_SECONDS)
        await follower.look()
        assert kept(tmp_path) == [(4, 2)]
        clock.advance(KEEP_SECONDS)
        await follower.look()
        assert kept(tmp_path) == [(4, 2)]
        pages.append(page(10, 3))
        await follower.finish()
        assert kept(tmp_path) == [(4, 2), (1, 0)]


async def test_edges_that_began_anew_count_from_nothing(tmp_path: Path) -> None:
    """A counter that went back is a new one; while nobody answers, nothing is taken for zero."""
    async with following(tmp_path, ManualClock()) as (follower, pages):
        pages.append(page(100, 7))
        await follower.look()
        pages.clear()
        await follower.look()
        pages.append(page(3, 7))
        await follower.finish()
    assert kept(tmp_path) == [(3, 0)]


async def test_a_full_record_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written waits, and is written when it can."""
    async with following(tmp_path, ManualClock()) as (follower, pages):
        pages.append(page(1))
        await follower.look()
        pages.append(page(2))
        with monkeypatch.context() as patched:
            patched.setattr("ops.availability.service_record.FILE_BYTES_MAX", -1)
            await follower.finish()
        assert kept(tmp_path) == []
        await follower.finish()
    assert kept(tmp_path) == [(1, 0)]


async def test_nobody_there_is_no_failure(tmp_path: Path) -> None:
    """An address where nobody listens is looked at again later."""
    async with aiohttp.ClientSession() as session:
        follower = Unconfirmed(
            session,
            url="http://127.0.0.1:1/metrics",
            record=ServiceRecord(tmp_path),
            clock=ManualClock(),
            log=logs.get("test"),
        )
        await asyncio.wait_for(follower.finish(), 30)
    assert kept(tmp_path) == []
