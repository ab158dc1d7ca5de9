"""The queue's append-only files on disk, looked at and mended by the server's own tool.

The tool is run on the newest file alone: it refuses every manifest whose base file is of this server's own
format. Only the newest can be cut, for each of the others is followed by one that counts on all of it.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

import click

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


def whole_up_to(path: Path, *, executable: Path) -> int:
    """Return how many bytes of a file are whole commands; it is only read."""
    said = _tool(executable, str(path)).stdout
    ends = WHOLE_UP_TO.findall(said)
    return int(ends[-1]) if ends else 0


def cut(path: Path, *, executable: Path) -> int:
    """Cut a file off where it stops being whole; return how many bytes went, 0 if all of it is whole."""
    before = path.stat().st_size
    done = _tool(executable, "--fix", str(path))
    after = path.stat().st_size
    return before - after if done.returncode == 0 else 0


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
