"""A result is written whole under its own name or not at all, and never over another file."""

import os
import tempfile
from pathlib import Path

import click

from tally.shares import sync_directory


def refuse_in_the_way(out: Path) -> None:
    """Say before any work that the result could not be written."""
    if out.exists():
        raise click.ClickException(f"{out} exists already; it is never overwritten: name another file")
    directory = out.absolute().parent
    if not directory.is_dir():
        raise click.ClickException(f"{directory} is not a directory")
    try:
        # Tried, not asked: permissions alone do not tell of a file system that takes no files.
        descriptor, name = tempfile.mkstemp(prefix=".ballot-tally-", dir=directory)
        os.close(descriptor)
        Path(name).unlink()
    except OSError as fault:
        raise click.ClickException(f"{out} cannot be written: {fault.strerror}") from None


def write_new(out: Path, content: bytes) -> None:
    """Write the result whole or not at all, and never over another file."""
    directory = out.absolute().parent
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=directory)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(0o644)
            os.link(partial, out)  # unlike a rename, this fails if the name was taken meanwhile
        finally:
            partial.unlink(missing_ok=True)
        sync_directory(directory)
    except FileExistsError:
        raise click.ClickException(
            f"{out} exists already; it is never overwritten: name another file"
        ) from None
    except OSError as fault:
        raise click.ClickException(f"{out} cannot be written: {fault.strerror}") from None
