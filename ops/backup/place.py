"""Where backups are written: nothing counts there until it was read back, proven and renamed in one step.

A draft that was left by whoever was killed is removed by the next one, who holds the lock. The target is
never made, and must bear this home's mark: a disk that is not mounted leaves a directory on the one that is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeVar

import click

from ops.backup import keys, marker
from ops.backup.catalogue import ENDING, Catalogue
from ops.backup.sealed_file import DoesNotOpen, SealingWriter, read_back
from runtime import locks, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from ops.backup.keys import PublicKey, What
    from runtime.home import Home

T = TypeVar("T")
DRAFT: Final = ".part"
STOPPED: Final = "It was stopped."
WAL_DRAFT: Final = ".wal-part"
log = logs.get("backup")


class BackupFailed(click.ClickException):
    """There is no new backup; the message is one plain sentence that says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """One of the three as this home backs it up."""

    home: Home
    what: What
    target: Path
    public: PublicKey
    catalogue: Catalogue

    @classmethod
    def of(cls, home: Home, what: What, target: Path) -> Place:
        """Return the place of `what`; a ClickException if it has no key."""
        return cls(home, what, target, keys.read_public(home, what), Catalogue(home, what, target))

    def with_current_key(self) -> Place:
        """The same place with the public half as it is published now: it may be changed while we run."""
        return replace(self, public=keys.read_public(self.home, self.what))

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.target / self.what

    @property
    def manifests(self) -> Path:
        """Where PostgreSQL's own lists of what is in a backup are kept: the next incremental needs one."""
        return self.home.backup / f"{self.what}-manifests"

    def manifest(self, backup: str) -> Path:
        """The list of one backup."""
        return self.manifests / f"{backup}.manifest"

    def check(self) -> None:
        """Say in one sentence why nothing can be written to the target, if so."""
        if not self.target.is_dir():
            raise BackupFailed(
                f"The backup target {self.target} is not there: mount it, or make the directory."
            )
        if self.catalogue.rests:
            raise BackupFailed(
                f"The list of backups in {self.home.backup} could not be written a moment ago: "
                "look for room there."
            )
        try:
            if marker.claim(self.home, self.target):
                log.info("target_marked", what=self.what, target=str(self.target))
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except marker.NotOurs as error:
            raise BackupFailed(error.message) from error
        except OSError as error:
            raise target_fault(self.target, error) from error

    @property
    def on_the_same_disk(self) -> bool:
        """Whether one disk's end would take both the servers and their backups."""
        try:
            return self.target.stat().st_dev == self.home.path.stat().st_dev
        except OSError:
            return False

    def holds(self, file: str, size: int) -> bool:
        """Whether a file of that name and size is there."""
        try:
            return (self.folder / file).stat().st_size == size
        except OSError:
            return False

    def holds_any(self, backup: str) -> bool:
        """Whether there is a file of that id, whatever its size."""
        return (self.folder / f"{backup}{ENDING}").exists()

    @property
    def busy(self) -> bool:
        """Whether somebody holds the place just now."""
        descriptor = locks.opened(self.home.backup / f"{self.what}.lock")
        try:
            return not locks.try_alone(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self, wait_s: float, first: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the place alone; drafts that are there then were left by somebody who is gone.

        `first` is called when it is held, before the target is touched: that one may hang.
        """
        with locks.exclusive(self.home.backup / f"{self.what}.lock", wait_s=wait_s):
            first()
            self.remove_drafts(DRAFT)
            yield

    def remove_drafts(self, ending: str) -> None:
        """Remove what was never finished; another home's is not ours to judge."""
        if not marker.is_ours(self.home, self.target):
            return
        for left in self.folder.glob(f"*{ending}"):
            with suppress(OSError):
                left.unlink()
                log.warning("draft_removed", what=self.what, file=left.name)


class Draft:
    """A backup being written: gone when its block ends, unless it was published."""

    def __init__(self, place: Place, *, kind: str, backup_id: str, ending: str = DRAFT) -> None:
        self._place = place
        self.file: Final = backup_id + ENDING
        self._path = place.folder / f"{backup_id}{ending}"
        self._published = False
        self._plain = hashlib.sha256()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._out = os.fdopen(os.open(self._path, flags, 0o600), "wb")
            self._writer = SealingWriter(
                self._out, place.public.public_key, what=place.what, kind=kind, backup_id=backup_id
            )
        except OSError as error:
            raise target_fault(place.target, error) from error

    @property
    def size(self) -> int:
        """How many bytes the sealed file has so far."""
        return self._writer.bytes_written

    @property
    def sha256(self) -> str:
        """The sealed file's SHA-256 so far."""
        return self._writer.sha256

    @property
    def plain_sha256(self) -> str:
        """SHA-256 of the content so far."""
        return self._plain.hexdigest()

    def write(self, data: bytes) -> None:
        """Take more of the content."""
        self._plain.update(data)
        try:
            self._writer.write(data)
        except OSError as error:
            raise target_fault(self._place.target, error) from error

    def finish(self) -> None:
        """Seal the end and bring all of it to the disk."""
        try:
            self._writer.close()
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
        except OSError as error:
            raise target_fault(self._place.target, error) from error

    def prove(
        self, judge: Callable[[Iterator[bytes]], T], *, stopped: Callable[[], bool] = lambda: False
    ) -> T:
        """Read it all back from the target and let `judge` see the content; BackupFailed if it is not it."""
        try:
            with self._path.open("rb", buffering=0) as file:
                forget_cached(file.fileno())

                def read(size: int) -> bytes | None:
                    if stopped():
                        raise BackupFailed(STOPPED)
                    return file.read(size)

                reader = HashingReader(read)
                judged = judge(read_back(reader, self._writer.header, self._writer.data_key))
                reader.finish()
        except OSError as error:
            raise target_fault(self._place.target, error) from error
        except DoesNotOpen as error:
            raise BackupFailed(
                f"What was written to {self._place.target} reads back differently: {error}"
            ) from error
        if reader.sha256 != self.sha256:
            raise BackupFailed(f"What was written to {self._place.target} reads back differently.")
        return judged

    def publish(self) -> None:
        """Give it its name: from now on it is there, whole."""
        try:
            self._path.rename(self._place.folder / self.file)
            self._published = True
            sync_directory(self._place.folder)
        except OSError as error:
            raise target_fault(self._place.target, error) from error

    def withdraw(self) -> None:
        """Take it away again: it could not be listed, and nobody would ever look for it."""
        with suppress(OSError):
            (self._place.folder / self.file).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._published:
            with suppress(OSError):
                self._out.close()
            with suppress(OSError):
                self._path.unlink()


class HashingReader:
    """Reads through, and knows the SHA-256 of all that was read."""

    def __init__(self, read: Callable[[int], bytes | None]) -> None:
        self._read = read
        self._digest = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; nothing at the end."""
        data = self._read(size) or b""
        self._digest.update(data)
        self.bytes += len(data)
        return data

    def finish(self) -> None:
        """Read what is left."""
        while self.read(1 << 20):
            pass

    @property
    def sha256(self) -> str:
        """The digest, in hex."""
        return self._digest.hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a file of the target to read: never a link, nor something that would keep us waiting."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def forget_cached(descriptor: int) -> None:
    """Ask the kernel to forget what it holds of a file, so that reading it reads the disk."""
    with suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_directory(path: Path) -> None:
    """Bring a directory's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def target_fault(target: Path, error: OSError) -> BackupFailed:
    """The sentence for what the target answered."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return BackupFailed(f"The backup target {target} is full: make room, or keep backups for fewer days.")
    return BackupFailed(f"The backup target {target} cannot be used: {error.strerror}.")
