"""Attempts that the edges could not confirm: counted by them, kept here a minute at a time.

What never reached the queue is in no log of attempts, so the edges' own count is all there is. The monitor
looks at it, and writes what was added to its record of the service, which reaches `voterdb` as events.
Counts only: one voter who tries ten times is ten. What was added in the last minute before a monitor was
killed, or in the last seconds before all edges were, is not on record.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from ops.availability.service_record import ServiceRecord
    from runtime.clock import Clock
    from runtime.lifecycle import Stop
    from runtime.logs import Log

LOOK_SECONDS = 10.0
KEEP_SECONDS = 60.0
ANSWER_SECONDS = 5.0
PAGE_BYTES_MAX = 4 * 1024 * 1024
COUNTED = re.compile(rb'(?m)^ballot_intake_(votes|access)_total\{outcome="not_confirmed"\} (\S+)$')


class Unconfirmed:
    """Follows the counters of one host's edges; a counter that went back was started anew."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, record: ServiceRecord, clock: Clock, log: Log
    ) -> None:
        self._session = session
        self._url = url
        self._record = record
        self._clock = clock
        self._log = log
        self._seen: dict[str, int] | None = None
        self._waiting = {"votes": 0, "access": 0}
        self._kept_s = clock.monotonic()

    async def run(self, stop: Stop) -> None:
        """Look until asked to stop; `finish` is for after that."""
        while not await stop.wait(LOOK_SECONDS):
            await self.look()

    async def look(self) -> None:
        """Take what was added since the last look; write it down if the last time was a minute ago."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._session.get(self._url) as reply:
                page = await reply.content.read(PAGE_BYTES_MAX) if reply.status == 200 else b""  # noqa: PLR2004  # HTTP's own name for success
                while more := await reply.content.read(PAGE_BYTES_MAX):
                    page += more[: PAGE_BYTES_MAX - len(page)]
        except (OSError, TimeoutError, aiohttp.ClientError):
            return  # the edges are away: their counters stand still, or begin anew
        self.add(page)
        if self._clock.monotonic() - self._kept_s >= KEEP_SECONDS:
            await self.keep()

    def add(self, page: bytes) -> None:
        """Take one page of the edges' metrics. What was counted before the first one is not ours to keep."""
        now = {"votes": 0, "access": 0} | {
            name.decode(): int(float(value)) for name, value in COUNTED.findall(page)
        }
        if page and self._seen is not None:
            for name, value in now.items():
                before = self._seen[name]
                self._waiting[name] += value - before if value >= before else value
        if page:
            self._seen = now

    async def keep(self) -> None:
        """Write down what waits, if anything does."""
        self._kept_s = self._clock.monotonic()
        if not any(self._waiting.values()):
            return
        try:
            await asyncio.to_thread(self._record.unconfirmed, **self._waiting)
        except OSError as error:
            self._log.warning("unconfirmed attempts not on record", error=error)
            return
        self._waiting = {"votes": 0, "access": 0}

    async def finish(self) -> None:
        """Look and write down for the last time."""
        await self.look()
        await self.keep()
