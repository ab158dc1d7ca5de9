"""Backups of real servers: whole, proven, sealed, and honest about everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.backup import keys, postgres
from ops.backup import place as places
from ops.backup.checking import check_entries
from ops.backup.place import BackupFailed
from ops.backup.postgres import Manner
from ops.backup.serve import make
from ops.backup.verify import Stream
from runtime.addresses import BACKUP
from runtime.postgres import connect
from runtime.postgres_server import program
from tests.integration.backup_ground import EVENTS, NOTES, ground, opened, run_sql

__all__ = ["ground"]

SUMMARISED = "SELECT 1 FROM pg_available_wal_summaries() WHERE end_lsn > $1::text::pg_lsn"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.backup.catalogue import Entry
    from tests.conftest import Stack
    from tests.integration.backup_ground import Ground


def test_an_incremental_adds_to_a_full_backup(ground: Ground, tmp_path: Path) -> None:
    """Full, then incremental, proven and listed; PostgreSQL's own tools make one whole of them."""
    place = ground.place("voterdb")
    full = ground.back_up("voterdb", full=True)
    added = ground.back_up("voterdb")
    assert (full.kind, added.kind, added.parent) == ("full", "incremental", full.id)
    assert added.bytes < full.bytes
    assert place.catalogue.entries() == (full, added)
    assert full.usable
    parts = []
    for entry in (full, added):
        part = tmp_path / entry.kind
        with tarfile.open(fileobj=Stream(opened(ground, "voterdb", entry)), mode="r|") as tar:  # type: ignore[call-overload]
            tar.extractall(part, filter="data")
        parts.append(part)
    whole = tmp_path / "whole"
    subprocess.run([program("pg_combinebackup"), *map(str, parts), "-o", str(whole)], check=True)
    subprocess.run([program("pg_verifybackup"), "--quiet", str(whole)], check=True)


def test_what_a_backup_covers_is_noted_once_it_is_proven(ground: Ground, ballot_id: str) -> None:
    """The marks of before the backup are in its entry and in the file for the trimmer."""
    run_sql(ground, "voterdb", "INSERT INTO ballot.marks VALUES ($1, 3, 'stored', '17-4', 9)", ballot_id)
    made = ground.back_up("voterdb", full=True)
    note = json.loads((ground.home.backup / "voterdb.covered.json").read_text())
    assert note["backup"] == made.id
    assert {"ballot": ballot_id, "shard": 3, "side": "stored", "entry": "17-4"} in note["marks"]
    assert ground.place("voterdb").catalogue.entries()[0].covers == made.covers
    ground.back_up("userdb", full=True)
    assert not (ground.home.backup / "userdb.covered.json").exists()


def test_made_and_proven_are_events_of_the_cluster(ground: Ground) -> None:
    """Each cluster's own log says which backup was made, its size and digest, and that it was proven."""
    for what, statement in EVENTS.items():
        made = ground.back_up(what, full=True)
        rows = run_sql(ground, what, statement)
        told = {row["kind"]: json.loads(row["detail"]) for row in rows if made.id in row["detail"]}
        assert told["backup.made"]["sha256"] == told["backup.verified"]["sha256"] == made.sha256
        assert told["backup.made"]["bytes"] == (ground.target / what / made.file).stat().st_size


@pytest.mark.parametrize("lost", ["manifest", "file", "summaries"])
def test_without_what_an_incremental_needs_a_full_one_is_made(
    ground: Ground, stack: Stack, lost: str
) -> None:
    """The parent's list or file gone, or the server's summaries: a full backup instead, and it is said."""
    place = ground.place("userdb")
    first = ground.back_up("userdb", full=True)
    if lost == "manifest":
        place.manifest(first.id).unlink()
    elif lost == "file":
        (place.folder / first.file).unlink()
    else:
        run_sql(ground, "userdb", "CHECKPOINT")
        ground.wait_for(lambda: run_sql(ground, "userdb", SUMMARISED, first.end_lsn))
        for summary in (stack.home.data / "userdb" / "pg_wal" / "summaries").iterdir():
            summary.unlink()
    said: list[str] = []
    made = ground.back_up("userdb", manner=Manner(say=said.append))
    assert made.kind == "full"
    assert len(said) == 1
    assert "full one is made" in said[0]


