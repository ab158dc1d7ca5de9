"""Connections to one of the two clusters: as a named role, with bounds on waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from runtime.addresses import Cluster
    from runtime.servers import Servers

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = (
    300.0  # the longest honest statement is an export's; a dead server is noticed sooner by TCP
)


async def connect(servers: Servers, cluster: Cluster, role: str) -> asyncpg.Connection:
    """Return a connection to `cluster` as `role`."""
    return await asyncpg.connect(**_arguments(servers, cluster, role))


async def pool(servers: Servers, cluster: Cluster, role: str, *, size: int) -> asyncpg.Pool:
    """Return a pool of at most `size` connections to `cluster` as `role`; the first is opened now."""
    return await asyncpg.create_pool(min_size=1, max_size=size, **_arguments(servers, cluster, role))


def _arguments(servers: Servers, cluster: Cluster, role: str) -> dict[str, Any]:
    address = servers.postgres(cluster)
    user, password = servers.credentials(cluster, role)
    return {
        "host": address.host,
        "port": address.port,
        "database": address.database,
        "user": user,
        "password": password.reveal(),
        "ssl": address.sslmode,
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
    }
