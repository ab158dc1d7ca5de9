"""What is deleted, and what never is: the last proven chain, and whatever something kept is built on.

Every moment of the days that are kept stays restorable, so the newest chain from before them stays too, and
the WAL from its beginning on, told by positions in the WAL and not by when it was sealed. Copies of the queue
are for the last day; before that one a day is kept. Only what this home made is ever deleted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ops.backup.catalogue import BASE_KINDS, ENDING, ID, compact
from ops.backup.place import open_regular
from ops.backup.sealed_file import HEADER_BYTES_MAX, DoesNotOpen, Header
from ops.backup.settings import DAY_US
from runtime import logs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.backup.catalogue import Entry
    from ops.backup.place import Place

FORGET_AT_ONCE_MIN: Final = 200
log = logs.get("backup")


def outdated(entries: Sequence[Entry], now_us: int, keep_us: int) -> tuple[Entry, ...]:
    """The backups that may be deleted at `now_us`, a chain's youngest first."""
    there = [entry for entry in entries if not entry.deleted]
    kept = _bases_to_keep(there, now_us - keep_us)
    beginnings = [_position(entry) for entry in there if entry.id in kept]
    gone = []
    copies = _queue_copies_to_keep(there, now_us, keep_us)
    for entry in there:
        if entry.kind in BASE_KINDS:
            old = entry.id not in kept
        elif entry.kind == "queue":
            old = entry.id not in copies
        else:
            old = bool(beginnings) and not _is_replayed(entry, beginnings)
        if old:
            gone.append(entry)
    return tuple(sorted(gone, key=lambda entry: entry.started, reverse=True))


def _lsn(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _position(entry: Entry) -> tuple[int, int]:
    """The timeline and the position from which a base backup needs WAL; the earliest if it is not known."""
    return entry.timeline or 0, _lsn(entry.start_lsn or "0/0")


def _is_replayed(wal: Entry, beginnings: Sequence[tuple[int, int]]) -> bool:
    """Whether a kept base backup, of its timeline or an earlier one, may be brought forward by this WAL.

    A timeline's history has no position; every base of an earlier timeline needs it.
    """
    if wal.timeline is None:
        return True
    if wal.end_lsn is None:
        return any(timeline <= wal.timeline for timeline, _ in beginnings)
    end = _lsn(wal.end_lsn)
    return any(timeline <= wal.timeline and start < end for timeline, start in beginnings)


def enforce(place: Place, now_us: int, keep_us: int) -> tuple[Entry, ...]:
    """Delete what is outdated and say so in the catalogue; the place is held alone. What was deleted.

    BackupFailed where the target is away: what is not there was not deleted.
    """
    place.check()
    entries = place.catalogue.own()
    deleted = []
    for entry in outdated(entries, now_us, keep_us):
        try:
            (place.folder / entry.file).unlink(missing_ok=True)
        except OSError as error:
            log.warning("backup_not_deleted", what=place.what, id=entry.id, reason=error.strerror)
            continue
        place.manifest(entry.id).unlink(missing_ok=True)
        place.catalogue.append("deleted", entry.id, now_us)
        log.info("backup_deleted", what=place.what, id=entry.id, bytes=entry.bytes)
        deleted.append(entry)
    _delete_unlisted(place, entries, now_us - keep_us)
    past = frozenset(entry.id for entry in entries if entry.deleted and entry.ended < now_us - 2 * keep_us)
    if len(past) >= FORGET_AT_ONCE_MIN:
        place.catalogue.forget(past)
    return tuple(deleted)


def _delete_unlisted(place: Place, entries: Sequence[Entry], cutoff: int) -> None:
    """Delete old files that no list knows: their maker was killed at the last moment.

    Not where nothing proven is listed: then it is the list that is missing. Nor what is sealed to another key
    than ours: that is another's, or of a time before.
    """
    if not any(entry.usable for entry in entries):
        return
    known = {entry.file for entry in (*entries, *place.catalogue.entries())}
    for path in place.folder.glob(f"*{ENDING}"):
        made = ID.fullmatch(path.name.removesuffix(ENDING))
        old = made is not None and path.name not in known and path.name < compact(cutoff)
        if old and _sealed_to(path) == place.public.id:
            with suppress(OSError):
                path.unlink()
                log.warning("unlisted_backup_deleted", what=place.what, file=path.name)


def _sealed_to(path: Path) -> str | None:
    """The key that a file says it is sealed to; nothing if it is none of ours or cannot be read."""
    try:
        with open_regular(path) as file:
            return Header.parse(file.readline(HEADER_BYTES_MAX + 1)).key_id
    except (OSError, DoesNotOpen):
        return None


def _bases_to_keep(there: Sequence[Entry], cutoff: int) -> set[str]:
    by_id = {entry.id: entry for entry in there}
    bases = [entry for entry in there if entry.kind in BASE_KINDS]
    whole = [entry for entry in bases if entry.usable and _leads_to_full(entry, by_id)]
    wanted = [entry for entry in bases if entry.ended >= cutoff]
    wanted += whole[-1:]  # the last that is known to be good, however old
    wanted += [entry for entry in whole if entry.ended < cutoff][-1:]
    proven = [entry for entry in bases if entry.proven and entry.ended < cutoff]
    wanted += proven[-1:]  # also if it was not found by the last look: it may only have been away
    kept: set[str] = set()
    while wanted:
        entry = wanted.pop()
        if entry.id not in kept:
            kept.add(entry.id)
            if entry.parent in by_id:
                wanted.append(by_id[entry.parent])
    return kept


def _leads_to_full(entry: Entry, by_id: dict[str, Entry]) -> bool:
    seen = set()
    while entry.kind != "full":
        parent = by_id.get(entry.parent or "")
        if parent is None or not parent.usable or parent.id in seen:
            return False
        seen.add(parent.id)
        entry = parent
    return True


def _queue_copies_to_keep(there: Sequence[Entry], now_us: int, keep_us: int) -> set[str]:
    copies = [entry for entry in there if entry.kind == "queue"]
    kept = {entry.id for entry in copies if entry.ended >= now_us - DAY_US}
    days: set[int] = set()
    for entry in copies:
        day = entry.started // DAY_US
        if entry.ended >= now_us - keep_us and entry.usable and day not in days:
            days.add(day)
            kept.add(entry.id)
    kept.update(entry.id for entry in [each for each in copies if each.usable][-1:])
    return kept
