"""Whose a target is: a file with a random id in it, which the home that backs up there has noted.

A mount point is a directory also when nothing is mounted, and a share is often another's too. So nothing is
written to, deleted from or concluded about a directory that does not bear the id that this home noted. The
mark is made at first use, if the target is empty and the home has no backups yet; after that only on purpose
(`ballot backup adopt`), which gives it a new id: whoever used it before is refused from then on.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Final

import click

from ballot.encoding import Malformed, strict_json
from ops.private import private
from runtime import home as home_files
from runtime import locks

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.home import Home

MARKER: Final = "ballot-backups.json"
NOTE: Final = "target.json"
LOCK: Final = "target.lock"
USE: Final = "ballot-backups"
ID_BYTES: Final = 16
FILE_BYTES_MAX: Final = 4096
LOCK_WAIT_S: Final = 30.0
NO_FILES: Final = frozenset({"lost+found"})
ON_PURPOSE: Final = "to use this directory from now on, on purpose, run `ballot backup adopt`."


class NotOurs(click.ClickException):
    """The directory is not this home's target; the message is one plain sentence."""


def is_ours(home: Home, target: Path) -> bool:
    """Whether the target bears the mark that this home noted; not if it cannot be looked at."""
    noted = _read(home.backup / NOTE)
    try:
        return noted is not None and _read(target / MARKER) == noted
    except OSError:
        return False


def is_anothers(home: Home, target: Path) -> bool:
    """Whether this home has a target, and the directory is not it: its disk is away, or taken over."""
    return _read(home.backup / NOTE) is not None and not is_ours(home, target)


def claim(home: Home, target: Path) -> bool:
    """Make sure that the target is ours; whether it became so only now. OSError if it cannot be looked at."""
    if is_ours(home, target):
        return False
    with locks.exclusive(home.backup / LOCK, wait_s=LOCK_WAIT_S):
        noted, found = _read(home.backup / NOTE), _read(target / MARKER)
        if noted is not None and found == noted:
            return False  # one of the other two was first
        if found is not None:
            raise NotOurs(
                f"The backup target {target} bears another installation's mark: "
                f"check BALLOT_BACKUP and what is mounted there, or, {ON_PURPOSE}"
            )
        if noted is not None or _has_lists(home) or _has_files(target):
            raise NotOurs(
                f"The backup target {target} does not bear the mark of this home's backups: "
                f"mount the right disk, or, {ON_PURPOSE}"
            )
        _mark(home, target)
        return True


def adopt(home: Home, target: Path) -> str:
    """Make a directory this home's target, whoever's it was; the new id."""
    with locks.exclusive(home.backup / LOCK, wait_s=LOCK_WAIT_S):
        return _mark(home, target)


def _mark(home: Home, target: Path) -> str:
    made = secrets.token_hex(ID_BYTES)
    text = json.dumps({"use": USE, "id": made}) + "\n"
    draft = target / f".{MARKER}.{secrets.token_hex(4)}"
    with os.fdopen(private(draft, os.O_EXCL), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target / MARKER)
    home_files.sync_directory(target)
    home_files.replace(home.backup / NOTE, text)
    return made


def _read(path: Path) -> str | None:
    """The id that a mark or note names; nothing if there is none that makes sense."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1) or b""
    try:
        fields = strict_json(data, bytes_max=FILE_BYTES_MAX)
        return str(fields["id"]) if fields["use"] == USE else None
    except (Malformed, KeyError, TypeError):
        return None


def _has_lists(home: Home) -> bool:
    return any(home.backup.glob("*.catalogue.jsonl"))


def _has_files(target: Path) -> bool:
    return any(path.name not in NO_FILES and not path.name.startswith(".") for path in target.iterdir())
