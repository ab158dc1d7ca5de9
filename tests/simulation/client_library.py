"""What redis-py does anew for every client, connection and command, done once: always with the same result.

What it writes and reads is its own, every byte. Left out is what it keeps record of, what it looks for of a
command that nobody here sends (HIMPORT), and its warnings about arguments that nobody here gives.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio.client
import redis.asyncio.connection
import redis.commands.core
from redis._parsers.encoders import Encoder
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Coroutine

PACKED_MAX: Final = 20_000
"""So many commands' bytes are remembered: who polls sends the same ones again and again."""


class OneTry(Retry):
    """Tries once and remembers nothing, so that one is enough for all connections."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    def __deepcopy__(self, _: object) -> OneTry:
        return self


ONE_TRY: Final = OneTry()


_ENCODER: Final = Encoder("utf-8", "strict", decode_responses=False)  # type: ignore[no-untyped-call]  # untyped there
_PACKER: Final[Any] = SimpleNamespace(encoder=_ENCODER, _buffer_cutoff=6000)
"""What packing needs of a connection: how all of them are set here."""


@lru_cache(maxsize=PACKED_MAX, typed=True)
def packed(*words: Any) -> list[bytes]:
    """A command as the library packs it; whoever gets it only reads it."""
    return AbstractConnection.pack_command(_PACKER, *words)


async def _wait_for(work: Coroutine[Any, Any, Any], _timeout_s: float) -> Any:
    """As from Python 3.12 on, without a task of its own: only sends ask it, and here they never wait."""
    return await work


async def _nothing(*_: object, **__: object) -> None:
    """No metrics of the client library's own."""


async def _none(*_: object, **__: object) -> list[Any]:
    return []


def install() -> None:
    """Put everything in place."""
    client: Any = redis.asyncio.client
    client.record_operation_duration = _nothing
    client.parse_himport_set_args = lambda _: None
    client._himport_exec.pipeline_prepares = _none
    client._himport_exec.drain_pipeline_prepares = _nothing
    client.Redis.__init__ = inspect.unwrap(client.Redis.__init__)
    _share_callbacks(client)
    connections: Any = redis.asyncio.connection
    connections.asyncio = SimpleNamespace(**vars(asyncio) | {"wait_for": _wait_for})
    connections.AbstractConnection.__init__ = inspect.unwrap(connections.AbstractConnection.__init__)
    commands: Any = redis.commands.core
    commands.async_record_streaming_lag = _nothing


def _share_callbacks(client: Any) -> None:
    """One table of what is done with answers for all clients: nobody changes it."""
    table, made = client.CaseInsensitiveDict, cache(client.get_response_callbacks)
    shared: dict[int, Any] = {}

    def share(found: dict[str, Any]) -> Any:
        if id(found) not in shared:  # `made` keeps what it gave, so the identity stays its own
            shared[id(found)] = table(found)
        return shared[id(found)]

    client.get_response_callbacks, client.CaseInsensitiveDict = made, share
