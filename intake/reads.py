"""Reading the queue for what voters may know: never in the way of a vote, nor of one another.

States of receipts are gathered: while one round trip is under way the next readers wait and go together, so
that however many ask at once, one connection is used and nobody's question makes another's fail.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import RedisError

from intake import replies
from runtime import logs
from runtime.valkey import Client

log = logs.get("reads")

ROUND_MAX: Final = 1_024
WAITING_MAX: Final = 20_000
"""Beyond this a reader is told at once to come back; it is about a second's worth of reads."""

Place = tuple[str, bytes]
"""Key and field of a hash."""


class Reads:
    """The queue as read by this process. A failure is logged as it begins and as it ends, not each time."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._answering = True
        self._waiting: dict[Place, asyncio.Future[bytes | None]] = {}
        self._running: asyncio.Task[None] | None = None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A queue that does not answer makes an honest 503, not an error of ours."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            if self._answering:
                log.warning("queue does not answer reads", error=type(error).__name__)
            self._answering = False
            raise replies.unreachable() from None
        if not self._answering:
            log.info("queue answers reads again")
        self._answering = True

    async def field(self, key: str, name: bytes) -> bytes | None:
        """The field `name` of the hash `key`, read in one round with what others ask for."""
        found = self._waiting.get((key, name))
        if found is None:
            if len(self._waiting) >= WAITING_MAX:
                raise replies.unreachable()
            found = self._waiting[key, name] = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        with self.answering():
            return await asyncio.shield(found)  # others may wait for the same one

    async def close(self) -> None:
        """Finish the rounds under way and close the connections."""
        if self._running is not None:
            await self._running
        await self.client.aclose()

    async def _run(self) -> None:
        try:
            while self._waiting:
                places = list(self._waiting)[:ROUND_MAX]
                await self._round({place: self._waiting.pop(place) for place in places})
        finally:
            self._running = None

    async def _round(self, asked: dict[Place, asyncio.Future[bytes | None]]) -> None:
        """One round trip for all of `asked`; a failure is the answer to each, and the next tries anew."""
        try:
            async with self.client.pipeline(transaction=False) as pipe:
                for key, name in asked:
                    pipe.hget(key, name)  # type: ignore[unused-awaitable]  # sent by execute
                values: list[Any] = await pipe.execute()
        except Exception as error:  # noqa: BLE001  # handed to those who wait, who tell a fault from a bug
            for future in asked.values():
                future.set_exception(error)
                future.exception()  # its readers may be gone: then nobody misses it
        else:
            for future, value in zip(asked.values(), values, strict=True):
                future.set_result(value)
