"""Backups read again, long after they were made: size and SHA-256 by anyone, everything with the key.

Only what was read is judged. A disk that is away, or answers with a fault, says nothing of what is on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from ops.backup.opening import open_sealed
from ops.backup.place import BackupFailed, HashingReader, open_regular
from ops.backup.sealed_file import DoesNotOpen
from ops.backup.verify import prove
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.backup.catalogue import Catalogue, Entry
    from ops.backup.opening import BackupKey

DIGEST: Final = "digest"
CONTENT: Final = "content"
MISSING: Final = "The file is missing."
AWAY: Final = "The backups are not there ({folder}): mount their disk. Nothing was concluded from that."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one backup: no fault, or what is wrong in a sentence; `opened` with a key.

    `judged` when all of it was read: then a fault is one of the backup, not of the way to it.
    """

    id: str
    opened: bool
    fault: str | None = None
    judged: bool = True


def check_entries(
    catalogue: Catalogue,
    entries: Sequence[Entry],
    keys: Sequence[BackupKey],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Verdict]:
    """Read each of `entries`, and put what was found into the catalogue.

    A backup that was found faulty is good again only once it was opened: that its bytes are those of a file
    that was never proven says nothing. One that was missing is there again once its bytes are.
    """
    folder = catalogue.folder
    for entry in entries:
        if folder is None or not _is_there(catalogue, folder):
            raise click.ClickException(AWAY.format(folder=folder))
        key = next((key for key in keys if key.key_id == entry.key_id), None)
        try:
            fault = _fault(folder, entry, key, advance)
        except FileNotFoundError:
            if not _is_there(catalogue, folder):
                raise click.ClickException(AWAY.format(folder=folder)) from None
            if _was_deleted(catalogue, entry.id):
                continue  # retention was here meanwhile
            if catalogue.at_its_target and not entry.missing:
                catalogue.append("missing", entry.id, SystemClock().now_us())
            yield Verdict(entry.id, opened=False, fault=MISSING, judged=False)
            continue
        except OSError as error:
            said = f"The file cannot be read just now ({error.strerror}): nothing was concluded from that."
            yield Verdict(entry.id, opened=False, fault=said, judged=False)
            continue
        _note(catalogue, entry, fault, opened=key is not None)
        yield Verdict(entry.id, opened=key is not None, fault=fault)


def look_for(catalogue: Catalogue) -> int:
    """Note which of the home's own base backups and copies are not at a target that is new; how many."""
    folder = catalogue.folder
    if folder is None or not catalogue.at_its_target:
        return 0
    gone = [
        entry
        for entry in catalogue.own()
        if entry.kind != "wal" and not entry.deleted and not (folder / entry.file).exists()
    ]
    for entry in gone:
        if not entry.missing:
            catalogue.append("missing", entry.id, SystemClock().now_us())
    return len(gone)


def _is_there(catalogue: Catalogue, folder: Path) -> bool:
    """Whether the disk is: a home that never backed up reads what it is shown, as after a lost one."""
    return folder.is_dir() and not catalogue.is_anothers


def _note(catalogue: Catalogue, entry: Entry, fault: str | None, *, opened: bool) -> None:
    now = SystemClock().now_us()
    if fault is not None:
        how = CONTENT if opened else DIGEST
        catalogue.append("verified", entry.id, now, ok=False, how=how, reason=fault)
    elif opened:
        catalogue.append("verified", entry.id, now, ok=True, how=CONTENT)
    elif entry.missing:
        catalogue.append("found", entry.id, now)


def _was_deleted(catalogue: Catalogue, backup: str) -> bool:
    return any(entry.id == backup and entry.deleted for entry in catalogue.entries())


def _fault(folder: Path, entry: Entry, key: BackupKey | None, advance: Callable[[int], None]) -> str | None:
    with open_regular(folder / entry.file) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.bytes:
            return f"The file has {size} bytes; {entry.bytes} were written."

        def read(size: int) -> bytes:
            data = file.read(size)
            advance(len(data))
            return data

        reader = HashingReader(read)
        opens = None if key is None else _open(reader, entry, key)
        reader.finish()
    if reader.sha256 != entry.sha256:
        return "The file's SHA-256 is not that of what was written."
    return opens


def _open(reader: HashingReader, entry: Entry, key: BackupKey) -> str | None:
    try:
        header, content = open_sealed(reader, key)
        if (header.id, header.kind) != (entry.id, entry.kind):
            return "The file is another backup than its name says."
        prove(entry.kind, content, segment=entry.segment)
    except DoesNotOpen as error:
        return str(error)
    except BackupFailed as error:
        return error.message
    return None
