"""Recovery of the home's own queue: rebuilt aside from its old files and voterdb, then put in place.

The order, each step safe to repeat: (1) the queue is stopped and held, and no desk command changes a ballot;
(2) a private server runs on a copy of its files; (3) merge; (4) all of it on disk; (5) the event, and the
report kept; (6) one rename. Killed before (6), the queue is as it was, and closed as it was.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ballot import handoff
from ops.recovery import desk, fence, merge, record, report
from ops.supervisor import tethered
from runtime import progress
from runtime.addresses import ADMIN
from runtime.lifecycle import run_async
from runtime.offline import without_queue
from runtime.rebuilding import Rebuilding
from runtime.valkey import private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.recovery.merge import Sources
    from ops.recovery.report import Report
    from runtime.addresses import ValkeyAddress
    from runtime.home import Home, Redacted
    from runtime.servers import Servers


def finish(home: Home) -> bool:
    """Finish what a recovery that was killed in its last step had begun; say whether there was one."""
    if not (home.data / "valkey.rebuilding").exists():
        return False
    with without_queue(home):
        return Rebuilding(home).finish()


def rebuild(
    home: Home, sources: Sources, why: list[str], *, without_file: bool = False
) -> tuple[Report, Path]:
    """Rebuild the queue; the report, and where it is kept."""
    made = report.Report(why, "embedded")
    with without_queue(home) as running, _desk_held(running):  # (1)
        place = Rebuilding(home, tied=tethered, without_file=without_file)
        place.finish()
        place.prepare()
        with place.server() as (address, password):  # (2)
            run_async(lambda: _merge(running, address, password, sources, made))  # (3)
            place.complete(address, password)  # (4)
        aside = place.aside()
        made.before, made.notes = str(aside or ""), [*place.notes]
        made.ended_us = time.time_ns() // 1000
        run_async(lambda: _record(running, made))  # (5)
        kept = report.keep(home, made)
        place.put_in_place(aside)  # (6)
    return made, kept


@contextmanager
def _desk_held(running: Servers) -> Iterator[None]:
    """Keep desk commands out while the block runs: what they write must not be older than the gate here.

    The connection that holds their locks has a loop of its own, for the block is no coroutine.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as keeper:
        database = keeper.run(record.connect(running))
        try:
            keeper.run(desk.hold(database, meanwhile="nothing was changed"))
            yield
        finally:
            keeper.run(database.close())


async def _merge(
    running: Servers, address: ValkeyAddress, password: Redacted, sources: Sources, made: Report
) -> None:
    database = await record.connect(running)
    client: Any = private(address, ADMIN, password)
    try:
        async with fence.raised(client, database) as epoch:
            with progress.bar(length=await merge.size(database), label="rebuilding the gate") as shown:
                made.ballots = await merge.merge(client, database, sources=sources, advance=shown.update)
        made.journal_lines_unreadable = sources.journals.unreadable
        opened = await fence.open_gates(client, database, epoch)  # it may be a copy taken during a recovery
        await fence.opened(database, epoch, opened)
        await client.delete(handoff.RECOVERING_KEY, handoff.TRUST_KEY)
    finally:
        await client.aclose()
        await database.close()


async def _record(running: Servers, made: Report) -> None:
    database = await record.connect(running)
    try:
        await report.record(database, made)
    finally:
        await database.close()
