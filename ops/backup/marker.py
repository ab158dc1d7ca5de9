"""Whose a target is: a file with a random id in it, which the home that backs up there has noted.

A mount point is a directory also when nothing is mounted, and a share is often another's too. So nothing is
written to, deleted from or concluded about a directory that does not bear the id that this home noted. The
mark is made at first use, if the target is empty and the home has no backups yet; after that only on purpose
(`ballot backup adopt`), which gives it a new id: whoever used it before is refused from then on.

A copy of the home bears the same note. So the mark has a turn too, a random word that is changed, and noted,
by who writes there, every minute or so: a copy that was made before does not know it, and is refused as
others are, and so is a home that was put back to an earlier state.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
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
TURN_BYTES: Final = 8
TURN_S: Final = 60.0
FILE_BYTES_MAX: Final = 4096
LOCK_WAIT_S: Final = 30.0
NO_FILES: Final = frozenset({"lost+found"})
ON_PURPOSE: Final = "to use this directory from now on, on purpose, run `ballot backup adopt`."


class NotOurs(click.ClickException):
    """The directory is not this home's target; the message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a mark or a note says; a note also which turn was before."""

    id: str
    turn: str | None = None
    before: str | None = None

    def allows(self, found: Mark) -> bool:
        """Whether the home with this note may use the target with the mark `found`."""
        return found.id == self.id and found.turn in {self.turn, self.before}


def is_ours(home: Home, target: Path) -> bool:
    """Whether the target bears the mark that this home noted; not if it cannot be looked at."""
    try:
        found = _read(target / MARKER)  # before the note, in which a new turn is written first
    except OSError:
        return False
    noted = _read(home.backup / NOTE)
    return noted is not None and found is not None and noted.allows(found)


def is_anothers(home: Home, target: Path) -> bool:
    """Whether this home has a target, and the directory is not it: its disk is away, or taken over."""
    return _read(home.backup / NOTE) is not None and not is_ours(home, target)


def is_used_by_a_copy(home: Home, target: Path) -> bool:
    """Whether the mark is this home's, and another home has written there with it since."""
    noted, found = _read(home.backup / NOTE), _read(target / MARKER)
    return noted is not None and found is not None and noted.id == found.id and not noted.allows(found)


def claim(home: Home, target: Path) -> bool:
    """Make sure that the target is ours; whether it became so only now. OSError if it cannot be looked at."""
    if is_ours(home, target) and not _is_time(home):
        return False
    with locks.exclusive(home.backup / LOCK, wait_s=LOCK_WAIT_S):
        noted, found = _read(home.backup / NOTE), _read(target / MARKER)
        if noted is not None and found is not None and found.id == noted.id:
            if not noted.allows(found):
                raise NotOurs(
                    f"The backup target {target} is used by another home with this one's mark: this one is a "
                    f"copy of it, or was put back to an earlier state; {ON_PURPOSE}"
                )
            _take_turn(home, target, noted, found)
            return False
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
    made = Mark(secrets.token_hex(ID_BYTES), secrets.token_hex(TURN_BYTES))
    _write_mark(target, made)
    _note(home, made)
    return made.id


def _is_time(home: Home) -> bool:
    return not 0 <= time.time() - (home.backup / NOTE).stat().st_mtime < TURN_S


def _take_turn(home: Home, target: Path, noted: Mark, found: Mark) -> None:
    """Note a new turn, then write it; whoever is stopped in between has both. A full disk can wait."""
    with suppress(OSError):
        if found.turn == noted.turn:
            if not _is_time(home):
                return  # one of the other two was first
            noted = Mark(noted.id, secrets.token_hex(TURN_BYTES), noted.turn)
            _note(home, noted)
        _write_mark(target, noted)


def _write_mark(target: Path, mark: Mark) -> None:
    draft = target / f".{MARKER}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(private(draft, os.O_EXCL), "w", encoding="ascii") as file:
            file.write(json.dumps({"use": USE, "id": mark.id, "turn": mark.turn}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target / MARKER)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    home_files.sync_directory(target)


def _note(home: Home, mark: Mark) -> None:
    said = {"use": USE, "id": mark.id, "turn": mark.turn, "before": mark.before}
    home_files.replace(home.backup / NOTE, json.dumps(said) + "\n")


def _read(path: Path) -> Mark | None:
    """What a mark or note says; nothing if there is none that makes sense."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1) or b""
    try:
        fields = strict_json(data, bytes_max=FILE_BYTES_MAX)
        if fields["use"] != USE:
            return None
        return Mark(str(fields["id"]), _word(fields.get("turn")), _word(fields.get("before")))
    except (Malformed, KeyError, TypeError, AttributeError):
        return None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _has_lists(home: Home) -> bool:
    return any(home.backup.glob("*.catalogue.jsonl"))


def _has_files(target: Path) -> bool:
    return any(path.name not in NO_FILES and not path.name.startswith(".") for path in target.iterdir())
