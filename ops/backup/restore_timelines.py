"""Timelines that no restore in the list explains: of a promotion, or of a restore that was not written down.

The server tells where each began; what it told was sealed with the WAL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.backup.restore_chain import Restored, is_segment
from ops.backup.restore_source import NotAsMade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.backup.catalogue import Entry
    from ops.backup.restore_source import Source

HISTORY_BYTES_MAX: Final = 1 << 20


def explained(source: Source, entries: Sequence[Entry], restored: Sequence[Restored]) -> tuple[Restored, ...]:
    """`restored`, and every timeline whose history is among the backups and opens, oldest first."""
    found = {each.timeline: each for each in restored}
    for entry in entries:
        if entry.kind != "wal" or is_segment(entry) or source.flaw(entry) is not None:
            continue
        timeline = int((entry.segment or "")[:8], 16)
        if timeline not in found:
            text = _text(source, entry)
            if text is not None:
                found[timeline] = Restored(_seen_first(timeline, entries), timeline, text)
    return tuple(sorted(found.values(), key=lambda each: each.at))


def _text(source: Source, entry: Entry) -> str | None:
    try:
        with source.opened(entry) as stream:
            data = stream.read(HISTORY_BYTES_MAX)
    except NotAsMade:
        return None
    return data.decode("utf-8", "replace")


def _seen_first(timeline: int, entries: Sequence[Entry]) -> int:
    return min(
        entry.started
        for entry in entries
        if entry.timeline == timeline or (entry.segment or "").startswith(f"{timeline:08X}")
    )
