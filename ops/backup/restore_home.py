"""A home while something in it is replaced: nobody else uses it, there is room, what was there is kept."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from ops.backup.catalogue import compact
from runtime import locks, starting, unprivileged, written
from runtime.addresses import CLUSTERS
from runtime.postgres_server import PostgresServer
from runtime.records import Records
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ops.backup.keys import What
    from runtime.home import Home
    from runtime.starting import Server

START_WAIT_S: Final = 10.0
ROOM_MARGIN: Final = 256 << 20
BEFORE_MAX: Final = 1000
MARKER: Final = "this-is-a-restore"
"""A file in the place where something is restored: what has none is not ours to delete."""


def now_us() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1_000


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold the home's servers stopped, and everybody out, while the block runs; refuse if somebody uses them.

    Servers that nobody uses, left over from a command that was killed, are stopped first.
    """
    if not home.embedded:
        raise click.ClickException(
            "This home's servers are configured ones (BALLOT_…_URL), which are not ours to replace: restore "
            "into a directory with --to DIR, and start such a server from it."
        )
    with locks.exclusive(home.run / "start.lock", wait_s=START_WAIT_S):
        users = locks.opened(home.run / "users.lock")
        try:
            if not locks.try_alone(users):
                raise click.ClickException(
                    f"The servers of {home.path} are in use: end `ballot up` and every other command there, "
                    "and run this again. Nothing was changed."
                )
            _stop_orphans(home)
            unprivileged.check_doors(PostgresServer(home, "voterdb").executable, home=home.path)
            yield
        finally:
            os.close(users)


def data_of(home: Home, what: What) -> Path:
    """Where what is restored belongs."""
    return home.data / ("valkey" if what == "queue" else what)


def check_room(place: Path, needed: int) -> None:
    """Refuse before anything is written if the disk cannot hold what will be."""
    free = shutil.disk_usage(place).free
    if free < needed + ROOM_MARGIN:
        raise click.ClickException(
            f"Restoring may need {_gigabytes(needed + ROOM_MARGIN)} and {place} has {_gigabytes(free)} free: "
            "make room, or restore into a directory on another disk with --to DIR. Nothing was changed."
        )


def put_in_place(home: Home, what: What, made: Path, now_us: int) -> Path | None:
    """Move `made` to where the server looks, and what was there aside; where that is now, if anything was.

    Killed between the two moves it leaves no data directory, on which no server starts: run it again.
    """
    place = data_of(home, what)
    aside = None
    written.forget(home.run / f"{place.name}.written")  # of the files that go
    if place.exists():
        aside = free_name(home.data, f"{place.name}.before-{compact(now_us)}")
        place.rename(aside)
        _sync(home.data)
    try:
        made.rename(place)
    except BaseException:
        if aside is not None:
            aside.rename(place)
        raise
    (home.run / f"{place.name}.generation").touch(0o600)
    _sync(home.data)
    _sync(home.run)
    return aside


def free_name(directory: Path, name: str) -> Path:
    """`name`, or with a number behind it if that is taken."""
    for number in range(BEFORE_MAX):
        path = directory / (name if number == 0 else f"{name}-{number}")
        if not path.exists():
            return path
    raise click.ClickException(f"{directory} holds too many directories called {name}; remove old ones.")


def missing_keys(home: Home, used: Iterable[str]) -> list[str]:
    """The keys that what is restored was `used` with, as far as they are not in this home.

    From now on the home knows that there were such keys, so that none is made anew in silence.
    """
    missing = sorted(name for name in used if not (home.secrets / f"{name}.key").exists())
    for name in missing:
        home.expect_key(name)
    return missing


def _stop_orphans(home: Home) -> None:
    recorded = Records(home.run).processes()
    servers: tuple[Server, ...] = (
        ValkeyServer(home),
        *(PostgresServer(home, cluster) for cluster in CLUSTERS),
    )
    for server in servers:
        process = recorded.get(server.name)
        if process is not None and process.alive:
            starting.stop(server, process)
    Records(home.run).forget_processes()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
