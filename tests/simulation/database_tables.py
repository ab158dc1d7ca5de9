"""The voter database's tables in memory, changed by transactions that can be undone, and as others see them.

One transaction writes at a time: what PostgreSQL would let two do at once, on two shards, here happens one
after the other, which is one of the orders it could have happened in.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES: Final = (
    *("electorate", "register", "revocations", "votes", "ip_records", "returns", "quarantine", "attempts"),
    *(
        "events",
        "turnout",
        "marks",
        "queue_epoch",
        "gate_epochs",
        "vote_references",
        "vote_events",
        "sealed_digests",
        "counted_returns",
    ),
)
"""The last four stand for unique constraints and indexes; the others are the tables of that name."""

Table = dict[Any, Any]
MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Vote:
    """A row of `votes`."""

    uin: bytes
    reference: str
    accepted_us: int
    digest: bytes
    channel: str
    credential: bytes
    nonce: bytes
    sealed: bytes
    signature: bytes
    sealed_sha256: bytes
    event: bytes
    shard: int
    entry: str
    number: int | None


@dataclass(frozen=True, slots=True)
class Return:
    """A row of `returns`."""

    uin: bytes
    method: str
    received_us: int
    recorded_us: int
    counted: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A row of `quarantine`."""

    reason: str
    reference: str | None
    uin: bytes | None
    digest: bytes | None
    accepted_us: int | None
    record: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `events`."""

    ballot: str | None
    kind: str
    actor: str
    detail: dict[str, Any]


def sha256(data: bytes | None) -> bytes | None:
    """As SQL does it: of nothing, nothing."""
    return None if data is None else hashlib.sha256(data).digest()


class Tables:
    """All tables, and the changes of the transaction that is open."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {name: {} for name in TABLES}
        self.journal: list[tuple[Table, Any, Any, Any]] | None = None

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]

    def put(self, name: str, key: Any, row: Any) -> None:
        """Write a row, in the open transaction."""
        table = self.tables[name]
        if self.journal is None:
            raise RuntimeError("nothing is written outside of a transaction")
        self.journal.append((table, key, table.get(key, MISSING), row))
        table[key] = row

    def begin(self) -> None:
        """Open a transaction."""
        if self.journal is not None:
            raise RuntimeError("one transaction at a time")
        self.journal = []

    def commit(self) -> None:
        """Keep what it changed."""
        self.journal = None

    def rollback(self) -> None:
        """Forget what it changed."""
        self.undo(0)
        self.journal = None

    def undo(self, to: int) -> None:
        """Take back the changes after the first so many: all of them, or those of a part that failed."""
        journal = self.journal or []
        for table, key, before, _ in reversed(journal[to:]):
            if before is MISSING:
                del table[key]
            else:
                table[key] = before
        del journal[to:]

    @contextmanager
    def committed(self) -> Iterator[None]:
        """As everybody else sees the tables while a transaction is open."""
        kept = None if self.journal is None else [*self.journal]
        self.undo(0)
        self.journal = None
        try:
            yield
        finally:
            for table, key, _, after in kept or ():
                table[key] = after
            self.journal = kept

    def copy(self) -> dict[str, Table]:
        """What is committed; rows are never changed in place."""
        with self.committed():
            return {name: dict(table) for name, table in self.tables.items()}

    def restore(self, copy: dict[str, Table]) -> None:
        """Put an older state in place."""
        self.tables = {name: dict(table) for name, table in copy.items()}
        self.journal = None
