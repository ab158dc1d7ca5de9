"""Copies of the queue: a snapshot that Valkey writes beside its own files, sealed to the target and deleted.

A copy is the state of one moment. What came after it is in the voter database or lost with the queue's disk;
`ballot recover` puts both together, so that an old copy lets nobody vote twice.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

from ops.backup.catalogue import Entry
from ops.backup.place import STOPPED, BackupFailed, Draft, Place
from ops.backup.postgres import Manner, free_id, listed, publish
from ops.backup.verify import prove_queue
from runtime.addresses import ADMIN
from runtime.clock import SystemClock
from runtime.preparation import admin_client
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from runtime.home import Home
    from runtime.servers import Servers

SNAPSHOT: Final = "dump.rdb"
"""As our own server calls it."""
SNAPSHOT_WAIT_S: Final = 900.0
BEGIN_WAIT_S: Final = 30.0
"""After a snapshot that failed the queue waits five seconds before a scheduled one."""
CANCEL_WAIT_S: Final = 30.0
POLL_S: Final = 0.05
BLOCK_BYTES: Final = 1 << 20
ROOM: Final = 2
ROOM_BYTES_MIN: Final = 64 << 20


def back_up_queue(place: Place, servers: Servers, manner: Manner | None = None) -> Entry:
    """Make, prove and list a copy of the queue; the place is held alone. BackupFailed if there is none."""
    manner = manner or Manner()
    if not servers.embedded:
        raise BackupFailed(
            "The queue is one of your own servers: copy its files where it runs. The voter database, "
            "which is backed up here, and `ballot recover` rebuild what matters of it."
        )
    place.check()
    began = SystemClock().now_us()
    name = free_id(place, "queue", began)
    snapshot: Path | None = None
    try:
        with _admin(servers) as client:
            snapshot = _snapshot_file(client)
            snapshot.unlink(missing_ok=True)  # one that was left when somebody was killed
            try:
                _save(client, snapshot, manner)
            except BaseException:
                _cancel(client)  # or it gives the snapshot its name after we have looked for it
                raise
        return _seal(place, name, began, snapshot, manner)
    except redis.RedisError as error:
        raise BackupFailed(f"The queue does not answer ({type(error).__name__}).") from error
    except OSError as error:
        raise BackupFailed(f"The queue's snapshot cannot be read: {error.strerror}.") from error
    finally:
        if snapshot is not None:
            snapshot.unlink(missing_ok=True)


def remove_left(home: Home) -> None:
    """Remove the snapshot in clear that somebody left who was killed, or whom the target keeps waiting.

    Without asking the queue or the target; the place is held alone.
    """
    with suppress(OSError):
        (ValkeyServer(home).data / SNAPSHOT).unlink(missing_ok=True)


def _admin(servers: Servers) -> redis.Redis:
    user, password = servers.credentials("valkey", ADMIN)
    return admin_client(servers.valkey, user=user, password=password)


def _snapshot_file(client: redis.Redis) -> Path:
    answer = client.config_get("dir", "dbfilename")
    settings = {_text(name): _text(value) for name, value in answer.items()}
    return Path(settings["dir"]) / settings["dbfilename"]


def _save(client: redis.Redis, snapshot: Path, manner: Manner) -> None:
    """Have a snapshot written, if there is room: the queue ends itself when its own file finds none.

    `SCHEDULE` waits for a rewrite of the append-only file that runs already. Until ours has begun, what the
    queue says of the last snapshot is said of another.
    """
    disk = os.statvfs(snapshot.parent)
    if disk.f_bavail * disk.f_frsize < ROOM * client.info("memory")["used_memory"] + ROOM_BYTES_MIN:
        raise BackupFailed("There is too little room on the queue's disk for a snapshot beside its own file.")
    begun = b"scheduled" not in _told(client, "SCHEDULE")
    began = idle_since = time.monotonic()
    while True:
        state = client.info("persistence")
        now = time.monotonic()
        if state["rdb_bgsave_in_progress"]:
            begun = True
        running = state["rdb_bgsave_in_progress"] or state["aof_rewrite_in_progress"]
        if running:
            idle_since = now
        elif snapshot.exists():
            return
        elif begun or (state["rdb_last_bgsave_status"] != "ok" and now - idle_since > BEGIN_WAIT_S):
            raise BackupFailed(
                "The queue could not write a snapshot: look for room on its disk and in memory."
            )
        if manner.stopped():
            raise BackupFailed(STOPPED)
        if now - began > SNAPSHOT_WAIT_S:
            raise BackupFailed(f"The queue wrote no snapshot within {SNAPSHOT_WAIT_S / 60:.0f} minutes.")
        time.sleep(POLL_S)


def _cancel(client: redis.Redis) -> None:
    """Have the queue give up a snapshot, begun or only scheduled, and wait until it has."""
    with suppress(redis.RedisError):
        with suppress(redis.ResponseError):  # none runs
            _told(client, "CANCEL")
        deadline = time.monotonic() + CANCEL_WAIT_S
        while client.info("persistence")["rdb_bgsave_in_progress"] and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _told(client: redis.Redis, what: str) -> bytes:
    """What the queue answers to BGSAVE; the library would make a truth value of it."""
    client.set_response_callback("BGSAVE", bytes)
    return bytes(client.execute_command("BGSAVE", what))  # type: ignore[no-untyped-call]


def _seal(place: Place, name: str, began: int, snapshot: Path, manner: Manner) -> Entry:
    with snapshot.open("rb") as file, Draft(place, kind="queue", backup_id=name) as draft:
        size = max(1, snapshot.stat().st_size)
        done = 0
        while block := file.read(BLOCK_BYTES):
            draft.write(block)
            done += len(block)
            manner.progress(100 * done // size)
            if manner.stopped():
                raise BackupFailed(STOPPED)
        draft.finish()
        if draft.prove(prove_queue, stopped=manner.stopped) != draft.plain_sha256:
            raise BackupFailed(f"What was written to {place.target} reads back differently.")
        made = Entry(
            id=name,
            kind="queue",
            file=draft.file,
            bytes=draft.size,
            sha256=draft.sha256,
            key_id=place.public.id,
            started=began,
            ended=SystemClock().now_us(),
        )
        publish(place, draft, made)
    return listed(place, made)


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
