"""What the tests of complaints share: sealing as the page does, lodging over HTTP, and what became of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client import CollectorRegistry

from ballot import complaint
from ballot.complaint import Complaint, Lodged
from runtime import postgres
from runtime.lifecycle import Stop
from scrutineer.serving import Metrics, Storing
from scrutineer.unsealing import ComplaintsKey
from tests.integration.intake_rig import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from runtime.home import Home
    from runtime.servers import Servers

PATH = "/api/v1/complaints"
JSON = {"Content-Type": "application/json"}


def sealed(home: Home, text: str, contact: str = "", *, ballot: str | None = None) -> Lodged:
    """A complaint as the page seals it, to the desk's key of this home."""
    key = ComplaintsKey(home.secret("complaints"))
    return Lodged(ballot, complaint.seal(Complaint(text, contact), key.public_key))


async def lodge(web: aiohttp.ClientSession, lodged: Lodged) -> tuple[int, dict[str, Any]]:
    """Send it; status and body of the answer."""
    async with web.post(PATH, data=complaint.request_body(lodged), headers=JSON) as response:
        return response.status, await response.json()


@asynccontextmanager
async def caller(url: str, address: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge at `url` that comes from one of this machine's addresses."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(url, connector=connector) as session:
        yield session


@asynccontextmanager
async def storing(servers: Servers) -> AsyncIterator[CollectorRegistry]:
    """What `ballot complaints serve` runs, until the block ends; gives its numbers."""
    registry, stop = CollectorRegistry(), Stop()
    task = asyncio.create_task(Storing(servers, Metrics(registry)).run(stop))
    try:
        yield registry
    finally:
        stop.request()
        assert await task == 0


@asynccontextmanager
async def as_role(servers: Servers, role: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the user database."""
    connection = await postgres.connect(servers, "userdb", role)
    try:
        yield connection
    finally:
        await connection.close()


async def rows(servers: Servers, number: str) -> list[asyncpg.Record]:
    """What is stored under a number."""
    async with as_role(servers, "ballot_people") as connection:
        found: list[asyncpg.Record] = await connection.fetch(
            "SELECT sha256, ballot, route, received_at, sealed FROM complaints.complaints WHERE number = $1",
            number,
        )
        return found


async def stored(servers: Servers, number: str) -> list[asyncpg.Record]:
    """The rows under a number, once there are any."""

    async def there() -> list[asyncpg.Record]:
        return await rows(servers, number)

    found: list[asyncpg.Record] = await until(there)
    return found
