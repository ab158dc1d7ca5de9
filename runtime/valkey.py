"""Connections to the queue: as a named user, with bounds on waiting, never repeating a command unasked.

On a Cluster `connect` gives the library's cluster client: it sends a command to the primary that holds its
key, follows a key that has moved, and looks at the Cluster anew after a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from runtime.servers import Servers

CONNECTIONS_MAX = 32


Client = Redis | RedisCluster


def connect(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Client:
    """Return a pooled client that logs in as `user`; close it with `await client.aclose()`.

    Whoever finds every connection in use waits for one, `timeout_s` at most; on a Cluster they are told so
    at once.
    """
    address = servers.valkey
    settings = _settings(servers, user, timeout_s=timeout_s)
    if address.cluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.seeds],
            max_connections=CONNECTIONS_MAX,
            ssl=address.tls,
            **settings,
        )
    return pooled(servers, user, address.host, address.port, timeout_s=timeout_s)


def pooled(servers: Servers, user: str, host: str, port: int, *, timeout_s: float = 5.0) -> Redis:
    """Return a pooled client of the server at `host` and `port`, which is the queue or a part of it."""
    address = servers.valkey
    return Redis.from_pool(
        BlockingConnectionPool(
            max_connections=CONNECTIONS_MAX,
            timeout=timeout_s,
            connection_class=SSLConnection if address.tls else Connection,
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
    return Redis(
        host=host, port=port, db=address.db, ssl=address.tls, single_connection_client=True, **settings
    )


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
