"""Backups read again, long after they were made: size and SHA-256 by anyone, everything with the key."""

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one backup: no fault, or what is wrong in a sentence; `opened` with a key."""

    id: str
    opened: bool
    fault: str | None = None


def check_entries(
    catalogue: Catalogue,
    entries: Sequence[Entry],
    keys: Sequence[BackupKey],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Verdict]:
    """Read each of `entries`, and put what was found into the catalogue.

    A backup that was found faulty is good again only once it was opened: that its bytes are those of a file
    that was never proven says nothing.
    """
    folder = catalogue.folder
    if folder is None or not folder.is_dir():
        if entries:
            raise click.ClickException(f"The backups are not there ({folder}): mount their disk.")
        return
    for entry in entries:
        key = next((key for key in keys if key.key_id == entry.key_id), None)
        fault = _fault(folder, entry, key, advance)
        if fault == MISSING and _was_deleted(catalogue, entry.id):
            continue  # retention was here meanwhile
        if fault is not None or key is not None:
            how = CONTENT if key is not None else DIGEST
            details = {} if fault is None else {"reason": fault}
            now = SystemClock().now_us()
            catalogue.append("verified", entry.id, now, ok=fault is None, how=how, **details)
        yield Verdict(entry.id, opened=key is not None, fault=fault)


def _was_deleted(catalogue: Catalogue, backup: str) -> bool:
    return any(entry.id == backup and entry.deleted for entry in catalogue.entries())


def _fault(folder: Path, entry: Entry, key: BackupKey | None, advance: Callable[[int], None]) -> str | None:
    try:
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
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"The file cannot be read: {error.strerror}."
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
