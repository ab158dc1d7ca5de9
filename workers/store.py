"""The workers' only door to the voter database: a few functions, for the role has no right on any table."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Final, TypeVar

import asyncpg
import orjson

from ballot.queue_record import QueueRecord
from runtime.lifecycle import Fatal, Retry
from workers.entry import Entry, Fields, raw_record

T = TypeVar("T")

STORED: Final = "stored"
REDELIVERED: Final = "redelivered"
"""The status of an entry whose vote or return is stored already."""

STATEMENT_TIMEOUT_S: Final = 30.0
"""A batch takes milliseconds; whoever waits this long waits for a database that is not there."""

PASSING: Final = ("08", "40", "53", "55", "57", "58", "25006", "23505", "QE001")
"""SQLSTATEs (or classes) that time heals: connection, rollback, resources, lock, shutdown, disk, read-only.

QE001 is our own: the queue was rebuilt since the entries were read, so they are read anew.

23505 is a reference that another shard stored at the same moment: the next try finds it and says conflict.
"""


GATE_EPOCHS: Final = "SELECT * FROM ballot.worker_gate_epochs()"


@dataclass(slots=True)
class Row:
    """One entry as it goes into the database: what it says, what was in it, and what the worker made of it.

    `judged` is the worker's own reason for quarantine, `came` the entry as the queue gave it.
    """

    entry: Entry
    record: QueueRecord | None = field(repr=False)
    judged: str | None
    event: bytes | None = field(repr=False)
    sealed_ip: bytes | None = field(repr=False)
    came: Fields = field(repr=False)

    @property
    def plain(self) -> bool:
        """A vote with which the worker found nothing wrong."""
        return self.judged is None and self.record is not None


@dataclass(slots=True)
class Outcome:
    """What became of an entry: `stored`, `redelivered` or why it is held; `fresh` if it happened just now."""

    entry: str
    status: str
    fresh: bool
    equal_sealed: bool

    @property
    def held(self) -> bool:
        """Whether the entry is in quarantine."""
        return self.status not in {STORED, REDELIVERED}


@dataclass(frozen=True, slots=True)
class Mark:
    """How far `side` (stored, turnout) has come in a shard; `electronic` counts the ballot's stored votes."""

    ballot: str
    shard: int
    side: str
    entry: str
    entries: int
    electronic: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a shard's gate must still have: the window on record, and how many were revoked and released.

    And the number of the last recovery that the ballot was in.
    """

    ballot: str
    shard: int
    opens_us: int | None
    closes_us: int | None
    revoked: int
    released: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as ballot.store_attempts takes it; the fields are its arrays in their order."""

    entry: str
    kind: str
    outcome: str
    digest: bytes = field(repr=False)
    sealed_ip: bytes = field(repr=False)
    at_us: int
    count: int = 1
    first_us: int | None = None


_STORE_VOTES: Final = f"SELECT ballot.store_votes({', '.join(f'${place}' for place in range(1, 17))})"
_STORE_BATCH: Final = f"SELECT * FROM ballot.store_batch({', '.join(f'${place}' for place in range(1, 22))})"  # noqa: S608  # placeholders only
_STORE_ATTEMPTS: Final = "SELECT ballot.store_attempts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
_NONE: Final = (None, None, None, None)
_TURNOUT_ADD: Final = "SELECT ballot.turnout_add($1, $2, $3, $4, $5, $6, $7, $8, $9)"


