"""All that was read, side by side in one file on disk, so that comparing a million votes takes no memory.

A private SQLite file that lives as long as one check. It holds digests, UINs and references: no sealed vote,
no credential, no IP address. A reference is kept as the gate keeps it, in 10 bytes; what is no reference
stays text, and so equals none.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROWS_PER_INSERT = 2000

#: What each table holds. Of a credential `kept` is the gate's field, of a code what the gate would keep.
TABLES = {
    # From the queue.
    "credentials": "kept BLOB, shard INTEGER, uin BLOB, flag TEXT",
    "marks": "uin BLOB, method TEXT, identity BLOB, accepted_us INTEGER, reference BLOB, shard INTEGER",
    "refs": "reference BLOB, state TEXT, shard INTEGER",
    "entries": "shard INTEGER, entry TEXT, place INTEGER, kind TEXT, digest BLOB, reference BLOB,"
    " accepted_us INTEGER, uin BLOB, method TEXT, won INTEGER, number INTEGER, received_us INTEGER,"
    " acknowledged INTEGER, early INTEGER, late INTEGER",
    "papers": "uin BLOB, method TEXT, received_us INTEGER, shard INTEGER",
    "spans": "shard INTEGER PRIMARY KEY, first_place INTEGER",
    "deleted": "shard INTEGER PRIMARY KEY, entry TEXT",
    "acknowledged": "shard INTEGER PRIMARY KEY, place INTEGER",
    "pending": "shard INTEGER, entry TEXT",
    "states": "shard INTEGER PRIMARY KEY, last_place INTEGER, number INTEGER",
    # From voterdb. No uniqueness is assumed: it is being checked. `again`: stored since the snapshot.
    "votes": "shard INTEGER, entry TEXT, place INTEGER, uin BLOB, reference BLOB, accepted_us INTEGER,"
    " digest BLOB, intact INTEGER, sealed_sha256 BLOB, identity BLOB, number INTEGER, channel TEXT,"
    " again INTEGER",
    "quarantine": "shard INTEGER, entry TEXT, place INTEGER, reason TEXT, reference BLOB, uin BLOB,"
    " digest BLOB, accepted_us INTEGER, kind TEXT, at_us INTEGER, number INTEGER, again INTEGER",
    "releases": "shard INTEGER, entry TEXT, uin BLOB, reference BLOB",
    "returned": "shard INTEGER, entry TEXT, place INTEGER, uin BLOB, method TEXT, counted INTEGER,"
    " received_us INTEGER, recorded_us INTEGER, again INTEGER",
    "electorate": "uin BLOB",
    "register": "digest BLOB, uin BLOB, shard INTEGER, channel TEXT, kept BLOB",
    "revocations": "digest BLOB, revoked_us INTEGER",
    "repeated": "digest BLOB, shard INTEGER, last_us INTEGER",
    "turnout": "minute_us INTEGER, method TEXT, side TEXT, votes INTEGER",
    "counted_to": "shard INTEGER PRIMARY KEY, place INTEGER",
    "accounted": "shard INTEGER, first INTEGER, last INTEGER",
    "skipped": "shard INTEGER, first INTEGER, last INTEGER",
    "numbers_given_up": "shard INTEGER, first INTEGER, last INTEGER, at_us INTEGER",
    "given_up": "reference BLOB",
    "gone": "shard INTEGER, first_place INTEGER, last_place INTEGER",
    # From voters.
    "receipts": "line INTEGER, reference BLOB, accepted_us INTEGER, sealed_sha256 BLOB",
    "attempts": "sealed_sha256 BLOB",
}

#: Made when everything is there, so that each is one sort. Where an index holds all that a query asks for,
#: the query runs along two of them side by side instead of jumping about in the tables.
INDEXES = {
    "credentials_by_kept": "credentials (kept, shard, uin, flag)",
    "marks_by_uin": "marks (uin)",
    "marks_by_reference": "marks (reference, uin, accepted_us, identity)",
    "refs_by_reference": "refs (reference)",
    "entries_by_entry": "entries (shard, entry)",
    "entries_by_reference": "entries (reference)",
    "entries_by_uin": "entries (uin)",
    "pending_by_entry": "pending (shard, entry)",
    "votes_by_uin": "votes (uin)",
    "votes_by_reference": "votes (reference, uin, accepted_us, identity)",
    "votes_by_digest": "votes (digest, uin, shard, channel)",
    "votes_by_sealed": "votes (sealed_sha256)",
    "votes_by_number": "votes (shard, number, place)",
    "quarantine_by_entry": "quarantine (shard, entry)",
    "quarantine_by_reference": "quarantine (reference)",
    "accounted_by_first": "accounted (shard, first, last)",
    "accounted_by_last": "accounted (shard, last)",
    "releases_by_reference": "releases (reference)",
    "releases_by_entry": "releases (shard, entry)",
    "returned_by_uin": "returned (uin)",
    "returned_by_entry": "returned (shard, entry)",
    "electorate_by_uin": "electorate (uin)",
    "register_by_kept": "register (kept, digest, uin, shard, channel)",
    "register_by_uin": "register (uin)",
    "revocations_by_digest": "revocations (digest)",
    "receipts_by_reference": "receipts (reference)",
    "attempts_by_sealed": "attempts (sealed_sha256)",
}

#: HSCAN may return a field twice; the one read last holds.
SINGLE = {"credentials": "kept, shard", "marks": "uin", "refs": "reference"}


class Scratch:
    """The tables above, filled in batches and asked in SQL."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        # A crash loses the file, and with it nothing: it is deleted in any case.
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -49152",
            "PRAGMA analysis_limit = 1000",
            "PRAGMA threads = 2",
        ):
            self._database.execute(statement)
        for name, columns in TABLES.items():
            self._database.execute(f"CREATE TABLE {name} ({columns})")

    def add(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows given in the order of the table's columns."""
        width = TABLES[table].count(",") + 1
        marks = ", ".join("?" * width)
        insert = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608  # our own names
        self._database.executemany(insert, rows)

    def index(self) -> None:
        """Make the indexes; once, after everything was added but for a few rows."""
        for name, target in INDEXES.items():
            self._database.execute(f"CREATE INDEX {name} ON {target}")
        for table, key in SINGLE.items():
            twice = f"SELECT 1 FROM {table} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"  # noqa: S608  # our own names
            if next(self.ask(twice), None) is not None:
                self._database.execute(
                    f"DELETE FROM {table} WHERE rowid NOT IN"  # noqa: S608  # our own names
                    f" (SELECT max(rowid) FROM {table} GROUP BY {key})"
                )
        self._database.execute("ANALYZE")

    def make(self, statement: str) -> None:
        """Make a view, or a table out of others."""
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
    milliseconds, sequence = found.groups()
    # The sequence restarts every millisecond; 20 bits leave a million a millisecond, and 63 are available.
    return min(int(milliseconds) * _SEQUENCES + min(int(sequence), _SEQUENCES - 1), LAST_PLACE)
