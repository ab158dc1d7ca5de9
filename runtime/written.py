"""A note of how far the queue's append-only file had certainly been written, kept apart from it.

A file that is shorter later, or an older one in its place, has lost what was answered, even where it ends
after a whole command and the server would start on it. What was written since the last note, a second at
most, nothing vouches for. A note that is missing or unreadable says nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from runtime import append_only

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTE: Final = re.compile(r"([^/\s]{1,200}) ([0-9]{1,18})\n")
SEQUENCE: Final = re.compile(r"\.([0-9]{1,18})\.incr\.aof\Z")


def keep(files: Path, note: Path, *, answers: Callable[[], bool]) -> None:
    """Note how long the newest file is now, if the server answers after that and it is longer than noted.

    A server answers when all that it wrote before is on its disk. The note itself is not waited for: an older
    one holds too.
    """
    newest = append_only.newest(files)
    if newest is None:
        return
    try:
        size = newest.stat().st_size
        if _read(note) == (newest.name, size) or not answers():
            return
        draft = note.with_name(f"{note.name}.draft")
        draft.write_text(f"{newest.name} {size}\n", encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(note)
    except OSError:
        return  # a file that a rewrite has just replaced, or a full disk: the next look notes it


def short(files: Path, note: Path) -> str:
    """Say in what the files fall short of what was noted; empty if in nothing."""
    noted = _read(note)
    newest = append_only.newest(files)
    if noted is None or newest is None:
        return ""
    name, size = noted
    try:
        there = (files / name).stat().st_size
    except FileNotFoundError:
        if _sequence(newest.name) > _sequence(name):
            return ""  # rewritten since
        return f"{newest} is older than {name}, which was written to last"
    return f"{files / name} has {there:,} bytes, and {size:,} were written" if there < size else ""


def forget(note: Path) -> None:
    """Other files take the place of those that were noted."""
    note.unlink(missing_ok=True)


def noted_bytes(path: Path, note: Path) -> int:
    """How many bytes of a file were noted as written; 0 if it is not the one that was noted."""
    noted = _read(note)
    return noted[1] if noted is not None and noted[0] == path.name else 0


def _read(note: Path) -> tuple[str, int] | None:
    try:
        found = NOTE.fullmatch(note.read_text("utf-8", "replace"))
    except OSError:
        return None
    return None if found is None else (found[1], int(found[2]))


def _sequence(name: str) -> int:
    found = SEQUENCE.search(name)
    return 0 if found is None else int(found[1])
