"""One connection to one server of the queue, used by one task, each command sent once.

When an answer does not come, the connection is dropped and never used again: a late answer would be read as
the answer to the next command. Nothing here repeats a command or connects again by itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from intake.gate import Unready
from runtime.lifecycle import honour_cancellation

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Command = tuple[bytes | str | int, ...]
Connect = Callable[[], Redis]


class Wire:
    """Where `connect` leads; it makes a client that never repeats a command by itself."""

    def __init__(self, connect: Connect, *, timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._client: Redis | None = None
        self._connection: AbstractConnection | None = None

    @property
    def alive(self) -> bool:
        """Whether nothing is known that speaks against it: the other end may still be gone."""
        connection = self._connection
        if connection is None or not connection.is_connected:
            return False
        reader = connection._reader  # noqa: SLF001  # there is no other way without waiting
        return reader is not None and not reader.at_eof()

    async def open(self) -> None:
        """Connect and log in; Unready when that does not work."""
        await self.drop()
        self._client = self._connect()
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # untyped there
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            # A RuntimeError is how uvloop says that the other end has reset what is just being made.
            await self.drop()
            raise Unready("unreachable", f"The queue cannot be reached: {type(error).__name__}.") from error
        # One deadline holds for a whole exchange; one more for each of its reads would only take time.
        connection.socket_timeout = None
        self._connection = connection
        honour_cancellation()

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to `commands`, written together so that they share one round trip and one fsync.

        An error that the server answers stands in the place of its answer. Any other failure raises, and
        leaves open whether the commands were done.
        """
        connection = self._connection
        if connection is None or not connection.is_connected:
            # The library would connect again by itself, past our checks.
            raise ConnectionError("the connection to the queue is gone")
        answers: list[Any] = []
        async with asyncio.timeout(self._timeout_s):
            # The library's own packing takes each argument through Python twice.
            packed = [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]  # its stub knows one argument
            try:
                await connection.send_packed_command(packed, check_health=False)
            except RuntimeError as error:
                # So uvloop says that the other end has reset the connection since we last looked.
                raise ConnectionError("the connection to the queue is gone") from error
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except RedisError as error:
                    if not connection.is_connected:
                        raise
                    answers.append(error)
        return answers

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        client, connection = self._client, self._connection
        self._client = self._connection = None
        if connection is not None:
            await connection.disconnect(nowait=True)
        if client is not None:
            await client.aclose()
