"""Connections to the queue: as a named user, with bounds on waiting, never repeating a command unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from runtime.servers import Servers

CONNECTIONS_MAX = 32


def connect(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a pooled client that logs in as `user`; close it with `await client.aclose()`."""
    return _client(servers, user, timeout_s=timeout_s, single=False)


def dedicated(servers: Servers, user: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client that keeps to one connection, for WAITAOF and for blocking reads."""
    return _client(servers, user, timeout_s=timeout_s, single=True)


def _client(servers: Servers, user: str, *, timeout_s: float, single: bool) -> Redis:
    address = servers.valkey
    name, password = servers.credentials("valkey", user)
    return Redis(
        host=address.host,
        port=address.port,
        db=address.db,
        ssl=address.tls,
        username=name,
        password=password.reveal(),
        protocol=2,
        decode_responses=False,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=CONNECTIONS_MAX,
        single_connection_client=single,
        # Whether to send again is the caller's decision: only the caller knows what is safe to repeat.
        retry=Retry(NoBackoff(), 0),
    )
