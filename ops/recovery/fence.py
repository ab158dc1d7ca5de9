"""No batch that a worker still holds is stored after recovery has looked at what is stored.

voterdb has a number, and so has the queue (`ballot:epoch`). A worker stores with the number that the queue
had before it read; the storing functions refuse another than voterdb's (016_queue_epoch.sql). `raised` waits
until who stores has committed, raises voterdb's, and gives the queue the new one when all is put back. Killed
in between, no worker stores or vouches for the queue until recovery is run again. The number goes on with the
clock, so that none comes again after a restore of both (018_kept_by_the_gate.sql).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click

from ballot import handoff
from ops.recovery import record
from ops.recovery.shard import Shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runtime.valkey import Client

LOCK_WAIT_MS: Final = 10_000
NUMBER: Final = "SELECT number FROM ballot.queue_epoch"
GATES: Final = "SELECT ballot.recovery_gate_epochs($1, $2)"
BELIEVED: Final = "SELECT number, ballot.queue_epoch_most(number) AS most FROM ballot.queue_epoch"
"""The number, and up to where a queue that is ahead of it is believed (018_kept_by_the_gate.sql)."""


@asynccontextmanager
async def raised(queue: Client, database: asyncpg.Connection) -> AsyncIterator[int]:
    """Raise voterdb's number now, and the queue's at the end unless what is done meanwhile fails."""
    client: Any = queue
    before = handoff.epoch(await client.get(handoff.EPOCH_KEY))
    try:
        async with database.transaction():
            await database.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
            number = int(await database.fetchval("SELECT ballot.recovery_epoch($1)", before))
    except asyncpg.LockNotAvailableError:
        raise click.ClickException(
            f"a worker is storing, and has not ended after {LOCK_WAIT_MS // 1000} seconds: wait for it or "
            "end it, then run this again"
        ) from None
    yield number
    await client.set(handoff.EPOCH_KEY, str(number))


async def open_gates(queue: Client, database: asyncpg.Connection, number: int) -> list[str]:
    """Open every shard of every ballot on record, each with the number; which ballots these are."""
    ballots = await record.ballots(database)
    for each in ballots:
        for shard in range(each.shards):
            await Shard(queue, each.id, shard).finish(number)
    return [each.id for each in ballots]


async def opened(database: asyncpg.Connection, number: int, ballots: Sequence[str]) -> None:
    """Put on record that all gates of these ballots have the number: from now on one without is refused."""
    await database.fetchval(GATES, number, ballots)


async def differs(queue: Client, database: asyncpg.Connection) -> list[str]:
    """What is wrong with the queue's number, in plain words. A queue that is ahead a worker puts right."""
    client: Any = queue
    there = handoff.epoch(await client.get(handoff.EPOCH_KEY))
    return told(there, *await database.fetchrow(BELIEVED))


def told(there: int, wanted: int, most: int) -> list[str]:
    """The same, from the queue's number, voterdb's, and the largest that a queue is believed."""
    if wanted <= there <= most:
        return []
    return [f"the queue is not as the last recovery left it (epoch {there}, the voter database has {wanted})"]
