"""The servers as they are: a look at those that run, which starts none and makes no password."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import click
from redis.exceptions import RedisError

from ops.doctor.finding import Finding
from runtime import postgres, valkey
from runtime.addresses import configured
from runtime.embedded import Embedded
from runtime.home import Home
from runtime.nodes import Nodes
from runtime.servers import Servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from runtime.addresses import Cluster

ALL_S = 20.0
"""For one check of the servers; a server that has stopped answering is not waited for."""

CHECKER = {"voterdb": "ballot_checker", "userdb": "ballot_people"}
"""As whom a cluster is looked at: both may read and change nothing."""

T = TypeVar("T")
FAULTS = (
    OSError,
    TimeoutError,
    RedisError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    click.ClickException,
)


class NotLooked(Exception):  # noqa: N818  # it says what happened, which may be no error at all
    """A server could not be looked at; the text says why."""


def as_they_are(folder: Path) -> tuple[Servers, frozenset[str]]:
    """Return the servers of this home, and the names of those that run or are configured."""
    given = configured(os.environ)
    if given is not None:
        found = Servers(Home(folder, embedded=False), _configured=given, _userinfo=given.userinfo)
        return found, frozenset({"valkey", "voterdb", "userdb"})
    embedded = Embedded(Home(folder), supervise=False)
    found = Servers(Home(folder), _embedded=embedded)
    return found, frozenset(embedded.processes()) if folder.is_dir() else frozenset()


@asynccontextmanager
async def queue(folder: Path, user: str = "checker") -> AsyncIterator[Any]:
    """A connection to the queue, if it runs and this home may log in."""
    servers, running = as_they_are(folder)
    _may(servers, running, "valkey", user)
    client = valkey.connect(servers, user)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def primaries(folder: Path, user: str) -> AsyncIterator[Nodes]:
    """A connection to each primary of the queue, if it runs and this home may log in."""
    servers, running = as_they_are(folder)
    _may(servers, running, "valkey", user)
    nodes = Nodes(servers, user)
    try:
        yield nodes
    finally:
        await nodes.aclose()


@asynccontextmanager
async def database(folder: Path, cluster: Cluster, role: str = "") -> AsyncIterator[asyncpg.Connection]:
    """A read-only connection to a cluster, if it runs and this home may log in."""
    servers, running = as_they_are(folder)
    role = role or CHECKER[cluster]
    _may(servers, running, cluster, role)
    connection = await postgres.connect(servers, cluster, role)
    try:
        await connection.execute("SET default_transaction_read_only = on")
        yield connection
    finally:
        await connection.close()


def _may(servers: Servers, running: frozenset[str], name: str, user: str) -> None:
    if name not in running:
        raise NotLooked("it does not run")
    if not servers.home.has_password(f"{name}-{user}") and name not in servers._userinfo:  # noqa: SLF001  # asked, not used
        raise NotLooked(f"this home has no password of {user}")


def looked(about: str, look: Callable[[], Awaitable[list[Finding]]], change: str = "") -> list[Finding]:
    """Run one look; what could not be looked at is one finding, to be changed only with `change`."""

    async def in_time() -> list[Finding]:
        async with asyncio.timeout(ALL_S):
            return await look()

    try:
        return asyncio.run(in_time())
    except NotLooked as reason:
        return [Finding(about, f"not looked at: {reason}", change)]
    except FAULTS as error:
        said = error.message if isinstance(error, click.ClickException) else type(error).__name__
        return [
            Finding(
                about, f"not looked at: it does not answer ({said})", "see why: runbook queue, or its log"
            )
        ]
