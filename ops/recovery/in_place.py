"""Recovery of configured servers: merged into the running queue, behind a latch that keeps every edge closed.

The order, each step safe to repeat: (1) the latch, so that no worker vouches for any server, and every shard
closed, so that it takes no vote however late an edge's call comes; (2) the vouching there is is taken back,
and edges notice; (3) no desk command changes a ballot meanwhile; (4) merge; (5) on every replica's disk;
(6) the event, and the report kept; (7) the shards open, each with the number of this recovery, then that is
put on record, and the latch goes. Killed before (7), intake stays closed until this is run again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from ballot import handoff
from ops.recovery import desk, fence, merge, record, report
from ops.recovery.shard import Shard
from runtime import progress, valkey
from runtime.addresses import ADMIN
from runtime.durability import replicas_awaited
from runtime.environment import Environment
from runtime.lifecycle import end
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

KEEP_SHUT_S: Final = 0.5
SHUT_ROUNDS_MAX: Final = 10


async def merge_in_place(
    home: Home, running: Servers, sources: Sources, why: list[str]
) -> tuple[Report, Path]:
    """Merge the voter database into the configured queue; the report, and where it is kept."""
    made = report.Report(why, "in place")
    replicas = replicas_awaited(Environment(os.environ))
    client: Any = valkey.connect(running, ADMIN, timeout_s=ANSWER_S)
    database = await record.connect(running)
    nodes = Nodes(running, ADMIN, timeout_s=ANSWER_S)
    keeper: asyncio.Task[None] | None = None
    try:
        await client.set(handoff.RECOVERING_KEY, str(made.started_us))  # (1)
        for shard in await _shards(client, database):
            await shard.begin(made.started_us)
        await _shut(client)  # (2)
        keeper = asyncio.create_task(_keep_shut(client))
        await desk.hold(database, meanwhile="intake stays closed until then")  # (3)
        async with fence.raised(client, database) as epoch:
            with progress.bar(length=await merge.size(database), label="mending the gate") as shown:
                made.ballots = await merge.merge(
                    client, database, sources=sources, advance=shown.update
                )  # (4)
        made.journal_lines_unreadable = sources.journals.unreadable
        await _on_replicas(nodes, await record.ballots(database), replicas)  # (5)
        made.ended_us = time.time_ns() // 1000
        await report.record(database, made)  # (6)
        kept = report.keep(home, made)
        if await end([keeper]):
            raise RuntimeError("what keeps the intake shut does not end")
        if not keeper.cancelled():
            keeper.result()
        opened = await fence.open_gates(client, database, epoch)  # (7)
        await _on_replicas(nodes, await record.ballots(database), replicas)
        await fence.opened(database, epoch, opened)
        await client.delete(handoff.TRUST_KEY)
        await client.delete(handoff.RECOVERING_KEY)
    finally:
        if keeper is not None:
            await end([keeper])
        await nodes.aclose()
        await client.aclose()
        await database.close()
    return made, kept


async def _shards(client: Any, database: asyncpg.Connection) -> list[Shard]:
    """Every shard of every ballot on record."""
    return [
        Shard(client, each.id, number)
        for each in await record.ballots(database)
        for number in range(each.shards)
    ]


async def _shut(client: Any) -> None:
    """Take back what was vouched for until nobody vouches any more, and every edge has seen it.

    A worker that had looked for the latch before it was set may vouch once more after that.
    """
    for _ in range(SHUT_ROUNDS_MAX):
        taken = await client.delete(handoff.TRUST_KEY)
        await asyncio.sleep(EDGES_NOTICE_S)
        if not taken and not await client.exists(handoff.TRUST_KEY):
            return
    raise click.ClickException(
        "a worker goes on vouching for the queue while it is being recovered; stop it, then run this again: "
        "intake stays closed until then"
    )


async def _keep_shut(client: Any) -> None:
    """Go on taking back what a worker that slept says late."""
    while True:
        with suppress(*valkey.AWAY):  # the merge meets it too, and ends with it
            await client.delete(handoff.TRUST_KEY)
        await asyncio.sleep(KEEP_SHUT_S)


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
