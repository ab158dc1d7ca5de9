"""The desk: sets a ballot up before the first fault, and closes it with the product's own `ballot close`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import click
from redis.exceptions import RedisError

from ballot import handoff
from scrutineer import lifecycle
from scrutineer.gate import Gate
from scrutineer.replicated import Replicated
from tests.simulation import patches
from tests.simulation.kernel import Loop
from tests.simulation.material import BALLOT, material
from tests.simulation.network import pooled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.world import World

AGAIN_S: Final = 0.5
"""A person who is told to run it again does so."""


def set_up(world: World) -> None:
    """Arm the shards, issue the codes, write the register and publish, before anything goes wrong."""
    shards = world.plan.shards
    send = world.primary.at_once
    for shard in range(shards):
        keys = handoff.shard_keys(BALLOT, shard)
        send("FCALL", "ballot_arm", len(keys), *keys, world.plan.opens_us, world.plan.closes_us)
        rows = [part for v in world.voters if v.shard == shard for part in (v.roll.digest, v.roll.uin, b"e")]
        if rows:
            send("FCALL", "ballot_issue", len(keys), *keys, *rows)
    send("HSET", handoff.PUBLISHED_KEY, BALLOT, material().published(shards))


def _replicated(replicas: int) -> Replicated | None:
    """By what the desk's acts wait."""
    if not replicas:
        return None
    return Replicated(patches.QueueNodes(patches.servers(), "desk", timeout_s=2.0), replicas)


class Desk:
    """Whoever closes the ballot; run again until it says that everything is closed and stored."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done = False
        self.closes_us = 0
        self.unsure = False
        self.earlier: Mapping[int, int] = {}
        self._loop: Loop | None = None

    def close(self) -> None:
        """Run `ballot close`."""
        self._loop = Loop(self.world.kernel, "desk")  # type: ignore[abstract]  # what it lacks is refused
        self._loop.create_task(self._close()).add_done_callback(self._ended)

    def end(self) -> None:
        """Whatever it does, no more."""
        if self._loop is not None:
            self._loop.kill()

    async def _close(self) -> None:
        if self._loop is None:
            return
        world = self.world
        while True:
            client = pooled(world.network, self._loop, "queue", timeout_s=2.0)
            gate = Gate(client, BALLOT, world.plan.shards, replicated=_replicated(world.plan.replicas))
            stored = SimpleNamespace(
                id=BALLOT, probe=False, shards=world.plan.shards, gate=lambda _, g=gate: g
            )
            desk: Any = SimpleNamespace(stored=stored, gate=client, record=self._record)
            try:
                self.closes_us = await lifecycle.close_ballot(desk, BALLOT, wait=True)
            except (click.ClickException, RedisError, OSError, TimeoutError) as error:
                world.kernel.tell("desk", "could not close:", error)
                self.unsure = self.unsure or "may still take it" in str(error)
                await asyncio.sleep(AGAIN_S)
            else:
                world.kernel.tell("desk", "has closed", self.closes_us)
                self.done = True
                return
            finally:
                await client.aclose()

    async def _record(self, kind: str, opens_us: int, closes_us: int, earlier: Mapping[int, int]) -> None:
        self.world.kernel.tell("desk", "records", kind, opens_us, closes_us, *earlier.items())
        self.earlier = earlier

    def _ended(self, task: Any) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.world.kernel.bugs.append(f"desk: {task.exception()!r}")
