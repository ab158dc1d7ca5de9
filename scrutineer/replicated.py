"""The desk's acts at level `replicated`: done once every replica has them on disk, as a vote is.

Otherwise a failover would take back what a person was told is done: a revoked code would be current again, a
closed ballot open.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime.durability import replicas_awaited
from runtime.environment import Environment
from runtime.nodes import Nodes
from runtime.servers import Servers

WAIT_S = 5.0
#: How long each of the two questions waits for the replicas before both are asked again.
ASK_MS = 100
#: A field that is there within one transaction only, so that nobody ever sees it.
MARK = "desk-waits"


class NotReplicatedError(click.ClickException):
    """An act is done on its primary but not, as far as is known, on every replica's disk."""

    def __init__(self) -> None:
        super().__init__(
            "Not every replica of the queue has this on its disk, so a failover could undo it; see that each "
            "primary has its BALLOT_REPLICAS replicas, all of them well, then run this again."
        )


@dataclass(frozen=True, slots=True)
class Replicated:
    """Runs commands where their key is, and waits for `replicas` replicas after the last of them."""

    nodes: Nodes
    replicas: int

    async def does(self, key: str, *commands: tuple[Any, ...]) -> list[Any]:
        """Run commands of one primary, which holds `key`, a hash; gives their answers.

        On one connection: were the primary another one by the time of the wait, it would fail.
        """
        try:
            holder = await self.nodes.holder(key)
            async with holder.client() as connection:
                answers = [await _ask(connection, *command) for command in commands]
                if await self._are_kept(connection, key):
                    return answers
        except (RedisError, OSError, TimeoutError):
            self.nodes.forget()  # the key may have moved, or its primary become a replica
            raise
        raise NotReplicatedError

    async def _are_kept(self, connection: Redis, key: str) -> bool:
        """Whether, in time, all that was written until now is on the disks of the primary and its replicas.

        Waited for is what this connection wrote, and an act that is repeated may write nothing: so we write
        something that leaves nothing behind. The wait before the other's is what makes a replica say soon
        that it is done; intake/durability.py says why.
        """
        for write in (("MULTI",), ("HSET", key, MARK, 1), ("HDEL", key, MARK), ("EXEC",)):
            await _ask(connection, *write)
        until_s = time.monotonic() + WAIT_S
        while True:
            await _ask(connection, "WAIT", self.replicas, ASK_MS)
            local, replicas = await _ask(connection, "WAITAOF", 1, self.replicas, ASK_MS)
            if local >= 1 and replicas >= self.replicas:
                # One more than are waited for could take the primary's place without this.
                return int((await connection.info("replication"))["connected_slaves"]) <= self.replicas
            if time.monotonic() >= until_s:
                return False


async def _ask(connection: Redis, *command: Any) -> Any:
    return await connection.execute_command(*command)  # type: ignore[no-untyped-call]


def replicated(servers: Servers, env: Mapping[str, str], *, timeout_s: float) -> Replicated | None:
    """Give what the desk's acts wait by; None at level `disk`."""
    settings = Environment(env)
    awaited = replicas_awaited(settings)
    settings.done()
    return Replicated(Nodes(servers, "desk", timeout_s=timeout_s), awaited) if awaited else None
