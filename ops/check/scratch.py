"""All that was read, side by side in one file on disk, so that comparing a million votes takes no memory.

A private SQLite file that lives as long as one check. It holds digests, UINs and references: no sealed vote,
no credential, no IP address.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from ballot.gate_layout import DIGEST_KEPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROWS_PER_INSERT = 2000

#: What each table holds; `INSERT OR REPLACE` on the keyed ones because HSCAN may return a field twice.
#: Of a credential `kept` is the gate's field, whatever it is, and `digest` the register's that it stands for.
TABLES = {
    # From the queue.
    "credentials": "kept BLOB, shard INTEGER, digest BLOB, uin BLOB, flag TEXT",
    "marks": "uin BLOB PRIMARY KEY, method TEXT, identity BLOB, accepted_us INTEGER, reference TEXT,"
    " shard INTEGER",
    "refs": "reference TEXT PRIMARY KEY, state TEXT, shard INTEGER",
    "entries": "shard INTEGER, entry TEXT, place INTEGER, kind TEXT, digest BLOB, reference TEXT,"
    " accepted_us INTEGER, uin BLOB, method TEXT, won INTEGER, acknowledged INTEGER, late INTEGER",
    "spans": "shard INTEGER PRIMARY KEY, first_place INTEGER",
    "deleted": "shard INTEGER PRIMARY KEY, entry TEXT",
    # From voterdb. No uniqueness is assumed: that is what is being checked.
    "votes": "shard INTEGER, entry TEXT, place INTEGER, uin BLOB, reference TEXT, accepted_us INTEGER,"
    " digest BLOB, stated_sha256 BLOB, actual_sha256 BLOB, identity BLOB",
    "quarantine": "shard INTEGER, entry TEXT, reason TEXT, reference TEXT, uin BLOB, digest BLOB,"
    " accepted_us INTEGER",
    "releases": "shard INTEGER, entry TEXT, uin BLOB, reference TEXT",
    "returned": "shard INTEGER, entry TEXT, uin BLOB, method TEXT, counted INTEGER, received_us INTEGER",
    "electorate": "uin BLOB PRIMARY KEY",
    "register": "digest BLOB, uin BLOB, shard INTEGER",
    "revocations": "digest BLOB, revoked_us INTEGER",
    # From voters.
    "receipts": "line INTEGER, reference TEXT, accepted_us INTEGER, sealed_sha256 BLOB",
}

KEYS = ("credentials (kept, shard)",)

INDEXES = (
    "credentials (digest)",
    "marks (reference)",
    "entries (shard, entry)",
    "entries (reference)",
    "entries (uin)",
    "votes (uin)",
    "votes (reference)",
    "votes (digest)",
    "votes (actual_sha256)",
    "quarantine (shard, entry)",
    "quarantine (reference)",
    "releases (reference)",
    "returned (uin)",
    "returned (shard, entry)",
    "register (digest)",
    "register (uin)",
    "revocations (digest)",
    "receipts (reference)",
)


class Scratch:
    """The tables above, filled in batches and asked in SQL."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        # A crash loses the file, and with it nothing: it is deleted in any case.
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -65536",
        ):
            self._database.execute(statement)
        for name, columns in TABLES.items():
            self._database.execute(f"CREATE TABLE {name} ({columns})")
        for number, target in enumerate(KEYS):
            self._database.execute(f"CREATE UNIQUE INDEX key_{number} ON {target}")

    def add(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows given in the order of the table's columns."""
        width = TABLES[table].count(",") + 1
        marks = ", ".join("?" * width)
        insert = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608  # our own names
        self._database.executemany(insert, rows)

    def name_credentials(self) -> None:
        """Give the gate's credentials the register's whole digests: the gate keeps their first bytes.

        A field of another length is of no issued code, whatever it begins with: it stays without a digest.
        """
        self._database.execute(
            f"CREATE INDEX IF NOT EXISTS register_kept ON register (substr(digest, 1, {DIGEST_KEPT}))"
        )
        self._database.execute(
            "UPDATE credentials SET digest = g.digest FROM register g"  # noqa: S608  # our own number
            f" WHERE substr(g.digest, 1, {DIGEST_KEPT}) = credentials.kept AND credentials.digest IS NULL"
        )

    def index(self) -> None:
        """Make the indexes; once, after everything was added."""
        for number, target in enumerate(INDEXES):
            self._database.execute(f"CREATE INDEX index_{number} ON {target}")
        self._database.execute("ANALYZE")

    def make(self, statement: str) -> None:
        """Make a view."""
        self._database.execute(statement)

    def ask(self, query: str, parameters: dict[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Run a query, row by row."""
        yield from self._database.execute(query, parameters or {})

    def count(self, query: str) -> int:
        """Run a query whose answer is one number."""
        return int(next(self.ask(query))[0])

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


@contextmanager
def scratch(directory: Path) -> Iterator[Scratch]:
    """Give a new scratch in a directory of its own, removed at the end."""
    try:
        with (
            TemporaryDirectory(prefix="check-", dir=directory) as name,
            closing(Scratch(Path(name) / "scratch.sqlite")) as tables,
        ):
            yield tables
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise click.ClickException(f"there is no room in {directory} to compare queue and database") from None


#: The largest place there is.
LAST_PLACE = (1 << 63) - 1
_SEQUENCES = 1 << 20
_ENTRY = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


def place(entry: str) -> int:
    """Return a stream entry's id as one number that sorts as the ids do; -1 for what is no such id."""
    if (found := _ENTRY.fullmatch(entry)) is None:
        return -1
    # The sequence restarts every millisecond; 20 bits leave a million a millisecond, and 63 are available.
    return min(int(found[1]) * _SEQUENCES + min(int(found[2]), _SEQUENCES - 1), LAST_PLACE)
