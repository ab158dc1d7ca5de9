"""Connections to the queue: as a named user, with bounds on waiting, never repeating a command unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from runtime.servers import Servers

CONNECTIONS_MAX = 32


def connect(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a pooled client that logs in as `user`; close it with `await client.aclose()`.

    Whoever finds every connection in use waits for one, `timeout_s` at most.
    """
    return Redis.from_pool(
        BlockingConnectionPool(
            max_connections=CONNECTIONS_MAX,
            timeout=timeout_s,
            connection_class=SSLConnection if servers.valkey.tls else Connection,
            **_settings(servers, user, timeout_s=timeout_s),
        )
    )


def dedicated(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client that keeps to one connection, for WAITAOF and for blocking reads."""
    settings = _settings(servers, user, timeout_s=timeout_s)
    return Redis(**settings, ssl=servers.valkey.tls, single_connection_client=True)


def _settings(servers: Servers, user: str, *, timeout_s: float) -> dict[str, Any]:
    """What every connection of `user` is made with."""
    address = servers.valkey
    name, password = servers.credentials("valkey", user)
    return {
        "host": address.host,
        "port": address.port,
        "db": address.db,
        "username": name,
        "password": password.reveal(),
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # Whether to send again is the caller's decision: only the caller knows what is safe to repeat.
        "retry": Retry(NoBackoff(), 0),
    }
