"""Brings the journal's intervals into `ballot.availability` in order; they wait on disk while it is away.

So do the service's starts and stops, which go into the events.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import asyncpg
import click

from runtime import postgres
from runtime.servers import servers

if TYPE_CHECKING:
    from ops.availability.service_record import ServiceRecord
    from ops.monitor.gauges import Gauges
    from ops.monitor.journal import Journal
    from runtime.home import Home
    from runtime.lifecycle import Stop
    from runtime.logs import Log
    from runtime.servers import Servers

ROLE = "ballot_monitor"
DRAIN_SECONDS = 2.0
STATEMENT_SECONDS = 10.0

INSERT = """
INSERT INTO ballot.availability (monitor, started_us, ended_us, state, reason)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (monitor, started_us) DO NOTHING
"""
TURN = "INSERT INTO ballot.events (ballot, kind, actor, detail) VALUES (NULL, $1, 'monitor', $2::jsonb)"


class Writer:
    """One connection at a time, opened when there is something to write."""

    def __init__(
        self,
        home: Home,
        *,
        name: str,
        journal: Journal,
        gauges: Gauges,
        log: Log,
        service: ServiceRecord | None = None,
    ) -> None:
        self._home = home
        self._service = service
        self._name = name
        self._journal = journal
        self._gauges = gauges
        self._log = log
        self._stack = ExitStack()
        self._servers: Servers | None = None
        self._connection: asyncpg.Connection | None = None
        self._away = False

    async def run(self, stop: Stop) -> None:
        """Drain every two seconds until asked to stop, and once more then."""
        try:
            while not stop.requested:
                await self._attempt()
                await stop.wait(DRAIN_SECONDS)
        finally:
            if self._connection is not None:
                with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await self._connection.close(timeout=DRAIN_SECONDS)

    async def finish(self) -> None:
        """Write what the monitor's last interval left, if voterdb is there; then let go of the servers."""
        await self._attempt()
        if self._connection is not None:
            self._connection.terminate()
        await asyncio.to_thread(self._stack.close)

    async def _attempt(self) -> None:
        try:
            await self.drain()
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            click.ClickException,
        ) as error:
            if not self._away:
                self._log.warning("voterdb away, intervals kept in the journal", error=type(error).__name__)
            self._away = True
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
        else:
            self._away = False

    def use(self, servers: Servers) -> None:
        """Use servers that the caller already holds, and leave them to the caller."""
        self._servers = servers

    async def drain(self) -> None:
        """Insert every waiting interval; the mark moves only after the commit."""
        while entries := self._journal.unwritten():
            self._gauges.journal_pending.set(len(entries))
            connection = await self._connected()
            rows = [
                (
                    self._name,
                    e.interval.started_us,
                    e.interval.ended_us,
                    e.interval.state.value,
                    e.interval.reason,
                )
                for e in entries
            ]
            async with connection.transaction():
                await connection.executemany(INSERT, rows, timeout=STATEMENT_SECONDS)
            self._journal.mark_written(entries[-1].end_offset)
        self._gauges.journal_pending.set(0)
        await self._tell_turns()

    async def _tell_turns(self) -> None:
        """Insert every waiting start and stop; a kill before the mark repeats one, as its reader knows."""
        while self._service is not None and (lines := self._service.unwritten()):
            connection = await self._connected()
            rows = [(line.kind, json.dumps(line.detail(self._name))) for line in lines]
            async with connection.transaction():
                await connection.executemany(TURN, rows, timeout=STATEMENT_SECONDS)
            self._service.mark_written(lines[-1].end_offset)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if self._servers is None:
            self._servers = await asyncio.to_thread(self._stack.enter_context, servers(self._home))
        self._connection = await postgres.connect(self._servers, "voterdb", ROLE)
        return self._connection
