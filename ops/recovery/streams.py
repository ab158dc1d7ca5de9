"""A shard's streams after a loss: never behind what the voter database has seen, and nothing is skipped.

The stream of votes keeps every entry that this copy of the queue has. What the database has seen beyond its
end is gone; the stream goes on behind it, so that no id is given twice and workers and turnout find their
places. The group goes on before the first entry that is neither stored nor given out: what it is given twice
is told apart by the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.recovery import record
from ops.recovery.record import Seen, order

if TYPE_CHECKING:
    import asyncpg

    from ops.recovery.shard import Entry, Extent, Shard


@dataclass(slots=True)
class Waiting:
    """What a shard's stream holds that is not stored. `first` is the first of it that nobody was given."""

    entries: list[Entry] = field(default_factory=list)
    first: str | None = None
    after_first: int = 0
    """Entries from `first` to the end, stored or not."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What must be set. `gap`: the part of the stream that is gone, None if no part is."""

    last: str
    added: int
    position: str
    read: int
    gap: tuple[str, str] | None


async def waiting(database: asyncpg.Connection, ballot: str, number: int, shard: Shard) -> Waiting:
    """Compare the whole stream with what is stored."""
    found = Waiting()
    extent = await shard.extent(shard.keys[4])
    if not extent.length:
        return found
    pending = await shard.pending() if extent.group is not None else set()
    async for page in shard.entries():
        names = await record.unstored(database, ballot, number, [(each.id, each.reference) for each in page])
        for each in page:
            if each.id in names:
                found.entries.append(each)
                if found.first is None and each.id not in pending:
                    found.first = each.id
            found.after_first += found.first is not None
    return found


def mending(extent: Extent, left: Waiting, seen: Seen) -> Mending | None:
    """What a stream needs, or None: (1) to end where the database has come, (2) not to skip what is unstored.

    `seen` is how far the database has come in it.
    """
    behind = order(extent.last) < order(seen.entry)
    short = extent.added < max(seen.stored, seen.counted)
    skipped = left.first is not None and extent.group is not None and order(left.first) <= order(extent.group)
    if not (behind or short or skipped):
        return None
    last = max(extent.last, seen.entry, key=order)
    added = max(extent.added, seen.stored + len(left.entries), extent.length)
    return Mending(
        last=last,
        added=added,
        position=last if left.first is None else before(left.first),
        read=max(0, added - left.after_first),
        gap=(extent.last, seen.entry) if behind else None,
    )


def before(entry: str) -> str:
    """The id just before an entry's."""
    milliseconds, sequence = order(entry)
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}" if milliseconds else "0-0"


async def mend_attempts(shard: Shard, stored: str) -> bool:
    """Let the stream of attempts go on behind what is stored; say whether it was not."""
    extent = await shard.extent(shard.keys[5])
    if order(extent.last) >= order(stored):
        return False
    position = extent.group or "0-0"
    await shard.set_stream(
        shard.keys[5], last=stored, added=extent.added, position=position, read=extent.added - extent.length
    )
    return True
