"""How the desk puts a file on disk: whole or not at all, synced, never over one it did not make."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


def write_public(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old bytes or the new, never half."""
    _replace(path, content, PUBLIC_MODE)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` in one step, readable by its owner alone."""
    _replace(path, content, PRIVATE_MODE)


def _replace(path: Path, content: bytes, mode: int) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
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


@contextmanager
def new_private_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that must not exist yet, mode 0600; on leaving it is on disk, name and all."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    except FileExistsError:
        raise click.ClickException(
            f"{path} exists already; it is never overwritten: name another file"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, PRIVATE_MODE)
        yield file
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def append_synced(path: Path, line: bytes) -> None:
    """Add one line to a private journal and wait until it is on disk."""
    made = not path.exists()
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
