"""The queue out of a copy: made the base of an append-only file, loaded once, and latched against use.

A copy of the queue is older than what voters were told. The latch (`ballot:recovering`) keeps every edge
closed until `ballot recover` has merged into it what voterdb knows; so a restored copy can let nobody vote
twice, and no revoked code vote.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import orjson
import redis

from ballot.encoding import Malformed, b64decode, format_time
from ballot.handoff import PUBLISHED_KEY, RECOVERING_KEY
from ops.backup.restore_home import MARKER, check_room
from ops.backup.restore_source import NOTHING_CHANGED, Source
from ops.backup.restore_unpacking import copy
from ops.pinned import pinned_key
from runtime import home as home_files
from runtime import ports, processes, starting
from runtime.addresses import ADMIN, ValkeyAddress
from runtime.home import Home
from runtime.preparation import admin_client
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from pathlib import Path

    from ops.backup.catalogue import Entry
    from ops.backup.restore_steps import Steps
    from runtime.processes import Process

BASE: Final = "appendonly.aof.1.base.rdb"
INCREMENT: Final = "appendonly.aof.1.incr.aof"
MANIFEST: Final = "appendonly.aof.manifest"
PORT_ATTEMPTS: Final = 3
LATCH: Final = b"restored"


@dataclass(frozen=True, slots=True)
class RebuiltQueue:
    """The copy that was loaded, and the ballots that it knows."""

    copy: Entry
    ballots: tuple[str, ...]


def choose(source: Source, *, at: int | None, base: str | None) -> Entry:
    """The newest copy, or the newest not later than `at`; it is there and whole."""
    copies = [entry for entry in source.entries() if entry.kind == "queue"]
    fitting = [
        entry
        for entry in copies
        if (at is None or entry.ended <= at)
        and (entry.id == base if base is not None else entry.verified is not False)
    ]
    if not fitting:
        oldest = min((entry.ended for entry in copies), default=None)
        if oldest is not None and at is not None and at < oldest:
            raise click.ClickException(
                f"The oldest copy of the queue is of {format_time(oldest)}; nothing earlier can be restored."
            )
        raise click.ClickException("There is no such copy of the queue here. Nothing was changed.")
    chosen = max(fitting, key=lambda entry: (entry.started, entry.id))
    if source.missing((chosen,)) is not None:
        raise click.ClickException(
            f"{source.folder / chosen.file} is missing or not whole: put it back, or name an older one with "
            f"--base ID (see `ballot backup list`). {NOTHING_CHANGED}"
        )
    return chosen


def rebuild(source: Source, entry: Entry, place: Path, steps: Steps, *, home: Home) -> RebuiltQueue:
    """Make the queue's data directory in `place`, load it with a private server, latch it, and stop."""
    server = ValkeyServer(Home(place))
    remove(place)
    check_room(place.parent, 3 * entry.bytes)
    for directory in ("secrets", "data", "run", "logs", "data/valkey", "data/valkey/appendonlydir"):
        (place / directory).mkdir(mode=0o700, parents=True)
    (place / MARKER).touch(0o600)
    folder = server.data / "appendonlydir"
    with (
        steps.moving("queue: open the copy", entry.bytes) as (step, advance),
        source.opened(entry, advance=advance) as stream,
    ):
        step.bytes = copy(stream, folder / BASE, durable=True)
    (folder / INCREMENT).touch(0o600)
    # All of it must be on disk before the latch is: a queue that was latched and is empty looks restored.
    home_files.replace(folder / MANIFEST, f"file {BASE} seq 1 type b\nfile {INCREMENT} seq 1 type i\n")
    home_files.sync_directory(server.data)
    with steps.step("queue: load it") as step:
        ballots = _load(server, home)
        step.note = f"{len(ballots)} ballots"
    return RebuiltQueue(entry, ballots)


def remove(place: Path) -> None:
    """Stop what runs in `place` and delete everything there."""
    server = ValkeyServer(Home(place))
    for process in processes.in_directory(server.data, executable=server.executable):
        starting.stop(server, process)
    shutil.rmtree(place, ignore_errors=True)


def _load(server: ValkeyServer, home: Home) -> tuple[str, ...]:
    """Start it once, where nobody else knows its port or its passwords, which are made up for this."""
    started: list[Process] = []
    for _ in range(PORT_ATTEMPTS):
        port = ports.draw(taken=set())
        fault = starting.start(
            server, port, home=server.home, record=lambda _, process: started.append(process)
        )
        try:
            if fault is None:
                return _latch(server, port, home)
            if ports.is_free(port):
                raise click.ClickException(
                    f"The copy of the queue opens but does not load: {fault.message} {NOTHING_CHANGED}"
                )
        finally:
            for process in started:
                starting.stop(server, process)
    raise click.ClickException(f"No port was free to load the queue on. {NOTHING_CHANGED}")


def _latch(server: ValkeyServer, port: int, home: Home) -> tuple[str, ...]:
    address, password = ValkeyAddress(ports.LOOPBACK, port), server.home.password(f"valkey-{ADMIN}")
    try:
        with admin_client(address, user=ADMIN, password=password) as client:
            published = client.hgetall(PUBLISHED_KEY)
            client.set(RECOVERING_KEY, LATCH)
    except redis.RedisError as error:
        raise click.ClickException(
            f"The copy of the queue does not answer: {error}. {NOTHING_CHANGED}"
        ) from error
    _refuse_another_installations(home, [*published.values()])
    return tuple(sorted(name.decode("utf-8", "replace") for name in published))


def _refuse_another_installations(home: Home, published: list[bytes]) -> None:
    """A copy that knows only ballots of another desk is of another installation."""
    if not home.public_key_file.exists() or not published:
        return
    own = pinned_key(home.public_key_file)
    for entry in published:
        try:
            if b64decode(orjson.loads(entry)["desk_public_key"]) == own:
                return
        except (orjson.JSONDecodeError, Malformed, KeyError, TypeError):
            continue
    raise click.ClickException(
        f"This copy is of another installation: no ballot in it is this desk's. {NOTHING_CHANGED}"
    )
