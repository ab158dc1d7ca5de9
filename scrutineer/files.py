"""How the desk puts a file on disk: whole or not at all, synced, never over one it did not make."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644

#: What a disk or directory says no with; other OSErrors, such as a lost connection's, are not a file's.
DISK_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
    }
)


@contextmanager
def disk_errors(path: Path, *, note: str = "") -> Iterator[None]:
    """Say in one sentence, with `note`, that `path` cannot be written, if the disk says no inside."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        raise click.ClickException(f"{path} cannot be written: {error.strerror}{note}") from None


def refuse_irregular(path: Path) -> None:
    """Refuse what may not end, or not begin, when it is read: a pipe, a device, a socket."""
    if not path.is_file():
        raise click.ClickException(f"{path} is not a regular file")


def read_bounded(path: Path, *, bytes_max: int) -> bytes:
    """Read a user's file whole; refuse it if it is longer than `bytes_max`, after reading one byte more."""
    try:
        # Without O_NONBLOCK opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise click.ClickException(f"{path} is not a regular file")
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > bytes_max:
        raise click.ClickException(f"{path} is larger than {bytes_max:,} bytes")
    return content


def write_public(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old bytes or the new, never half."""
    _replace(path, content, PUBLIC_MODE)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` in one step, readable by its owner alone."""
    _replace(path, content, PRIVATE_MODE)


def _replace(path: Path, content: bytes, mode: int) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with disk_errors(path):
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def open_new(path: Path) -> IO[bytes]:
    """Open a file for writing that must not exist yet, mode 0600 whatever the umask."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        os.fchmod(descriptor, PRIVATE_MODE)
    except FileExistsError:
        raise click.ClickException(
            f"{path} exists already; it is never overwritten: name another file"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    return os.fdopen(descriptor, "wb")


def append_synced(path: Path, line: bytes) -> None:
    """Add one line to a private journal and wait until it is on disk."""
    made = not path.exists()
    with disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_MODE)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if made:
            sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a new or renamed file's name durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(path: Path) -> None:
    """Say at once, before any work, that an output file is in the way or its directory is missing."""
    if path.exists():
        raise click.ClickException(f"{path} exists already; it is never overwritten: name another file")
    if not path.absolute().parent.is_dir():
        raise click.ClickException(f"{path.absolute().parent} is not a directory")


def outs_of(names: Sequence[str], out: Path, *, ending: str) -> dict[str, Path]:
    """Say where the file of each goes: `out` is the file of one, and the directory of several."""
    if len(names) > 1:
        if not out.is_dir():
            raise click.ClickException(f"{out} is not a directory; several files need one")
        return {name: out / f"{name}{ending}" for name in names}
    if out.is_dir():
        raise click.UsageError(f"Invalid value for '--out': File '{out}' is a directory.")
    return dict.fromkeys(names, out)
