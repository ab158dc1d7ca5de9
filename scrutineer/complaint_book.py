"""The complaints as the desk has them: `userdb` alone, as `ballot_people`; rows are added and never changed.

Neither the voter database nor the queue is asked, so complaints are read while either is away.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import asyncpg
import click

from ballot import complaint
from ballot.complaint import Complaint, Lodged
from ballot.encoding import Malformed, b64decode, format_time, hex_decode, time_us
from ballot.suite import SignatureInvalid
from runtime import postgres
from runtime.clock import SystemClock
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import Servers, servers
from scrutineer.complaints_key import complaints_key, publish
from scrutineer.desk_key import desk_key
from scrutineer.unsealing import ComplaintsKey, Unreadable

T = TypeVar("T")
State = Literal["received", "in-hand", "answered", "closed"]
STATES: tuple[State, ...] = get_args(State)
SHA256_HEX = 64
ROWS = 500

_WITH_STATE = """
SELECT c.sha256, c.number, c.sealed, c.ballot, c.route, c.received_at, c.stored_at, h.state
  FROM complaints.complaints c
  CROSS JOIN LATERAL (SELECT state FROM complaints.history
                       WHERE complaint = c.sha256 AND state <> 'read' ORDER BY id DESC LIMIT 1) h
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One stored complaint and its present state."""

    sha256: bytes
    number: str
    sealed: bytes = field(repr=False)
    ballot: str | None
    route: str
    received_at: datetime
    stored_at: datetime
    state: str

    def about(self) -> dict[str, Any]:
        """Everything but what it says."""
        return {
            "number": self.number,
            "sha256": self.sha256.hex(),
            "ballot": self.ballot,
            "route": self.route,
            "received_at": shown_time(self.received_at),
            "stored_at": shown_time(self.stored_at),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a complaint's history."""

    state: str
    actor: str
    at: datetime
    note: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Book:
    """The open connection of one command; each half of the complaints key is looked for when it is needed."""

    home: Home
    database: asyncpg.Connection

    @cached_property
    def key(self) -> ComplaintsKey:
        """What opens complaints and notes."""
        return complaints_key(self.home, desk_key(self.home))

    @cached_property
    def public_key(self) -> bytes:
        """What they are sealed to: as published, if the published desk key vouches for it."""
        try:
            desk = json.loads(self.home.public_key_file.read_bytes())["public_key"]
            entry = json.loads(self.home.complaints_key_file.read_bytes())
            return complaint.verify_key(entry, b64decode(desk))
        except (OSError, ValueError, TypeError, KeyError, SignatureInvalid):
            raise click.ClickException(
                f"{self.home.complaints_key_file} is not there, or not signed by the desk's key: without the "
                "public complaints key nothing can be sealed"
            ) from None

    async def all(self, ballot: str | None) -> AsyncIterator[Kept]:
        """Give every complaint, or those that name `ballot`, as they came."""
        async with self.database.transaction(readonly=True):
            rows = self.database.cursor(
                _WITH_STATE + "WHERE $1::text IS NULL OR c.ballot = $1 ORDER BY c.received_at, c.sha256",
                ballot,
                prefetch=ROWS,
            )
            async for row in rows:
                yield Kept(*row)

    async def find(self, named: str) -> list[Kept]:
        """Give those with this number, or with this digest in hexadecimal; one at least."""
        digest, number = b"", ""
        try:
            if len(named) == SHA256_HEX:
                digest = hex_decode(named, length=SHA256_HEX // 2)
            else:
                number = complaint.parse_number(named)
        except Malformed as error:
            raise click.ClickException(str(error)) from None
        rows = await self.database.fetch(
            _WITH_STATE + "WHERE c.sha256 = $1 OR c.number = $2 ORDER BY c.received_at", digest, number
        )
        if not rows:
            raise click.ClickException(f"there is no complaint {named}")
        return [Kept(*row) for row in rows]

    async def one(self, named: str) -> Kept:
        """Give the one complaint of that number; where two share it, its digest must be given."""
        found = await self.find(named)
        if len(found) > 1:
            digests = ", ".join(each.sha256.hex() for each in found)
            raise click.ClickException(f"{len(found)} complaints have this number; name one of {digests}")
        return found[0]

    def opened(self, kept: Kept) -> Complaint | None:
        """Give what it says; nothing if it does not open."""
        try:
            return self.key.open(kept.sealed)
        except Unreadable:
            return None

    def opened_note(self, line: Line) -> str | None:
        """Give the note of a line; nothing if there is none. Unreadable if it does not open."""
        return None if line.note is None else self.key.open_note(line.note)

    async def history(self, kept: Kept) -> list[Line]:
        """Give all that became of it, in order."""
        rows = await self.database.fetch(
            "SELECT state, actor, at, note FROM complaints.history WHERE complaint = $1 ORDER BY id",
            kept.sha256,
        )
        return [Line(*row) for row in rows]

    async def add(self, kept: Kept, state: str, *, actor: str, note: str = "") -> None:
        """Add a line to its history; the note is sealed, since it may say who somebody is."""
        sealed = complaint.seal(Complaint(note), self.public_key, info=complaint.NOTE_INFO) if note else None
        await self.database.execute(
            "SELECT complaints.add_line($1, $2, $3, $4)", kept.sha256, state, actor, sealed
        )

    async def record(
        self, written: Complaint, *, route: str, ballot: str | None, received_us: int | None = None
    ) -> str:
        """Enter what came by phone or post, now or at `received_us`; gives its number."""
        lodged = Lodged(ballot, complaint.seal(written, self.public_key))
        await self.database.fetchval(
            "SELECT complaints.store($1, $2, $3, $4, $5)",
            route,
            [lodged.number],
            [lodged.sealed],
            [lodged.ballot],
            [(SystemClock().now_us() if received_us is None else received_us) // 1000],
        )
        return lodged.number


def run_book(body: Callable[[Book], Awaitable[T]]) -> T:
    """Run one command about complaints."""
    home = Home.from_environment(os.environ)
    with servers(home) as running:
        return run_async(lambda: _with_book(home, running, body))


async def _with_book(home: Home, running: Servers, body: Callable[[Book], Awaitable[T]]) -> T:
    publish(home)
    database = await postgres.connect(running, "userdb", "ballot_people")
    try:
        return await body(Book(home, database))
    finally:
        await database.close()


def shown_time(at: datetime) -> str:
    """A time of the database as every other time of ours is written."""
    return format_time(time_us(at))
