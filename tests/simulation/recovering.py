"""The operator who runs `ballot recover`: the product's own merge and fence, on the queue that is there.

What is real: the merge (ops/recovery/merge.py with all it calls), its functions at the gate, and how
the voter database's number is raised. In miniature: the rest of the command, in the order of
ops/recovery/in_place.py, without its wait for edges, on which nothing depends.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click
from redis.exceptions import RedisError

from ballot import handoff
from ops.recovery import fence, merge
from ops.recovery.report import Report
from ops.recovery.shard import Shard
from tests.simulation.database import connect
from tests.simulation.kernel import Loop
from tests.simulation.material import BALLOT, material
from tests.simulation.network import pooled
from tests.simulation.recovery_record import RecoveryRecord

if TYPE_CHECKING:
    from tests.simulation.world import World

AGAIN_S: Final = 0.5
"""A person who is told to run it again does so."""


class Operator:
    """Recovers the queue when told to, again and again until it has ended well."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.busy = False
        self._loop: Loop | None = None

    def recover(self) -> None:
        """Close every shard of the queue that is there, before anybody reaches it, and begin."""
        world, at_us = self.world, self.world.kernel.now_us
        self.busy = True
        world.primary.at_once("SET", handoff.RECOVERING_KEY, at_us)
        for shard in range(world.plan.shards):
            keys = handoff.shard_keys(BALLOT, shard)
            world.primary.at_once("FCALL", "ballot_recover_begin", len(keys), *keys, at_us)
        self._loop = Loop(world.kernel, "recovery")  # type: ignore[abstract]  # what it lacks is refused
        self._loop.create_task(self._recover()).add_done_callback(self._ended)

    def end(self) -> None:
        """Whatever is done, no more."""
        if self._loop is not None:
            self._loop.kill()

    async def _recover(self) -> None:
        while self.busy:
            try:
                await self._once()
            except (
                *(click.ClickException, asyncpg.PostgresError, asyncpg.InterfaceError),
                *(RedisError, OSError, TimeoutError),
            ) as error:
                self.world.kernel.tell("recovery", "must be run again:", type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    async def _once(self) -> None:
        world, loop = self.world, self._loop
        if loop is None:
            return
        client: Any = pooled(world.network, loop, "queue", timeout_s=2.0)
        connection = None
        try:
            connection = await connect(world, loop)
            database: Any = RecoveryRecord(world, connection)
            shards = [Shard(client, BALLOT, shard) for shard in range(world.plan.shards)]
            await client.set(handoff.RECOVERING_KEY, str(world.kernel.now_us))
            for shard in shards:
                await shard.begin(world.kernel.now_us)
            await client.delete(handoff.TRUST_KEY)
            sources = merge.Sources(desk_public=material().desk.public)
            async with fence.raised(client, database) as epoch:
                world.kernel.tell("recovery", "has raised the number to", epoch)
                ballots = await merge.merge(client, database, sources=sources)
            made = Report(["an older copy"], "in place", started_us=world.kernel.now_us, ballots=ballots)
            await connection.fetchval("SELECT ballot.recovery_event($1)", json.dumps(made.to_dict()))
            lost = world.witness.recovered()
            opened = await fence.open_gates(client, database, epoch)
            await fence.opened(database, epoch, opened)
            await client.delete(handoff.TRUST_KEY)
            await client.delete(handoff.RECOVERING_KEY)
            (found,) = ballots
            world.kernel.tell("recovery", "has ended; lost", *lost, "conflicts", *found.conflicts)
            self.busy = False
        finally:
            await client.aclose()
            if connection is not None:
                await connection.close()

    def _ended(self, task: Any) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.world.kernel.bugs.append(f"recovery: {task.exception()!r}")
            self.busy = False
