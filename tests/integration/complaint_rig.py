"""What the tests of complaints share: sealing as the page does, lodging over HTTP, and what became of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from ballot import complaint
from ballot.complaint import Complaint, Lodged
from scrutineer.unsealing import ComplaintsKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.home import Home

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
