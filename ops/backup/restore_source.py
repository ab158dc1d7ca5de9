"""The backups of one of the three as they lie in a directory, and the keys that open them.

What is there is known from the list; where both copies of the list are lost, from the files' own headers and
the labels of the base backups in them. A file is used only if it opens as the backup that it should be and,
where the list has its SHA-256, is the very file that was made: anybody who has the public key could make
another one.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from ops.backup.catalogue import BASE_KINDS, ENDING, ID, KINDS, Catalogue, Entry
from ops.backup.place import BackupFailed, HashingReader, open_regular
from ops.backup.restore_chain import is_segment, lsn_of, size_of_segments
from ops.backup.restore_unpacking import Stream, label
from ops.backup.sealed_file import DoesNotOpen, chunks, read_head
from ops.backup.verify import SEGMENT, inflated
from ops.backup.wal_sealing import ASIDE, PARTIAL
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.backup.keys import What
    from ops.backup.opening import BackupKey
    from ops.backup.sealed_file import Header

FILES_MAX: Final = 100_000
LSN: Final = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
NOTHING_CHANGED: Final = "Nothing was changed."


class NotAsMade(click.ClickException):
    """A backup's file does not open, or is not the one that was made."""


class Source:
    """The directory `target` with backups of `what`, and the `keys` of which one opens each.

    With `own` it is where this home's backups go, and the home's list is believed; otherwise only the list
    that lies beside the files.
    """

    def __init__(self, home: Home, what: What, target: Path, keys: Sequence[BackupKey], *, own: bool) -> None:
        self.what: Final = what
        self.folder: Final = target / what
        self._keys = {key.key_id: key for key in keys}
        self._home_list = Catalogue(home, what, target if own else None)
        self._spool = home.data / f"{what}.wal-spool" if own else None
        self._list = self._home_list if own else Catalogue(Home(target / what / "no-home"), what, target)
        self._digests = {entry.id: entry.sha256 for entry in self._home_list.entries()}
        if not self.folder.is_dir():
            raise click.ClickException(f"{target} holds no backups of {what}. {NOTHING_CHANGED}")

    def entries(self) -> tuple[Entry, ...]:
        """Every backup that was made and not deleted, as the list says; without a list, as the files say."""
        try:
            listed = tuple(entry for entry in self._list.entries() if not entry.deleted)
            return listed or tuple(self._from_files())
        except OSError as error:
            raise click.ClickException(
                f"{self.folder} cannot be read: {error.strerror}. {NOTHING_CHANGED}"
            ) from error

    def facts(self) -> list[dict[str, Any]]:
        """The lines of the list."""
        return self._list.facts()

    def missing(self, entries: tuple[Entry, ...]) -> Entry | None:
        """The first of `entries` whose file is not there, or not whole."""
        return next((entry for entry in entries if not self._is_whole(entry)), None)

    def flaw(self, entry: Entry) -> str | None:
        """Why a backup cannot be opened here, as far as that is seen from outside; the end of a sentence."""
        if not self._is_whole(entry):
            return "is missing or not whole"
        return None if entry.key_id in self._keys else f"was sealed to {self._not_given(entry.key_id)}"

    def _is_whole(self, entry: Entry) -> bool:
        try:
            return (self.folder / entry.file).stat(follow_symlinks=False).st_size == entry.bytes
        except OSError:
            return False

    def _not_given(self, key_id: str) -> str:
        return f"the key {key_id}, whose private half was not given (--key, as often as there are keys)"

    def spooled(self) -> dict[str, Path]:
        """The newest WAL, received here and not among the backups yet, by segment; one may be only begun.

        Also what was moved aside when receiving began anew. Of two a whole one is taken, else the newer.
        """
        if self._spool is None or not self._spool.is_dir():
            return {}
        found: dict[str, Path] = {}
        for folder in (*sorted(self._spool.glob(f"{ASIDE}*/")), self._spool):
            for path in folder.iterdir():
                name, before = path.name.removesuffix(PARTIAL), found.get(path.name.removesuffix(PARTIAL))
                if SEGMENT.fullmatch(name) and (before is None or not is_begun(path) or is_begun(before)):
                    found[name] = path
        return dict(sorted(found.items()))

    @contextmanager
    def opened(
        self, entry: Entry, *, advance: Callable[[int], object] = lambda _: None, whole: bool = True
    ) -> Iterator[Stream]:
        """The content of a backup. Leaving the block in good order means that every byte was proven.

        With `whole` false only its beginning is wanted, and only that is proven.
        """
        path = self.folder / entry.file
        try:
            with open_regular(path) as file:
                reading = HashingReader(file.read)
                header, sealed = read_head(reading)
                content = chunks(reading, header, self._key(header).data_key(header, sealed))
                self._recognise(header, entry)
                stream = Stream(inflated(content), advance)
                yield stream
                if whole:
                    stream.finish()
                    reading.finish()
                    self._prove(entry, reading.sha256)
        except (DoesNotOpen, BackupFailed) as error:
            raise NotAsMade(f"{path}: {error} {NOTHING_CHANGED}") from error
        except OSError as error:
            raise click.ClickException(
                f"{path} could not be opened into its place: {error.strerror}. {NOTHING_CHANGED}"
            ) from error

    def note(self, backup: str, now_us: int, **details: object) -> None:
        """Add to this home's list, and to the copy, that `backup` was restored."""
        self._home_list.append("restored", backup, now_us, **details)

    def _key(self, header: Header) -> BackupKey:
        if header.key_id not in self._keys:
            raise DoesNotOpen(f"This backup was sealed to {self._not_given(header.key_id)}.")
        return self._keys[header.key_id]

    def _recognise(self, header: Header, entry: Entry) -> None:
        if (header.what, header.kind, header.id) != (self.what, entry.kind, entry.id):
            raise DoesNotOpen(f"This is the backup {header.id} of {header.what}, under another name.")

    def _prove(self, entry: Entry, sha256: str) -> None:
        if {entry.sha256, self._digests.get(entry.id, "")} - {"", sha256}:
            raise DoesNotOpen("This opens, but it is not the file that was made: its SHA-256 is another.")

    def _from_files(self) -> list[Entry]:
        """The backups by what the files say of themselves; an increment's parent by where it begins.

        A base backup that does not open is passed over, and said: there may be others.
        """
        paths = sorted(self.folder.glob(f"*{ENDING}"))[:FILES_MAX]
        found = [entry for path in paths if (entry := _by_header(path)) is not None]
        starts: dict[str, str] = {}
        bases, passed, size = [], [], None
        for entry in found:
            if entry.kind not in BASE_KINDS:
                continue
            try:
                with self.opened(entry, whole=False) as stream:
                    says = label(stream)
            except click.ClickException as error:
                passed.append(error.message.removesuffix(f" {NOTHING_CHANGED}"))
                continue
            start, _, name = says.get("START WAL LOCATION", "").partition(" (file ")
            timeline = says.get("START TIMELINE", "")
            parent = starts.get(says.get("INCREMENTAL FROM LSN", ""))
            start = start if LSN.fullmatch(start) else ""
            if start and SEGMENT.fullmatch(name.rstrip(")")):
                size = size_of_segments(start, name) or size
            starts[start] = entry.id
            number = int(timeline) if timeline.isdecimal() else None
            bases.append(replace(entry, start_lsn=start or None, timeline=number, parent=parent))
        if passed and not bases:
            raise NotAsMade(f"{passed[-1]} {NOTHING_CHANGED}")
        for said in passed:
            click.echo(f"Passed over: {said}", err=True)
        return bases + [_placed(entry, size) for entry in found if entry.kind not in BASE_KINDS]


