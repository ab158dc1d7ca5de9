"""The queue's append-only files on disk: looked at and mended here, never by the server that starts on them.

The server's own tool is run on the newest file alone: it refuses every manifest whose base file is of this
server's own format. Only the newest can be cut, for each of the others is followed by one that counts on all
of it. What ends too early is told from a write that was under way (runtime/torn.py): nobody was ever told of
what was in that.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from runtime import torn

if TYPE_CHECKING:
    from pathlib import Path

FILES: Final = "appendonlydir"
MANIFEST: Final = "appendonly.aof.manifest"
TOOL_WAIT_S: Final = 3600.0  # it reads a file of weeks
LINE: Final = re.compile(r"file (?P<name>[^/ \"]+) seq (?P<seq>[0-9]{1,18}) type i\b")
WHOLE_UP_TO: Final = re.compile(rb"ok_up_to=([0-9]+)")


def newest(files: Path) -> Path | None:
    """Return the file that the server was writing to; None if the manifest names none that is there."""
    try:
        text = (files / MANIFEST).read_text("utf-8", "replace")
    except OSError:
        return None
    found = {int(line["seq"]): line["name"] for line in map(LINE.match, text.splitlines()) if line}
    path = files / found[max(found)] if found else None
    return path if path is not None and path.is_file() else None


@dataclass(frozen=True, slots=True)
class End:
    """How the newest file ends: `whole` bytes of `size` are whole commands."""

    path: Path
    size: int
    whole: int
    torn: bool
    """What comes after them is a write that was under way, and nothing else."""

    def __str__(self) -> str:
        return f"{self.path} is whole up to byte {self.whole:,} of {self.size:,} only"

    def cut(self) -> None:
        """Cut off what is not whole, and have that on disk."""
        descriptor = os.open(self.path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, self.whole)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def broken_end(files: Path, *, executable: Path) -> End | None:
    """Return how the newest file ends, None if all of it is whole or none is there; it is only read."""
    path = newest(files)
    if path is None:
        return None
    size = path.stat().st_size
    whole = whole_up_to(path, executable=executable)
    if whole >= size:
        return None
    return End(path, size, whole, torn.is_write_under_way(path, whole))


def whole_up_to(path: Path, *, executable: Path) -> int:
    """Return how many bytes of a file are whole commands; it is only read."""
    said = _tool(executable, str(path)).stdout
    ends = WHOLE_UP_TO.findall(said)
    return int(ends[-1]) if ends else 0


def _tool(executable: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["valkey-check-aof", *arguments],  # noqa: S607  # the name by which the server is its own tool
            executable=executable,
            input=b"y\n",
            capture_output=True,
            check=False,
            timeout=TOOL_WAIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise click.ClickException(
            f"The queue's file {arguments[-1]} could not be looked at ({type(error).__name__}); nothing was "
            "changed."
        ) from error
