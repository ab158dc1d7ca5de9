"""Connections to the queue: as a named user, with bounds on waiting, never repeating a command unasked.

On a Cluster `connect` gives the library's cluster client: it sends a command to the primary that holds its
key, follows a key that has moved, and looks at the Cluster anew after a failure.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime.queue_connections import PlainConnection, TlsConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runtime.addresses import ValkeyAddress
    from runtime.home import Redacted
    from runtime.servers import Servers

CONNECTIONS_MAX = 32


Client = Redis | RedisCluster

AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.MovedError,
    exceptions.ReadOnlyError,
)
"""What a server that is gone, stopped, no primary any more or without its Cluster makes of a command."""


def connect(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Client:
    """Return a pooled client that logs in as `user`; close it with `await client.aclose()`.

    Whoever finds every connection in use waits for one, `timeout_s` at most; on a Cluster they are told so
    at once.
    """
    address = servers.valkey
    settings = _settings(servers, user, timeout_s=timeout_s)
    if address.cluster:
        client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.seeds],
            max_connections=CONNECTIONS_MAX,
            ssl=address.tls,
            **settings,
        )
        kind = _kind(address)
        client.nodes_manager.connection_kwargs["connection_class"] = kind  # of the nodes it will find
        for seed in client.startup_nodes:
            seed.connection_class = kind
        return client
    return pooled(servers, user, address.host, address.port, timeout_s=timeout_s)


def pooled(servers: Servers, user: str, host: str, port: int, *, timeout_s: float = 5.0) -> Redis:
    """Return a pooled client of the server at `host` and `port`, which is the queue or a part of it."""
    address = servers.valkey
    return Redis.from_pool(
        BlockingConnectionPool(
            max_connections=CONNECTIONS_MAX,
            timeout=timeout_s,
            connection_class=_kind(address),
            host=host,
            port=port,
            db=address.db,
            **_settings(servers, user, timeout_s=timeout_s),
        )
    )


def dedicated(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client that keeps to one connection, for WAITAOF and for blocking reads."""
    address = servers.valkey
    return node(servers, user, address.host, address.port, timeout_s=timeout_s)


def node(servers: Servers, user: str, host: str, port: int, *, timeout_s: float = 5.0) -> Redis:
    """Return a client that keeps to one connection to the server at `host` and `port`.

    For who routes by itself: the credentials and TLS are those of the queue that this server is a part of.
    """
    address = servers.valkey
    settings = _settings(servers, user, timeout_s=timeout_s)
    client = Redis(
        host=host, port=port, db=address.db, ssl=address.tls, single_connection_client=True, **settings
    )
    client.connection_pool.connection_class = _kind(address)
    return client


def private(address: ValkeyAddress, user: str, password: Redacted, *, timeout_s: float = 60.0) -> Redis:
    """Return a client of a server that is in nobody's settings, on one connection."""
    client = Redis(
        host=address.host,
        port=address.port,
        single_connection_client=True,
        username=user,
        password=password.reveal(),
        protocol=2,
        decode_responses=False,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    client.connection_pool.connection_class = PlainConnection
    return client


async def fcall(
    client: Client, function: str, keys: Sequence[str], *arguments: bytes | str | int, read_only: bool = False
) -> Any:
    """Call a function where its keys are; they share one slot.

    In a Cluster the library would ask a server first which arguments are keys, sending it all of them.
    """
    command = ("FCALL_RO" if read_only else "FCALL", function, len(keys), *keys, *arguments)
    if not isinstance(client, RedisCluster):
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]
    await client.initialize()  # type: ignore[unused-awaitable]  # its result, the client, could be awaited
    holder = client.get_node_from_key(keys[0])
    return await client.execute_command(*command, target_nodes=holder)


async def fields(client: Client, places: Sequence[tuple[str, bytes]]) -> list[Any]:
    """Return fields of hashes by key and name, in a round trip to each server; an error stands in its place.

    In a Cluster one server's failure is no other's, and after it is looked anew who holds what: the library's
    own pipeline does neither.
    """
    shares: dict[str, list[int]] = {}
    if isinstance(client, RedisCluster):
        await client.initialize()  # type: ignore[unused-awaitable]  # its result, the client, could be awaited
        for number, (key, _) in enumerate(places):
            holder = client.get_node_from_key(key)
            shares.setdefault("" if holder is None else holder.name, []).append(number)
    else:
        shares[""] = [*range(len(places))]
    found: list[Any] = [None] * len(places)
    answers = await asyncio.gather(*(_fields(client, [places[n] for n in each]) for each in shares.values()))
    for numbers, values in zip(shares.values(), answers, strict=True):
        for number, value in zip(numbers, values, strict=True):
            found[number] = value
    if isinstance(client, RedisCluster) and any(isinstance(value, AWAY) for value in found):
        with suppress(exceptions.RedisError, OSError, TimeoutError):
            await client.nodes_manager.initialize()
    return found


async def _fields(client: Client, places: Sequence[tuple[str, bytes]]) -> list[Any]:
    try:
        async with client.pipeline(transaction=False) as pipe:
            for key, name in places:
                pipe.hget(key, name)  # type: ignore[unused-awaitable]  # sent by execute
            values: list[Any] = await pipe.execute(raise_on_error=False)
            return values
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        return [error] * len(places)


@contextmanager
def plainly() -> Iterator[None]:
    """Within the block, a queue that is away or refuses us is one sentence for the person at the keyboard."""
    try:
        yield
    except exceptions.AuthenticationError:
        raise click.ClickException("The queue refuses our user or password.") from None
    except AWAY as error:
        raise click.ClickException(
            f"The queue does not answer as it should ({type(error).__name__}); see that every server of it "
            "runs, then run this again."
        ) from error


def _kind(address: ValkeyAddress) -> type[PlainConnection | TlsConnection]:
    return TlsConnection if address.tls else PlainConnection


def _settings(servers: Servers, user: str, *, timeout_s: float) -> dict[str, Any]:
    """What every connection of `user` is made with, wherever it leads."""
    name, password = servers.credentials("valkey", user)
    return {
        "username": name,
        "password": password.reveal(),
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # Whether to send again is the caller's decision: only the caller knows what is safe to repeat.
        "retry": Retry(NoBackoff(), 0),
    }
