"""The fence before the storing functions (016_queue_epoch.sql), and what recovery writes (014, 018, 021)."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from tests.simulation.database_tables import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.database_tables import Tables

MINUTE_US: Final = 60_000_000


def storing_fence(tables: Tables, epoch: int) -> None:
    """Refuse what was read from another queue than the one in use."""
    if epoch != tables["queue_epoch"].get("number", 0):
        refused = asyncpg.exceptions.UnknownPostgresError("these entries are not of the queue that is in use")
        refused.sqlstate = "QE001"
        raise refused


def fenced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the queue's epoch before its arguments; an older worker gives none, which is 0."""

    def call(tables: Tables, *arguments: Any) -> Any:
        older = isinstance(arguments[0], str)
        storing_fence(tables, 0 if older else arguments[0])
        return function(tables, *(arguments if older else arguments[1:]))

    return call


def recovery_epoch(tables: Tables, queue: int) -> int:
    """Raise the number, and forget the gates'; no clock comes into it here."""
    number = max(int(tables["queue_epoch"].get("number", 0)), queue) + 1
    tables.put("queue_epoch", "number", number)
    for ballot in sorted(tables["gate_epochs"]):
        tables.put("gate_epochs", ballot, 0)
    return number


def recovery_gate_epochs(tables: Tables, number: int, ballots: Sequence[str]) -> None:
    """Note that all gates of these ballots have the number; 0 is no row."""
    for ballot in ballots:
        tables.put("gate_epochs", ballot, number)


def recovery_turnout(
    tables: Tables,
    ballot: str,
    shards: Sequence[int],
    entries: Sequence[str],
    added: Sequence[int],
    *waiting: Sequence[Any],
) -> int:
    """Set the turnout as accepted to what is stored, held or waits; how much less that is."""
    votes = {(vote.shard, vote.entry, vote.reference) for vote in tables["votes"].values()}
    counts: Counter[tuple[str, int, str, str]] = Counter()
    before = 0
    for (of, minute_us, method, side), number in tables["turnout"].items():
        if side == "stored":
            counts[of, minute_us, method, "accepted"] += number
        else:
            before += number
            counts[of, minute_us, method, side] += 0
    for shard, entry, reference, at_us, method in zip(*waiting, strict=True):
        if (ballot, shard, entry) not in tables["returns"] and (shard, entry, reference) not in votes:
            counts[ballot, at_us - at_us % MINUTE_US, method, "accepted"] += 1
    for key, number in sorted(counts.items()):
        tables.put("turnout", key, number)
    for shard, entry, count in zip(shards, entries, added, strict=True):
        tables.put("marks", (ballot, shard, "turnout"), (entry, count))
    return before - counts.total()


def recovery_event(tables: Tables, detail: str) -> None:
    """The event that names what is lost."""
    made = Event(None, "recovery.performed", "recovery", json.loads(detail))
    tables.put("events", len(tables["events"]), made)
