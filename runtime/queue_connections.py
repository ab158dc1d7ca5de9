"""The library's connection to the queue, mended: a reset is its ConnectionError, no cancellation is lost.

Every client of runtime/valkey.py is made of these, so nobody else has to know of either.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as QueueConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Mended(AbstractConnection):
    """Sends as the library does; also what is sent while a connection is made goes through here."""

    __slots__ = ()

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # the library gives it by position
    ) -> None:
        """Send it; ConnectionError when the connection was reset, CancelledError when told to end meanwhile.

        So uvloop says RuntimeError of a transport that is closed. Python 3.11's `asyncio.wait_for`, with
        which the library sends, can keep a cancellation to itself; whoever was told to end before sends on,
        for they are cleaning up.
        """
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise QueueConnectionError("the connection to the queue was reset") from error
        if task is not None and task.cancelling() > before:
            await self.disconnect(nowait=True)  # its answer is read by nobody
            raise asyncio.CancelledError


class PlainConnection(_Mended, Connection):
    """A connection as it is."""

    __slots__ = ()


class TlsConnection(_Mended, SSLConnection):
    """A connection within TLS."""

    __slots__ = ()
