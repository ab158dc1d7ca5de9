"""What voters hold and what they say they sent, of all ballots in one file, sorted for `ballot check`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

import click
import orjson

from ops.private import private

if TYPE_CHECKING:
    from pathlib import Path

LINE_BYTES_MAX: Final = 1 << 20
BALLOTS_MAX: Final = 500
"""Files that are open at once."""


def by_ballot(file: Path | None, folder: Path, kind: str) -> dict[str, Path]:
    """The lines of `file`, in a file of its own in `folder` for each ballot."""
    found: dict[str, Path] = {}
    if file is None:
        return found
    with ExitStack() as stack:
        lines = stack.enter_context(file.open("rb"))
        out: dict[str, IO[bytes]] = {}
        number = 0
        while line := lines.readline(LINE_BYTES_MAX):
            number += 1
            if not line.strip():
                continue
            ballot = _ballot(line)
            if ballot is None:
                raise click.ClickException(f"{file.name} line {number} names no ballot.")
            if ballot not in out:
                if len(out) == BALLOTS_MAX:
                    raise click.ClickException(f"{file.name} names more than {BALLOTS_MAX} ballots.")
                found[ballot] = folder / f"{kind}-{len(out)}.jsonl"
                out[ballot] = stack.enter_context(os.fdopen(private(found[ballot]), "wb"))
            out[ballot].write(line)
    return found


def _ballot(line: bytes) -> str | None:
    try:
        named = orjson.loads(line)["ballot"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) else None