class Store:
    """One connection, made when needed and made again after it is lost; for one task at a time.

    Every method raises Retry while the database is away, and Fatal for a failure that time does not heal.
    An `epoch` is what the queue said before the entries were read from it (`Queue.epoch`): those of a queue
    that was rebuilt meanwhile are refused with Retry.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._connection: Any = None

    async def store_batch(
        self,
        ballot: str,
        shard: int,
        rows: Sequence[Row],
        *,
        epoch: int,
        judge: Callable[[list[Outcome]], None],
    ) -> list[Outcome]:
        """Store one shard's batch in one transaction.

        `judge` sees the outcomes before the commit; if it raises, nothing has happened. Votes that are all
        new and sound, as nearly always, are stored by one call and sent without a copy of the entries.
        """

        async def work(connection: Any) -> list[Outcome]:
            if all(row.plain for row in rows):
                outcomes = [Outcome(row.entry.id, STORED, fresh=True, equal_sealed=False) for row in rows]
                judge(outcomes)
                columns = _vote_columns(rows)
                if await connection.fetchval(
                    _STORE_VOTES, epoch, ballot, shard, *columns, timeout=STATEMENT_TIMEOUT_S
                ):
                    return outcomes
            async with connection.transaction():
                outcomes = await _batch(connection, epoch, ballot, shard, rows)
                judge(outcomes)
            return outcomes

        return await self._with_connection(work)

    async def judge_batch(self, ballot: str, shard: int, rows: Sequence[Row], *, epoch: int) -> list[Outcome]:
        """What would become of one shard's batch; nothing is stored."""

        async def work(connection: Any) -> list[Outcome]:
            transaction = connection.transaction()
            await transaction.start()
            try:
                return await _batch(connection, epoch, ballot, shard, rows)
            finally:
                await transaction.rollback()

        return await self._with_connection(work)

    async def stored_references(self, ballot: str, references: Collection[str]) -> set[str]:
        """Which of these references are those of stored votes."""

        async def work(connection: Any) -> set[str]:
            query = "SELECT ballot.worker_stored_references($1, $2)"
            records = await connection.fetch(query, ballot, list(references), timeout=STATEMENT_TIMEOUT_S)
            return {record[0] for record in records}

        return await self._with_connection(work)

    async def store_attempts(
        self, ballot: str, shard: int, attempts: Sequence[Attempt], *, epoch: int
    ) -> int:
        """Store attempts; how many were new."""
        columns = _columns([astuple(attempt) for attempt in attempts])
        return int(await self._value(_STORE_ATTEMPTS, epoch, ballot, shard, *columns))

    async def turnout_add(
        self,
        ballot: str,
        shard: int,
        *,
        epoch: int,
        begin: str,
        end: str,
        entries: int,
        counts: dict[tuple[int, str], int],
    ) -> bool:
        """Add `counts` by (minute, method) of the entries after `begin` to `end`.

        False, and nothing is added, if the mark is not at `begin`.
        """
        minutes = [minute for minute, _ in counts]
        methods = [method for _, method in counts]
        votes = list(counts.values())
        return bool(
            await self._value(
                _TURNOUT_ADD, epoch, ballot, shard, begin, end, entries, minutes, methods, votes
            )
        )

    async def marks(self) -> list[Mark]:
        """How far storing and turnout have come, in every shard of every ballot."""

        async def work(connection: Any) -> list[Mark]:
            records = await connection.fetch(
                "SELECT * FROM ballot.worker_marks()", timeout=STATEMENT_TIMEOUT_S
            )
            return [Mark(*record) for record in records]

        return await self._with_connection(work)

    async def kept(self) -> list[Kept]:
        """What the gate of every shard of every ballot must still have."""

        async def work(connection: Any) -> list[Kept]:
            records = await connection.fetch(
                "SELECT * FROM ballot.worker_kept()", timeout=STATEMENT_TIMEOUT_S
            )
            epochs = dict(await connection.fetch(GATE_EPOCHS, timeout=STATEMENT_TIMEOUT_S))
            return [Kept(*(*record, epochs.get(record[0], 0))) for record in records]

        return await self._with_connection(work)

    async def gate_epochs(self) -> dict[str, int]:
        """The number that the last recovery gave the gates of each ballot that was in one."""

        async def work(connection: Any) -> dict[str, int]:
            return dict(await connection.fetch(GATE_EPOCHS, timeout=STATEMENT_TIMEOUT_S))

        return await self._with_connection(work)

    async def epoch(self, queue: int) -> int:
        """How often the queue was rebuilt; one that says `queue` and is ahead a little is believed."""
        return int(await self._value("SELECT ballot.worker_epoch($1)", queue))

    async def event(self, ballot: str | None, kind: str, **detail: object) -> None:
        """Write one line to the audit log."""
        await self._value(
            "SELECT ballot.worker_event($1, $2, $3)", ballot, kind, orjson.dumps(detail).decode()
        )

    async def take_turnout_place(self) -> bool:
        """Whether this connection is the one turnout reader's."""
        return bool(await self._value("SELECT ballot.worker_turnout_place()"))

    async def fuse_blown(self) -> bool:
        """Whether the fuse has blown and nothing has cleared it since."""
        return bool(await self._value("SELECT ballot.worker_fuse_state()"))

    async def forget_plans(self) -> None:
        """Plan anew: a ballot has come whose register was not there when the plans were made."""
        await self._value("DISCARD PLANS")

    async def close(self) -> None:
        """End the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=5.0)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def _value(self, query: str, *arguments: object) -> Any:
        async def work(connection: Any) -> Any:
            return await connection.fetchval(query, *arguments, timeout=STATEMENT_TIMEOUT_S)

        return await self._with_connection(work)

    async def _with_connection(self, work: Callable[[Any], Awaitable[T]]) -> T:
        try:
            if self._connection is not None and self._connection.is_closed():
                # What we were given to store may be of before the database was another one.
                raise ConnectionError("the connection was lost since it was used last")
            if self._connection is None:
                self._connection = await self._connect()
            return await work(self._connection)
        except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
            self._drop()
            if isinstance(error, ValueError):
                raise Fatal(f"voter database: {type(error).__name__}, a value of the wrong kind") from error
            raise Retry(f"voter database: {type(error).__name__}") from error
        except asyncio.CancelledError:
            self._drop()
            raise
        except asyncpg.PostgresError as error:
            # The message may quote a row; the code says enough.
            state = str(error.sqlstate)
            if state.startswith(PASSING):
                self._drop()
                raise Retry(f"voter database: {state} {type(error).__name__}") from error
            raise Fatal(f"voter database: {state} {type(error).__name__}") from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()


async def _batch(connection: Any, epoch: int, ballot: str, shard: int, rows: Sequence[Row]) -> list[Outcome]:
    """Run the storing function that judges by entry; the caller's transaction decides whether it happened."""
    columns = _entry_columns(rows)
    records = await connection.fetch(
        _STORE_BATCH, epoch, ballot, shard, *columns, timeout=STATEMENT_TIMEOUT_S
    )
    outcomes = [Outcome(*record) for record in records]
    if [outcome.entry for outcome in outcomes] != [row.entry.id for row in rows]:
        raise Fatal("voter database: the outcomes are not those of the entries sent")
    return outcomes


