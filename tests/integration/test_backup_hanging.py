"""A target that hangs: the spool stays bounded, backups end when told to, nothing is missing afterwards."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.backup import pulse, queue, serve, wal, wal_sealing
from ops.backup.place import BackupFailed
from ops.backup.postgres import Manner, publish
from ops.backup.serve import Keeper
from ops.backup.settings import BackupSettings
from runtime.addresses import ADMIN
from runtime.preparation import admin_client
from tests.integration.backup_ground import Ground, ground, run_sql
from tests.integration.test_backup_serve import STREAMS, drop_the_slot, finish_a_segment, receiving, sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

__all__ = ["drop_the_slot", "ground"]

BOUND = 20 << 20


def held(archive: wal.WalArchive) -> int:
    """How many bytes wait in the spool."""
    return sum(path.stat().st_size for path in archive.spool.rglob("*") if path.is_file())


def test_the_spool_stays_bounded_while_sealing_hangs(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be sealed is not received for ever; told to end it ends; the next one seals all of it."""
    answers = threading.Event()

    def hang(*given: object) -> None:
        answers.wait()
        publish(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(wal_sealing, "publish", hang)
    monkeypatch.setattr(wal_sealing, "SEAL_LONG_S", 0.1)
    monkeypatch.setattr(wal, "SPOOL_BYTES_MAX", BOUND)
    monkeypatch.setattr(wal, "END_WAIT_S", 0.1)
    try:
        with receiving(ground) as archive:
            for number in range(2):
                finish_a_segment(ground, f"while it hung {number}")
            ground.wait_for(lambda: not archive.receiving.is_set())
            ground.wait_for(lambda: "The spool is full" in capfd.readouterr().err)
            full = held(archive)  # the bound, and what came between two looks at it
            assert full > BOUND
            for number in range(2, 6):
                finish_a_segment(ground, f"while it hung {number}")
            assert run_sql(ground, "userdb", STREAMS) == []
            assert held(archive) == full
            told = time.monotonic()
        assert time.monotonic() - told < 2 * wal.POLL_S + 5.0  # the target answers still not
        assert "wal_sealing_abandoned" in capfd.readouterr().err
    finally:
        answers.set()
    monkeypatch.undo()
    with receiving(ground):
        for number in range(6):
            ground.wait_for(partial(sealed, ground, f"while it hung {number}"))


def test_a_copy_that_the_target_does_not_take_is_said_and_ends_when_told_to(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An alarm while it hangs; told to end, it is given up, with the snapshot, which is in clear."""
    hangs, answers = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        hangs.set()
        answers.wait()
        raise BackupFailed("It was stopped.")

    folder = ground.stack.home.data / "valkey"
    (folder / queue.SNAPSHOT).write_bytes(b"left by somebody who was killed")
    monkeypatch.setattr(queue, "publish", hang)
    monkeypatch.setattr(pulse, "STUCK_S", 0.1)
    monkeypatch.setattr(serve, "END_WAIT_S", 0.1)
    assert ground.env
    stop = threading.Event()
    keeper = Keeper(ground.servers, "queue", BackupSettings(ground.target), stop)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        assert hangs.wait(30)
        assert (folder / queue.SNAPSHOT).read_bytes().startswith((b"REDIS", b"VALKEY"))
        ground.wait_for(lambda: "backup_stuck" in capfd.readouterr().err)
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
        assert list(folder.glob("*.rdb")) == []
    finally:
        stop.set()
        answers.set()
        thread.join(30)
    assert "backup_abandoned" in capfd.readouterr().err


def test_a_snapshot_that_was_left_goes_though_the_target_is_away(ground: Ground) -> None:
    """It is in clear, on the disk that takes votes."""
    left = ground.stack.home.data / "valkey" / queue.SNAPSHOT
    left.write_bytes(b"left by somebody who was killed")
    ground.target.rename(ground.target.with_name("away"))
    with pytest.raises(BackupFailed, match="is not there"):
        ground.back_up("queue")
    assert not left.exists()


@pytest.fixture
def slow_snapshots(ground: Ground) -> Iterator[redis.Redis]:
    """The session's queue, which holds a key and takes its time with each that it writes into a snapshot."""
    user, password = ground.servers.credentials("valkey", ADMIN)
    with admin_client(ground.servers.valkey, user=user, password=password) as client:
        client.set("backup:test", "x")
        client.config_set("rdb-key-save-delay", 5_000_000)
        yield client
        client.config_set("rdb-key-save-delay", 0)
        client.delete("backup:test")


def test_a_copy_that_is_stopped_leaves_no_snapshot(
    ground: Ground, slow_snapshots: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped or too slow: the queue gives its snapshot up, which would stay in clear; the next is whole."""
    folder = Path(slow_snapshots.config_get("dir")["dir"] or "")

    def saving() -> bool:
        return bool(slow_snapshots.info("persistence")["rdb_bgsave_in_progress"])

    for stopped, wait_s, said in ((saving, 900.0, "stopped"), (lambda: False, 0.1, "wrote no snapshot")):
        monkeypatch.setattr(queue, "SNAPSHOT_WAIT_S", wait_s)
        with pytest.raises(BackupFailed, match=said):
            ground.back_up("queue", manner=Manner(stopped=stopped))
        assert not saving()
        assert list(folder.glob("*.rdb")) == []
    monkeypatch.undo()
    slow_snapshots.config_set("rdb-key-save-delay", 0)
    assert ground.back_up("queue").kind == "queue"
    assert list(folder.glob("*.rdb")) == []
