"""Backups that run by themselves: the schedule, the WAL between them, and what happens when either breaks."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.backup import keys, wal, wal_sealing
from ops.backup.cluster import SLOT, ClusterSource
from ops.backup.place import BackupFailed
from ops.backup.verify import inflated
from runtime import unprivileged
from runtime.home import Home
from runtime.servers import servers
from tests.conftest import Stack, environment_for
from tests.integration.backup_ground import NOTES, Ground, ground, opened, run_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.backup.catalogue import Entry
    from runtime.servers import Servers

__all__ = ["ground"]

DROP = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active
"""
TAKE = "SELECT pg_create_physical_replication_slot($1)"
SLOTS_MAX = 100
SWITCH = "SELECT pg_switch_wal()"
WRITE = "SELECT pg_logical_emit_message(true, 'test', $1)"
STREAMS = "SELECT pid FROM pg_stat_replication WHERE application_name = 'pg_receivewal'"


@pytest.fixture(autouse=True)
def drop_the_slot(ground: Ground) -> Iterator[None]:
    """The session's server keeps no WAL for anybody afterwards."""
    yield
    run_sql(ground, "userdb", DROP, SLOT)


@pytest.mark.long
def test_a_restart_and_a_promotion_leave_no_gap(tmp_path: Path) -> None:
    """The server is killed and comes back, then goes on in a new timeline: the WAL follows."""
    env = environment_for(tmp_path / "own" / "servers")
    home = Home.from_environment(env)
    with servers(home, env, supervise=True) as found:
        own = Ground.make(Stack(home, found, env), tmp_path / "own")
        first = own.back_up("userdb", full=True)
        with receiving(own):
            finish_a_segment(own, "before the crash")
            _kill(found)
            found.ensure_running()
            finish_a_segment(own, "after the crash")
            own.wait_for(lambda: sealed(own, "after the crash"))
            added = own.back_up("userdb")
            assert (added.kind, added.parent) == ("incremental", first.id)
            _kill(found)
            (home.data / "userdb" / "recovery.signal").touch()
            (home.data / "userdb" / "postgresql.auto.conf").write_text("restore_command = 'false'\n")
            unprivileged.give(home.data / "userdb")
            found.ensure_running()
            finish_a_segment(own, "in a new timeline")
            (last,) = own.wait_for(lambda: sealed(own, "in a new timeline"))
            assert last.timeline == 2
        assert sealed(own, "before the crash")
        names = [entry.segment or "" for entry in segments(own)]
        assert "00000002.history" in names
        numbers = sorted({int(name[8:], 16) for name in names if len(name) == 24})
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        after = own.back_up("userdb")
        assert after.timeline == 2
        assert after.usable