def _vote_columns(rows: Sequence[Row]) -> list[list[Any]]:
    """The arrays of ballot.store_votes."""
    entries = [row.entry for row in rows]
    records = [row.record for row in rows if row.record is not None]
    return [
        [entry.id for entry in entries],
        [entry.uin for entry in entries],
        [entry.reference for entry in entries],
        [entry.digest for entry in entries],
        [entry.at_us for entry in entries],
        [entry.channel for entry in entries],
        [record.credential for record in records],
        [record.nonce for record in records],
        [record.sealed for record in records],
        [record.signature for record in records],
        [row.event for row in rows],
        [row.sealed_ip for row in rows],
        [entry.number for entry in entries],
    ]


def _entry_columns(rows: Sequence[Row]) -> list[list[Any]]:
    """The arrays of ballot.store_batch."""
    return _columns(
        [
            (
                entry.id,
                entry.kind,
                row.judged,
                entry.counted,
                entry.uin,
                entry.reference,
                entry.digest,
                entry.at_us,
                entry.received_us,
                entry.channel,
                *((sealed.credential, sealed.nonce, sealed.sealed, sealed.signature) if sealed else _NONE),
                row.event,
                row.sealed_ip,
                raw_record(row.came),
                entry.number,
            )
            for row in rows
            for entry, sealed in [(row.entry, row.record)]
        ]
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
