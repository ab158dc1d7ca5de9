"""Reading the queue for what voters may know: never in the way of a vote, nor of one another.

States of receipts are gathered: while one round trip is under way the next readers wait and go together, so
that however many ask at once, one connection is used and nobody's question makes another's fail.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import RedisError

from intake import replies
from runtime import logs, valkey
from runtime.valkey import Client

log = logs.get("reads")

ROUND_MAX: Final = 1_024
WAITING_MAX: Final = 20_000
"""Beyond this a reader is told at once to come back; it is about a second's worth of reads."""

AWAY_OR_WRONG: Final = (RedisError, OSError, TimeoutError)

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
        except AWAY_OR_WRONG as error:
            self._note(error)
            raise replies.unreachable() from None
        self._note(None)

    async def field(self, key: str, name: bytes) -> bytes | None:
        """The field `name` of the hash `key`, read in one round with what others ask for."""
        found = self._waiting.get((key, name))
        if found is None:
            if len(self._waiting) >= WAITING_MAX:
                raise replies.unreachable()
            found = self._waiting[key, name] = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            return await asyncio.shield(found)  # others may wait for the same one
        except AWAY_OR_WRONG:
            raise replies.unreachable() from None

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
        """One round trip for all of `asked`; a failure is the answer to those it meets, once."""
        try:
            values = await valkey.fields(self.client, [*asked])
        except Exception as error:  # noqa: BLE001  # handed to those who wait, who tell a fault from a bug
            values = [error] * len(asked)
        for future, value in zip(asked.values(), values, strict=True):
            if isinstance(value, Exception):
                future.set_exception(value)
                future.exception()  # its readers may be gone: then nobody misses it
            else:
                future.set_result(value)
        self._note(next((value for value in values if isinstance(value, Exception)), None))

    def _note(self, failure: Exception | None) -> None:
        if failure is not None and self._answering:
            log.warning("queue does not answer reads", error=type(failure).__name__)
        elif failure is None and not self._answering:
            log.info("queue answers reads again")
        self._answering = failure is None
