"""Recovery of configured servers: merged into the running queue, behind a latch that keeps every edge closed.

The order, each step safe to repeat: (1) the latch, so that no worker vouches for any server; (2) the vouching
there is is taken back, and edges notice; (3) no desk command changes a ballot meanwhile; (4) merge; (5) on
every replica's disk; (6) the event, and the report kept; (7) the latch goes. Killed before (7), intake stays
closed until this is run again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ballot import handoff
from ops.recovery import merge, record, report
from runtime import postgres, progress, valkey
from runtime.addresses import ADMIN
from runtime.durability import replicas_awaited
from runtime.environment import Environment
from runtime.nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import asyncpg

    from ops.recovery.merge import Sources
    from ops.recovery.report import Report
    from runtime.home import Home
    from runtime.servers import Servers

EDGES_NOTICE_S: Final = 3.0
"""An edge looks at the trust marks every two seconds."""

ANSWER_S: Final = 60.0
REPLICAS_WAIT_MS: Final = 10_000

#: The desk's own locks (scrutineer/session.py): a class, and the hash of ballot and part.
LOCK_CLASS: Final = 0x4445534B
PARTS: Final = ("voters and codes", "closing time", "returns")


async def merge_in_place(
    home: Home, running: Servers, sources: Sources, why: list[str]
) -> tuple[Report, Path]:
    """Merge the voter database into the configured queue; the report, and where it is kept."""
    made = report.Report(why, "in place")
    replicas = replicas_awaited(Environment(os.environ))
    client: Any = valkey.connect(running, ADMIN, timeout_s=ANSWER_S)
    database = await postgres.connect(running, "voterdb", record.ROLE)
    nodes = Nodes(running, ADMIN, timeout_s=ANSWER_S)
    try:
        await client.set(handoff.RECOVERING_KEY, str(made.started_us))  # (1)
        if await client.delete(handoff.TRUST_KEY):  # (2)
            await asyncio.sleep(EDGES_NOTICE_S)
        await _hold_desk(database)  # (3)
        with progress.bar(length=await merge.size(database), label="mending the gate") as shown:
            made.ballots = await merge.merge(client, database, sources=sources, advance=shown.update)  # (4)
        made.journal_lines_unreadable = sources.journals.unreadable
        await _on_replicas(nodes, await record.ballots(database), replicas)  # (5)
        made.ended_us = time.time_ns() // 1000
        await report.record(database, made)  # (6)
        kept = report.keep(home, made)
        await client.delete(handoff.RECOVERING_KEY)  # (7)
    finally:
        await nodes.aclose()
        await client.aclose()
        await database.close()
    return made, kept


async def _hold_desk(database: asyncpg.Connection) -> None:
    """Take every ballot's locks, as the desk does, until the connection ends."""
    for ballot in await record.ballots(database):
        for part in PARTS:
            name = f"{ballot.id}/{part}"
            if not await database.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, name):
                raise click.ClickException(
                    f"a desk command is changing ballot {ballot.id!r}; wait for it to end, then run this "
                    "again: intake stays closed until then"
                )


async def _on_replicas(nodes: Nodes, ballots: Sequence[record.Ballot], replicas: int) -> None:
    """Wait until every primary's replicas have all of it on disk: their stream of writes is in order."""
    if not replicas:
        return
    streams = [handoff.votes_key(each.id, number) for each in ballots for number in range(each.shards)]
    for primary in await nodes.primaries(anew=True):
        stream = next((each for each in streams if primary.holds(each)), None)
        if stream is None:
            continue
        waiter = f"waits-{secrets.token_hex(8)}"
        pipeline = primary.client.pipeline(transaction=False)
        pipeline.execute_command("XGROUP CREATE", stream, waiter, "0", "MKSTREAM")
        pipeline.execute_command("XGROUP DESTROY", stream, waiter)
        pipeline.execute_command("WAIT", replicas, REPLICAS_WAIT_MS)
        pipeline.execute_command("WAITAOF", 1, replicas, REPLICAS_WAIT_MS)
        *_, (local, remote) = await pipeline.execute()
        if local < 1 or remote < replicas:
            raise click.ClickException(
                f"only {remote} of {replicas} replicas of {primary.place[0]}:{primary.place[1]} have all "
                "of it on disk; start the missing one, then run this again: intake stays closed"
            )