def _kill(found: Servers) -> None:
    """Kill the cluster's first process; the others end by themselves."""
    pid = found.processes["userdb"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while "userdb" in found.processes:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def receiving(ground: Ground) -> Iterator[wal.WalArchive]:
    """The WAL of userdb is received and sealed while the block runs."""
    archive = wal.WalArchive(ground.place("userdb"), ClusterSource(ground.servers, "userdb"))
    stop = threading.Event()
    thread = threading.Thread(target=archive.run, args=(stop,))
    thread.start()
    try:
        assert archive.receiving.wait(30)
        yield archive
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def segments(ground: Ground) -> list[Entry]:
    """The WAL segments in the catalogue."""
    return [entry for entry in ground.place("userdb").catalogue.entries() if entry.kind == "wal"]


def sealed(ground: Ground, text: str) -> list[Entry]:
    """The segments that hold `text`."""
    return [entry for entry in segments(ground) if holds(ground, entry, text)]


def finish_a_segment(ground: Ground, text: str) -> None:
    """Write `text` into the WAL, and have the segment finished."""
    run_sql(ground, "userdb", WRITE, text)
    run_sql(ground, "userdb", SWITCH)


def holds(ground: Ground, entry: Entry, text: str) -> bool:
    """Whether a sealed segment holds `text`; one that no base needs may be gone by now."""
    try:
        return text.encode() in b"".join(inflated(opened(ground, "userdb", entry)))
    except FileNotFoundError:
        return False


def test_wal_is_sealed_segment_by_segment(ground: Ground) -> None:
    """What is committed reaches the target in whole, proven, small segments without a gap.

    Also when the connection breaks in between, as it does when the server restarts.
    """
    with receiving(ground) as archive:
        assert archive.needs_base.is_set()
        finish_a_segment(ground, "before it broke")
        ground.wait_for(lambda: sealed(ground, "before it broke"))
        (pid,) = run_sql(ground, "userdb", STREAMS)
        run_sql(ground, "userdb", "SELECT pg_terminate_backend($1)", pid["pid"])
        ground.wait_for(lambda: pid not in run_sql(ground, "userdb", STREAMS))
        finish_a_segment(ground, "after it broke")
        ground.wait_for(lambda: sealed(ground, "after it broke"))
        assert not [path for path in archive.spool.iterdir() if not path.name.endswith(".partial")]
    found = segments(ground)
    assert [entry.start_lsn for entry in found[1:]] == [entry.end_lsn for entry in found[:-1]]
    assert all(entry.usable and entry.bytes < 4 << 20 for entry in found)


@pytest.mark.long
def test_wal_waits_in_a_bounded_spool_while_the_target_is_away(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without target nothing is received beyond the bound, and once it is back nothing is missing."""
    monkeypatch.setattr(wal, "SPOOL_BYTES_MAX", 20 << 20)
    aside = ground.target.with_name("aside")
    with receiving(ground) as archive:
        ground.target.rename(aside)
        for number in range(2):
            finish_a_segment(ground, f"while it was away {number}")
        ground.wait_for(lambda: not archive.receiving.is_set())
        ground.wait_for(lambda: run_sql(ground, "userdb", STREAMS) == [])
        there = sum(path.stat().st_size for path in archive.spool.iterdir())
        for number in range(2, 4):
            finish_a_segment(ground, f"while it was away {number}")
        assert sum(path.stat().st_size for path in archive.spool.iterdir()) == there
        aside.rename(ground.target)
        for number in range(4):
            text = f"while it was away {number}"
            ground.wait_for(partial(sealed, ground, text))


@pytest.mark.long
def test_wal_that_the_server_kept_no_longer_asks_for_a_new_base(ground: Ground) -> None:
    """A slot that is gone: what follows is received, what is missing is said, and a base backup is wanted."""
    with receiving(ground) as archive:
        finish_a_segment(ground, "one")
        ground.wait_for(lambda: segments(ground))
    archive.needs_base.clear()
    with receiving(ground) as archive:
        assert not archive.needs_base.is_set()
    run_sql(ground, "userdb", "SELECT pg_drop_replication_slot($1)", SLOT)
    with receiving(ground) as archive:
        assert archive.needs_base.is_set()
        finish_a_segment(ground, "two")
        ground.wait_for(lambda: sealed(ground, "two"))


def test_a_slot_that_cannot_be_made_asks_for_no_base(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Others have all there are: it is tried again, with an alarm; once there is one a base is due."""
    monkeypatch.setattr(wal, "ALARM_S", 0.1)
    monkeypatch.setattr(wal_sealing, "SAY_AGAIN_S", 0.0)
    taken: list[str] = []
    with suppress(asyncpg.ConfigurationLimitExceededError):
        for number in range(SLOTS_MAX):
            run_sql(ground, "userdb", TAKE, f"taken_{number}")
            taken.append(f"taken_{number}")
    archive = wal.WalArchive(ground.place("userdb"), ClusterSource(ground.servers, "userdb"))
    stop = threading.Event()
    thread = threading.Thread(target=archive.run, args=(stop,))
    thread.start()
    try:
        said = ""
        while said.count("wal_not_received") < 3 or '"level":"alarm"' not in said:
            said += ground.wait_for(lambda: capfd.readouterr().err)
        assert not archive.needs_base.is_set()
        for name in taken:
            run_sql(ground, "userdb", DROP, name)
        assert archive.receiving.wait(30)
        assert archive.needs_base.is_set()
    finally:
        for name in taken:
            run_sql(ground, "userdb", DROP, name)
        stop.set()
        thread.join(30)


def test_serving_keeps_a_cluster_backed_up(ground: Ground) -> None:
    """A full backup and the WAL after it, in one process; told to stop it ends, and so do its children."""
    marker = "john.roe+5d1c@example.org"
    with ground.command("serve", "userdb") as child:
        ground.wait_for(lambda: [e for e in ground.place("userdb").catalogue.entries() if e.kind == "full"])
        run_sql(ground, "userdb", NOTES["userdb"], marker)
        finish_a_segment(ground, "after the base")
        ground.wait_for(lambda: sealed(ground, marker))
        second = ground.run("serve", "userdb")
        assert "already" in second.stderr
        assert second.returncode == 1
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    assert run_sql(ground, "userdb", STREAMS) == []
    listed = ground.place("userdb").catalogue.entries()
    assert [entry.kind for entry in listed if entry.kind != "wal"] == ["full"]
    clear = [
        path
        for root in (ground.target, ground.stack.home.path)
        for path in root.rglob("*")
        if ground.stack.home.data not in path.parents
        and path.is_file()
        and marker.encode() in path.read_bytes()
    ]
    assert clear == []


def test_an_idle_cluster_is_left_alone(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is ended when something was committed in it, and only then."""
    source = ClusterSource(ground.servers, "userdb")
    at = "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS name"

    def looked(since: str) -> tuple[bool, bool]:
        """Whether anything was committed meanwhile, as is told, and whether a segment was ended."""
        before = run_sql(ground, "userdb", at)
        ended = source.switch_wal(since)
        return ended != since, run_sql(ground, "userdb", at) != before

    seen = source.switch_wal(None)
    run_sql(ground, "userdb", "SELECT pg_log_standby_snapshot()")  # as the server itself writes when idle
    ground.wait_for(lambda: looked(source.switch_wal(seen)) == (False, False))
    seen = source.switch_wal(None)
    run_sql(ground, "userdb", WRITE, "something")
    assert looked(seen) == (True, True)
    told: list[str | None] = []

    def count(_: ClusterSource, since: str | None) -> str:
        told.append(since)
        return "now"

    monkeypatch.setattr(wal, "SWITCH_S", 0.05)
    monkeypatch.setattr(ClusterSource, "switch_wal", count)
    with receiving(ground):
        ground.wait_for(lambda: len(told) > 1)
    assert told[:2] == [None, "now"]


def test_a_server_that_would_keep_wal_without_bound_is_refused(ground: Ground) -> None:
    """One sentence, and no slot of ours is made or left there: it would fill the server's disk."""
    source = ClusterSource(ground.servers, "userdb")
    bound = "SELECT current_setting('max_slot_wal_keep_size') AS bound"
    slots = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1"
    before = run_sql(ground, "userdb", bound)
    assert source.keep_slot(list)
    run_sql(ground, "userdb", "ALTER SYSTEM SET max_slot_wal_keep_size = -1")
    try:
        run_sql(ground, "userdb", "SELECT pg_reload_conf()")
        ground.wait_for(lambda: run_sql(ground, "userdb", bound) != before)
        for _ in range(2):
            with pytest.raises(BackupFailed, match="set max_slot_wal_keep_size there"):
                source.keep_slot(list)
            assert run_sql(ground, "userdb", slots, SLOT) == []
    finally:
        run_sql(ground, "userdb", "ALTER SYSTEM RESET max_slot_wal_keep_size")
        run_sql(ground, "userdb", "SELECT pg_reload_conf()")
    ground.wait_for(lambda: run_sql(ground, "userdb", bound) == before)


def test_after_a_change_of_keys_a_full_backup_follows_at_once(ground: Ground, tmp_path: Path) -> None:
    """Whatever is sealed from then on, base and WAL, opens with the new private half, without a restart."""
    with ground.command("serve", "userdb") as child:
        place = ground.place("userdb")

        def bases() -> list[Entry]:
            return [entry for entry in place.catalogue.entries() if entry.kind == "full" and entry.usable]

        ground.wait_for(bases)
        for home in (ground.home, ground.stack.home):
            for what in keys.WHATS:
                keys.public_file(home, what).unlink()
        keys.make(ground.stack.home, tmp_path / "new")
        new = keys.read_public(ground.stack.home, "userdb")
        ground.wait_for(lambda: len(bases()) > 1)
        assert [base.key_id for base in bases()] == [place.public.id, new.id]
        finish_a_segment(ground, "after the change")
        moved = Ground(ground.stack, ground.stack.home, ground.target, tmp_path / "new")
        (last,) = ground.wait_for(
            lambda: [
                entry for entry in segments(moved) if entry.key_id == new.id and holds(moved, entry, "change")
            ]
        )
        assert last.usable
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0


@pytest.mark.long
def test_a_killed_server_of_backups_takes_its_receiver_along(ground: Ground) -> None:
    """SIGKILL: pg_receivewal ends too, and the next one goes on where it was."""
    with ground.command("serve", "userdb") as child:
        ground.wait_for(lambda: run_sql(ground, "userdb", STREAMS))
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        ground.wait_for(lambda: not run_sql(ground, "userdb", STREAMS))
        finish_a_segment(ground, "while nobody looked")
    with ground.command("serve", "userdb"):
        ground.wait_for(lambda: sealed(ground, "while nobody looked"))
