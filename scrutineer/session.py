"""One desk command's hold on the servers: both databases by two roles, the gate as `desk`, the desk's key.

Only a person's command may hold both clusters (DESIGN 4), so nothing here is imported by a running service.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import click

from ballot.encoding import format_time
from ballot.suite import SigningKey
from runtime import postgres, valkey
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import Servers, servers
from scrutineer.complaints_key import publish
from scrutineer.desk_key import desk_key
from scrutineer.replicated import Replicated, replicated

T = TypeVar("T")

#: First half of the advisory lock's two integers: "DESK" in ASCII. The second is the hash of ballot and part.
LOCK_CLASS = 0x4445534B

#: How long the queue may take over one answer.
QUEUE_S = 30.0

#: Why a command stops when another one is changing the same ballot.
BUSY = "another desk command is changing this ballot; wait for it to end, then run this one again"


@dataclass(frozen=True, slots=True)
class Desk:
    """The open connections of one command; `people` is the user database and is there only when asked for."""

    home: Home
    servers: Servers
    votes: asyncpg.Connection
    userdb: asyncpg.Connection | None
    gate: Any  # redis-py types replies as text or binary; ours are all binary
    key: SigningKey
    replicated: Replicated | None = None
    """By what acts at the gate wait for replicas; None at level `disk`."""

    @property
    def people(self) -> asyncpg.Connection:
        """The user database; a command that did not ask for it has a bug."""
        if self.userdb is None:
            raise AssertionError("this command did not ask for the user database")
        return self.userdb

    async def now(self) -> tuple[int, str]:
        """Give the queue's clock, the only one that opens and closes ballots, in microseconds and as text."""
        seconds, micros = await self.gate.time()
        now_us = int(seconds) * 1_000_000 + int(micros)
        return now_us, format_time(now_us)

    async def event(self, ballot: str | None, kind: str, /, **detail: Any) -> None:
        """Write one line of the audit log; `detail` never holds a code, a choice or a contact detail."""
        await self.votes.execute(
            "INSERT INTO ballot.events (ballot, kind, actor, detail) VALUES ($1, $2, 'desk', $3::jsonb)",
            ballot,
            kind,
            json.dumps(detail, sort_keys=True),
        )


def run_desk(body: Callable[[Desk], Awaitable[T]], *, people: bool = False) -> T:
    """Run one desk command on the servers (started if need be), with the user database if `people`."""
    home = Home.from_environment(os.environ)
    with servers(home) as running:
        return run_async(lambda: _with_desk(home, running, body, people=people))


async def _with_desk(
    home: Home, running: Servers, body: Callable[[Desk], Awaitable[T]], *, people: bool
) -> T:
    key = desk_key(home)
    publish(home)
    votes = await postgres.connect(running, "voterdb", "ballot_desk")
    try:
        userdb = await postgres.connect(running, "userdb", "ballot_people") if people else None
        waits = replicated(running, os.environ, timeout_s=QUEUE_S)
        gate = valkey.connect(running, "desk", timeout_s=QUEUE_S)
        try:
            with valkey.plainly():
                return await body(Desk(home, running, votes, userdb, gate, key, waits))
        finally:
            await gate.aclose()
            if waits is not None:
                await waits.nodes.aclose()
            if userdb is not None:
                await userdb.close()
    finally:
        await votes.close()


@asynccontextmanager
async def changing(desk: Desk, ballot: str, part: str = "voters and codes") -> AsyncIterator[None]:
    """Hold one part of the ballot for one changing command.

    Closing must not wait for a long issue of codes, so they hold different parts. The lock dies
    with its connection: a crash leaves none.
    """
    name = f"{ballot}/{part}"
    held = await desk.votes.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, name)
    if not held:
        raise click.ClickException(BUSY)
    try:
        yield
    finally:
        if not desk.votes.is_closed():
            await desk.votes.execute("SELECT pg_advisory_unlock($1, hashtext($2))", LOCK_CLASS, name)
