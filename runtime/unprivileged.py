"""How PostgreSQL, which refuses root and the nameless, still runs: a user namespace, else the user nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

OVERFLOW_ID = 65534
NAMESPACE = ("unshare", "--user", f"--map-user={OVERFLOW_ID}", f"--map-group={OVERFLOW_ID}")
PROBE_WAIT_S = 10


@dataclass(frozen=True, slots=True)
class Way:
    """What to put before a command, and which user to change to (nobody changes when it is None)."""

    prefix: tuple[str, ...] = ()
    user: int | None = None


@cache
def way() -> Way:
    """Return how to start PostgreSQL as whoever we are."""
    root = os.geteuid() == 0
    if not root and _has_name():
        return Way()
    unshare = shutil.which(NAMESPACE[0])
    if unshare is not None:
        command = [unshare, *NAMESPACE[1:], "true"]
        tried = subprocess.run(command, capture_output=True, check=False, timeout=PROBE_WAIT_S)
        if tried.returncode == 0:
            # Seen from inside we are nobody; to the kernel we stay root, so a 0700 parent is no obstacle.
            return Way(prefix=(unshare, *NAMESPACE[1:]))
    if not root:
        raise click.ClickException(
            f"PostgreSQL wants a user name, and user id {os.geteuid()} has none; add one to /etc/passwd."
        )
    try:
        return Way(user=pwd.getpwnam("nobody").pw_uid)
    except KeyError:
        raise click.ClickException(
            "PostgreSQL does not run as root, and here are neither user namespaces nor a user nobody."
        ) from None


def _has_name() -> bool:
    """Whether our user id is in the list of users; in some containers it is not, and initdb then refuses."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def check_doors(program: Path, *, home: Path) -> None:
    """Make sure the user PostgreSQL runs as can reach `program` and `home`; the home's own doors are opened.

    Directories outside the home are not ours to open: the first closed one is named.
    """
    if way().user is None:
        return
    for parent in [*reversed(home.parents), *reversed(program.parents)]:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise click.ClickException(
                f"PostgreSQL must run as nobody here, but {parent} is closed to that user; "
                "use a place below directories that are open to all."
            )
    for door in (home, home / "data"):
        door.chmod(stat.S_IMODE(door.stat().st_mode) | stat.S_IXOTH)


def give(path: Path) -> None:
    """Hand `path` and all below it to the user PostgreSQL runs as."""
    user = way().user
    if user is None:
        return
    os.chown(path, user, user)
    for below in path.rglob("*"):
        os.chown(below, user, user, follow_symlinks=False)
