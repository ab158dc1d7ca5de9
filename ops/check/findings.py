"""What does not fit, named: `findings.sql` holds one query a promise, naming each vote that breaks it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ops.check.queue_rows import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.check.scratch import Scratch
    from ops.check.store_side import BallotRecord

QUERIES_FILE = Path(__file__).with_name("findings.sql")

#: Later than any vote: the opening of a ballot that was never opened.
NEVER_US = 1 << 62

#: The kind of the standing ballot that the monitor votes on.
PROBE_KIND = "probe"

#: The note that makes sense only when receipts were handed in.
UNCONFIRMED = "unconfirmed attempts"


class Kind(enum.Enum):
    """How something does not fit. Every one fails the check."""

    LOST = "lost"
    DOUBLED = "doubled"
    ALTERED = "altered"
    UNEXPLAINED = "unexplained"
    TURNOUT = "turnout does not add up"
    WINDOW = "outside the window"
    ELECTORATE = "not in the electorate"
    REGISTER = "not as registered"
    DOCUMENT = "ballot document does not verify"
    RECEIPT = "receipt not genuine"
    SIGNATURE = "signature does not verify"
    ROOTS = "register roots do not verify"
    SIGNED_ELECTORATE = "electorate is not the signed one"
    RESULT = "result is not of these books"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit: `where` is a reference, or a shard and entry, or a digest."""

    kind: Kind
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Queries:
    """The file's queries: views to make first, then what fails the check, then what only deserves a look."""

    views: tuple[str, ...]
    kinds: tuple[tuple[Kind, str], ...]
    notes: tuple[tuple[str, str], ...]


@cache
def queries() -> Queries:
    """The queries of `findings.sql`."""
    views: list[str] = []
    kinds: list[tuple[Kind, str]] = []
    notes: list[tuple[str, str]] = []
    for block in QUERIES_FILE.read_text("utf-8").split("\n\n"):
        header, _, query = block.partition("\n")
        label, _, value = header.removeprefix("-- ").partition(": ")
        match label:
            case "kind":
                kinds.append((Kind[value], query))
            case "note":
                notes.append((value, query))
            case "view":
                views.append(query)
            case _:
                continue  # the file's opening remark
    return Queries(tuple(views), tuple(kinds), tuple(notes))


def make_views(tables: Scratch) -> None:
    """Make what the queries here and those of the totals share; once, after everything was added."""
    for view in queries().views:
        tables.make(view)


def find(tables: Scratch, record: BallotRecord, *, with_attempts: bool) -> Iterator[Finding]:
    """Ask every query; a ballot never opened has an empty window, so any vote is outside it."""
    terms = {
        "opens_us": NEVER_US if record.opens_us is None else record.opens_us,
        "closes_us": NEVER_US if record.closes_us is None else record.closes_us,
        "electronic": record.electronic,
        "with_attempts": with_attempts,
        # A probe ballot's roll grows while it is open, a moment before the new codes are issued.
        "all_have_codes": record.electronic and record.opens_us is not None and record.kind != PROBE_KIND,
    }
    for kind, query in queries().kinds:
        for where, what in tables.ask(query, terms):
            yield Finding(kind, named(where), what)


def notes(tables: Scratch, *, with_receipts: bool, limit: int) -> dict[str, list[tuple[str, str]]]:
    """What deserves a look and fails nothing, at most `limit` of each."""
    return {
        name: [(named(where), str(what)) for where, what in islice(tables.ask(query), limit)]
        for name, query in queries().notes
        if with_receipts or name != UNCONFIRMED
    }
