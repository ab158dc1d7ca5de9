"""What recoveries of the queue have put on record as lost: numbers without a vote, references gone.

Only the role of recovery can write such an event (017_event_writers.sql). Each names all numbers of a ballot
anew, so the newest one holds; and it explains nothing that came after it: its numbers lie below its jump, and
each has the time of the first event that had it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ops.check.queue_rows import reference_of
from ops.check.scratch import place
from ops.recovery import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from ops.check.scratch import Scratch
    from ops.recovery.numbers import Range

EVENTS = """
SELECT detail -> 'ballots' -> $1 AS lost, (extract(epoch FROM at) * 1000000)::bigint AS at_us
  FROM ballot.events
 WHERE kind = 'recovery.performed' AND actor = 'recovery' AND detail -> 'ballots' ? $1 ORDER BY seq
"""


NUMBERS = 1 << 62
"""Beyond any number; SQLite counts no further than twice this."""

Numbers = tuple[int, int, int]
"""A shard, and its numbers from one to another."""


async def read_recoveries(connection: asyncpg.Connection, ballot: str, tables: Scratch) -> None:
    """Read what the events of recovery say of this ballot; what is of no such form accounts for nothing."""
    lost: Any = None
    named: list[tuple[list[Numbers], int]] = []
    for row in await connection.fetch(EVENTS, ballot):
        lost = json.loads(row["lost"])
        if isinstance(lost, dict):
            named.append((list(_ranges(lost.get("unaccounted"))), row["at_us"]))
            tables.add("given_up", list(_references(lost.get("unconfirmed"))))
            tables.add("gone", list(_gaps(lost.get("gaps"))))
    if isinstance(lost, dict):
        jumped = joined(list(_ranges(lost.get("skipped"))))
        ends = {shard: last for shard, _, last in jumped}
        found = [each for each in _ranges(lost.get("unaccounted")) if each[2] <= ends.get(each[0], 0)]
        tables.add("skipped", jumped)
        tables.add("numbers_given_up", list(_first_named(joined(found), named)))
        tables.add("accounted", joined([*jumped, *found]))


def _first_named(
    found: list[Numbers], named: list[tuple[list[Numbers], int]]
) -> Iterator[tuple[int, int, int, int]]:
    """These numbers with the time of the first event that had them."""
    for ranges, at_us in named:
        left = less(found, ranges)
        yield from ((*each, at_us) for each in less(found, left))
        found = left


def less(ranges: list[Numbers], others: list[Numbers]) -> list[Numbers]:
    """What of these ranges is in none of the others, in order."""
    shards: defaultdict[int, tuple[list[Range], list[Range]]] = defaultdict(lambda: ([], []))
    for which, given in enumerate((ranges, others)):
        for shard, first, last in given:
            shards[shard][which].append((first, last))
    return [(shard, *each) for shard in sorted(shards) for each in numbers.less(*shards[shard])]


def joined(ranges: list[Numbers]) -> list[Numbers]:
    """Return the ranges of each shard in order, what touches as one: each recovery may name a part."""
    found: list[Numbers] = []
    for shard, first, last in sorted(ranges):
        if found and found[-1][0] == shard and first <= found[-1][2] + 1:
            found[-1] = (shard, found[-1][1], max(last, found[-1][2]))
        else:
            found.append((shard, first, last))
    return found


def _ranges(unaccounted: Any) -> Iterator[tuple[int, int, int]]:
    if not isinstance(unaccounted, dict):
        return
    for shard, ranges in unaccounted.items():
        for each in ranges if isinstance(ranges, list) else ():
            match each:
                case [int(first), int(last)] if shard.isdigit() and 0 < first <= last < NUMBERS:
                    yield int(shard), first, last
                case _:
                    continue


def _gaps(gaps: Any) -> Iterator[tuple[int, int, int]]:
    """The parts of each shard's stream that were lost: after one entry, up to another."""
    if not isinstance(gaps, dict):
        return
    for shard, parts in gaps.items():
        for each in parts if isinstance(parts, list) else ():
            match each:
                case [str(first), str(last)] if shard.isdigit():
                    yield int(shard), place(first), place(last)
                case _:
                    continue


def _references(unconfirmed: Any) -> Iterator[tuple[bytes | str]]:
    for each in unconfirmed if isinstance(unconfirmed, list) else ():
        if isinstance(each, str):
            yield (reference_of(each),)
