"""Whether the WAL that is listed still goes on from the newest base backup: if not, a new base is due.

Read from the list each time, so that no restart forgets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.backup.catalogue import Entry


def is_cut_off(base: Entry, entries: Sequence[Entry]) -> bool:
    """Whether WAL sealed since `base` cannot be replayed from it.

    Something before it is missing, or the cluster goes on in a timeline that began after the base: then
    what the base holds may be what a restore gave up.
    """
    if base.end_lsn is None:
        return False
    timeline = base.timeline or 1
    since = [
        (position(entry.start_lsn), position(entry.end_lsn), entry.timeline or 1)
        for entry in entries
        if entry.kind == "wal" and entry.started >= base.started and entry.start_lsn and entry.end_lsn
    ]
    if any(own > timeline for _, _, own in since):
        return True
    reached = position(base.end_lsn)
    for start, end, own in sorted(since):
        if own == timeline and end > reached:
            if start > reached:
                return True
            reached = end
    return False


def position(lsn: str | None) -> int:
    """A place in the WAL as a number."""
    high, _, low = (lsn or "0/0").partition("/")
    return (int(high, 16) << 32) + int(low, 16)
