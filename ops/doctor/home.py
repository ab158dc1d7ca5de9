"""BALLOT_HOME: there, and for its owner alone; every secret in it likewise."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ops.doctor.finding import Finding
from runtime.home import DIRECTORIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIRECTORY_MODE = 0o700
SECRET_MODE = 0o600


def home(home: Path) -> Iterator[Finding]:
    """The directory itself and those in it."""
    if not home.is_dir():
        yield Finding(
            "home", f"{home} is not there", "set BALLOT_HOME, or run `ballot up` once, which makes it"
        )
        return
    found = [_directory(path) for path in (home, *(home / name for name in DIRECTORIES)) if path.exists()]
    wrong = [each for each in found if each is not None]
    yield from wrong or [Finding("home", f"{home} is its owner's alone")]


def secrets(home: Path) -> Iterator[Finding]:
    """Every file in `secrets/`; what is in them is not looked at."""
    folder = home / "secrets"
    try:
        files = sorted(path for path in folder.iterdir() if not path.is_dir())
    except FileNotFoundError:
        yield Finding("secrets", "none yet")
        return
    except OSError as error:
        yield Finding("secrets", f"{folder} cannot be read: {error.strerror}", f"run as {folder}'s owner")
        return
    wrong = [each for each in map(_secret, files) if each is not None]
    yield from wrong or [Finding("secrets", f"{len(files)} files, each its owner's alone")]


def _directory(path: Path) -> Finding | None:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        return Finding("home", f"{path} is no directory", "move it away")
    if status.st_uid != os.geteuid():
        return Finding("home", f"{path} is another user's", "run as its owner, or give it to this user")
    if mode != DIRECTORY_MODE:
        return Finding("home", f"{path} has mode {mode:04o}", f"chmod 700 {path}")
    return None


def _secret(path: Path) -> Finding | None:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return Finding("secrets", f"{path.name} is no plain file", "put the file itself there")
    if status.st_uid != os.geteuid():
        return Finding("secrets", f"{path.name} is another user's", "run as its owner")
    if mode != SECRET_MODE:
        return Finding("secrets", f"{path.name} has mode {mode:04o}", f"chmod 600 {path}")
    return None