def is_begun(path: Path) -> bool:
    """Whether a segment that was received is not whole."""
    return path.suffix == PARTIAL


def _placed(entry: Entry, size: int | None) -> Entry:
    """A segment of WAL with where it begins and ends, if its size is known."""
    if size is None or not is_segment(entry):
        return entry
    start, end = lsn_of(entry.segment or "", size)
    return replace(entry, start_lsn=start, end_lsn=end)


def _by_header(path: Path) -> Entry | None:
    """A listed backup as far as its file's name, header and date say; nothing if it is none of ours."""
    try:
        with open_regular(path) as file:
            header, _ = read_head(file)
            size = os.fstat(file.fileno()).st_size
    except (DoesNotOpen, OSError):
        return None
    if not ID.fullmatch(header.id) or header.id + ENDING != path.name:
        return None
    kind = next((each for each in KINDS if each == header.kind), None)
    if kind is None:
        return None
    moment = datetime.strptime(header.id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    segment = header.id.partition("-wal-")[2]
    return Entry(
        id=header.id,
        kind=kind,
        file=path.name,
        bytes=size,
        sha256="",
        key_id=header.key_id,
        started=int(moment.timestamp()) * 1_000_000,
        ended=int(moment.timestamp())
        * 1_000_000,  # its end is not known; PostgreSQL refuses a moment before it
        segment=segment or None,
    )
