"""One connection to the queue that is only ever used while the queue is durable and vouched for.

Checked whenever a connection is made, and again every few seconds:

1. it writes every change to disk before it answers, also while it rewrites its file, and evicts nothing;
2. it is a primary (a replica would refuse writes), and no replica of it could take its place;
3. it knows the gate's functions;
4. a worker has compared it with the voter database since it started: it holds all that we ever answered for.

A command is sent once. When its answer does not come, the connection is dropped and never used again: a late
answer would be read as the answer to the next command.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ballot import handoff

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CAST: Final = "ballot_cast"
ACCESS: Final = "ballot_access"
DURABLE: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
"""What the queue must be set to before a single vote is taken, setting by setting."""


class Unready(Exception):  # noqa: N818  # a state of the queue, not a mistake of the caller
    """Votes cannot be taken; `reason` is a short fixed name, the text says what to do about it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Call:
    """One function call on one shard."""

    function: str
    ballot: str
    shard: int
    args: Sequence[bytes]

    def packed(self) -> tuple[bytes | str | int, ...]:
        """The command as it is sent."""
        keys = handoff.shard_keys(self.ballot, self.shard)
        return ("FCALL", self.function, len(keys), *keys, *self.args)


class Queue:
    """The queue as this process uses it; `connect` makes a client that never repeats a command by itself."""

    def __init__(self, connect: Callable[[], Redis], *, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._client: Redis | None = None
        self._connection: AbstractConnection | None = None
        self._durable_run = ""

    async def open(self) -> None:
        """Connect and check; Unready says why votes cannot be taken."""
        await self.drop()
        self._client = self._connect()
        try:
            async with asyncio.timeout(self._timeout_s):
                self._connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # untyped there
            await self.check()
        except Unready:
            await self.drop()
            raise
        except (RedisError, OSError, TimeoutError) as error:
            await self.drop()
            raise Unready("unreachable", f"The queue cannot be reached: {type(error).__name__}.") from error

    async def check(self) -> None:
        """Raise Unready unless all four hold now."""
        settings, server, replication, persistence, libraries, trust = await self._exchange(
            [
                ("CONFIG", "GET", *DURABLE),
                ("INFO", "server"),
                ("INFO", "replication"),
                ("INFO", "persistence"),
                ("FUNCTION", "LIST", "LIBRARYNAME", handoff.GATE_LIBRARY),
                ("GET", handoff.TRUST_KEY),
            ]
        )
        for answer in (settings, server, replication, persistence, libraries, trust):
            if isinstance(answer, Exception):
                raise Unready("unreachable", f"The queue did not answer a check: {type(answer).__name__}.")
        self._require_durable(settings, persistence, run=_info(server, "run_id"))
        _require_alone(replication)
        if CAST.encode() not in _flattened(libraries):
            raise Unready(
                "no_functions", "The queue does not hold the gate's functions: load ops/valkey/gate.lua."
            )
        if trust is None or trust.decode() != _info(server, "run_id"):
            raise Unready(
                "not_trusted",
                "No worker has compared the queue with the voter database since it started: start one.",
            )

    async def call(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to `calls`, written together so that they share one round trip and one fsync.

        An error that the queue answers stands in the place of its call. Any other failure raises, and leaves
        open whether the calls were done.
        """
        return await self._exchange([call.packed() for call in calls])

    async def _exchange(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        connection = self._connection
        if connection is None or not connection.is_connected:
            # The library would connect again by itself, past our checks.
            raise ConnectionError("the connection to the queue is gone")
        answers: list[Any] = []
        async with asyncio.timeout(self._timeout_s):
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except RedisError as error:
                    if not connection.is_connected:
                        raise
                    answers.append(error)
        return answers

    def _require_durable(self, settings: Sequence[bytes], persistence: bytes, *, run: str) -> None:
        """The settings are right, and what they ask for is what happens.

        The first rewrite after the file was switched on ends in the file; until then nothing is in it that a
        restart would read. It looks like any other rewrite, so a rewrite is only believed to be another one
        in a run of the queue that was seen durable without.
        """
        known, self._durable_run = self._durable_run, ""
        found = {
            name.decode(): value.decode() for name, value in zip(settings[::2], settings[1::2], strict=True)
        }
        wrong = [f"{name} {value}" for name, value in DURABLE.items() if found.get(name) != value]
        if wrong:
            raise Unready("not_durable", "The queue must be set to: " + ", ".join(wrong) + ".")
        if _info(persistence, "aof_enabled") != "1" or _info(persistence, "aof_last_write_status") != "ok":
            raise Unready("not_durable", "The queue's last write to its append-only file failed.")
        under_way = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        if run != known and any(_info(persistence, name) == "1" for name in under_way):
            raise Unready("rewriting", "The queue is still writing its append-only file: wait until it has.")
        self._durable_run = run

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        client, connection = self._client, self._connection
        self._client = self._connection = None
        if connection is not None:
            await connection.disconnect(nowait=True)
        if client is not None:
            await client.aclose()


def _require_alone(replication: bytes) -> None:
    """A primary without replicas: an answer waits for this server's disk, which a promoted one lacks."""
    if _info(replication, "role") != "master":
        raise Unready("replica", "The queue is a replica: votes go to its primary.")
    if _info(replication, "connected_slaves") != "0":
        raise Unready(
            "has_replicas",
            "The queue has replicas, but votes wait for its own disk only: one that took its place would "
            "lack some. Disconnect them.",
        )


def _info(answer: bytes, field: str) -> str:
    for line in answer.decode().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def _flattened(value: object) -> list[object]:
    if isinstance(value, list):
        return [inner for item in value for inner in _flattened(item)]
    return [value]