def test_a_flipped_bit_in_what_was_written_is_found(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk did not keep is no backup: nothing is listed, nothing left, and the event says so."""
    place = ground.place("userdb")

    def flip(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        with path.open("r+b") as file:
            file.seek(5_000_000)
            (byte,) = file.read(1)
            file.seek(5_000_000)
            file.write(bytes([byte ^ 1]))

    monkeypatch.setattr(places, "forget_cached", flip)
    with pytest.raises(BackupFailed, match="reads back differently"):
        ground.back_up("userdb", full=True)
    assert place.catalogue.entries() == ()
    assert list(place.folder.iterdir()) == []
    rows = [row for row in run_sql(ground, "userdb", EVENTS["userdb"]) if row["kind"] == "backup.failed"]
    assert "reads back differently" in rows[-1]["detail"]


def test_a_bit_that_flips_later_is_found_with_and_without_the_key(ground: Ground) -> None:
    """Whoever verifies is told; a backup found faulty is no longer added to."""
    place = ground.place("userdb")
    made = ground.back_up("userdb", full=True)
    private = keys.read_private(keys.private_file(ground.medium, "userdb"))
    (good,) = check_entries(place.catalogue, [made], [private])
    assert good.opened
    assert good.fault is None
    path = place.folder / made.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    for given in ((), (private,)):
        (bad,) = check_entries(place.catalogue, [made], given)
        assert bad.fault is not None
        assert place.catalogue.entries()[0].verified is False
    assert postgres.parent_of(place) is None
    path.unlink()
    (gone,) = check_entries(place.catalogue, [made], ())
    assert gone.fault == "The file is missing."


def test_a_target_that_cannot_be_written_is_said_in_a_sentence(ground: Ground) -> None:
    """Missing, not a directory, full: one sentence each, nothing half is left, and the next one succeeds."""
    place = ground.place("userdb")
    with pytest.raises(BackupFailed, match="is not there: mount it"):
        ground.back_up("userdb", full=True, place=replace(place, target=ground.target / "elsewhere"))
    place.folder.touch()
    with pytest.raises(BackupFailed, match="cannot be used"):
        ground.back_up("userdb", full=True)
    place.folder.unlink()
    with _files_of_at_most(8 << 20), pytest.raises(BackupFailed, match="is full"):
        ground.back_up("userdb", full=True)
    assert list(place.folder.iterdir()) == []
    assert ground.back_up("userdb").kind == "full"


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, no file of ours grows beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_whoever_is_killed_in_the_middle_leaves_nothing_that_counts(ground: Ground) -> None:
    """SIGKILL while it writes: no backup is listed, its PostgreSQL tool ends, the next one clears up."""
    place = ground.place("voterdb")
    place.folder.mkdir()
    with ground.command("now", "voterdb", "--full") as child:
        half = ground.wait_for(lambda: next(iter(place.folder.glob("*-full.part")), None))
        ground.wait_for(lambda: half.stat().st_size > 1_000_000)
        child.kill()
        child.wait(10)
    assert place.catalogue.entries() == ()
    assert half.exists()
    made = ground.back_up("voterdb")
    assert made.kind == "full"
    assert not half.exists()
    assert {path.name for path in place.folder.iterdir()} == {made.file, "catalogue.jsonl"}


def test_two_at_once_wait_for_each_other(ground: Ground) -> None:
    """Two that begin together make one after the other; who may not wait is told who holds the place."""
    place = ground.place("userdb")
    made: list[Entry] = []
    threads = [
        threading.Thread(target=lambda: made.append(ground.back_up("userdb", full=True))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sorted(made, key=lambda entry: entry.started)
    assert first.ended <= second.started or second.id != first.id
    assert [entry.id for entry in place.catalogue.entries()] == [first.id, second.id]
    with place.alone(5), pytest.raises(Exception, match="Another command has held"):
        ground.back_up("userdb", wait_s=0.1)


def test_nothing_is_in_clear(ground: Ground) -> None:
    """A text that stands in a database stands nowhere on the target and nowhere in the home's lists."""
    marker = "jane.doe+0b1f8a77@example.org"
    for what, statement in NOTES.items():
        run_sql(ground, what, statement, marker)
        made = ground.back_up(what, full=True)
        assert any(marker.encode() in block for block in opened(ground, what, made, joined=True))
        ground.back_up(what)
    found = [
        path
        for root in (ground.target, ground.home.path)
        for path in root.rglob("*")
        if path.is_file() and marker.encode() in path.read_bytes()
    ]
    assert found == []


def test_the_backups_role_reads_no_vote_by_asking(ground: Ground) -> None:
    """It may copy the cluster as it stands, see the marks and write its own events; nothing else."""

    async def tries() -> None:
        connection = await connect(ground.servers, "voterdb", BACKUP)
        try:
            for statement in (
                "SELECT sealed FROM ballot.votes",
                "INSERT INTO ballot.events (kind, actor) VALUES ('vote', 'worker')",
                "DELETE FROM ballot.marks",
                "SELECT ballot.backup_event('fuse', '{}')",
            ):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
                    await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(tries())


def test_a_cluster_of_another_version_or_without_the_right_is_said(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tools' version and the right to replicate are looked at before anything is written."""
    monkeypatch.setattr("ops.backup.cluster.tools_major", lambda: 17)
    with pytest.raises(BackupFailed, match="is PostgreSQL 18 and the tools here are of 17"):
        ground.back_up("userdb", full=True)
    monkeypatch.undo()
    run_sql(ground, "userdb", "ALTER ROLE ballot_backup NOREPLICATION")
    try:
        with pytest.raises(BackupFailed, match="ALTER ROLE ballot_backup REPLICATION"):
            ground.back_up("userdb", full=True)
    finally:
        run_sql(ground, "userdb", "ALTER ROLE ballot_backup REPLICATION")


def test_the_queue_is_copied_whole_and_its_snapshot_deleted(ground: Ground) -> None:
    """A copy opens as what Valkey wrote; the snapshot is gone from the queue's own directory."""
    made = ground.back_up("queue")
    (content,) = opened(ground, "queue", made, joined=True)
    assert content.startswith((b"REDIS", b"VALKEY"))
    assert made.usable
    assert not list(ground.stack.home.data.glob("valkey/*.rdb"))
    with pytest.raises(BackupFailed, match="one of your own servers"):
        make(
            ground.place("queue"),
            replace(ground.servers, _embedded=None),
            full=False,
            manner=Manner(),
            wait_s=5,
        )


def test_the_commands_make_list_and_verify(ground: Ground) -> None:
    """`now`, `list --json`, `verify` with and without key, as a person runs them."""
    assert ground.run("now").returncode == 0
    again = ground.run("now", "userdb")
    assert "verified" in again.stdout
    listed = [json.loads(line) for line in ground.run("list", "--json").stdout.splitlines()]
    assert [entry["kind"] for entry in listed] == ["full", "full", "incremental", "queue"]
    assert {entry["state"] for entry in listed} == {"verified"}
    key_files = [f"--key={keys.private_file(ground.medium, what)}" for what in keys.WHATS]
    for given, said in (((), "as made"), (key_files, "proven")):
        done = ground.run("verify", *given)
        assert (done.returncode, done.stdout.count(said)) == (0, 4)
    path = ground.target / "userdb" / listed[1]["file"]
    path.write_bytes(path.read_bytes()[:-1])
    done = ground.run("verify", listed[1]["id"], "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert "FAILED" in ground.run("list", "userdb").stdout
    assert "no backup called" in ground.run("verify", "nonsense").stderr
    shutil.rmtree(ground.target)
    assert "mount" in ground.run("now", "queue").stderr
    assert "mount their disk" in ground.run("verify").stderr
