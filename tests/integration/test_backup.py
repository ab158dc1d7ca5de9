"""Backups of real servers: whole, proven, sealed, and honest about everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import pty
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
import click
import pytest
from click.testing import CliRunner

from ops.backup import keys, postgres
from ops.backup import place as places
from ops.backup.catalogue import backup_id
from ops.backup.checking import check_entries
from ops.backup.cluster import ClusterSource
from ops.backup.command import backup
from ops.backup.place import BackupFailed
from ops.backup.postgres import Manner
from ops.backup.serve import make, retention_of
from ops.backup.settings import DAY_US, BackupSettings
from ops.backup.verify import Stream
from runtime.addresses import BACKUP, CLUSTERS
from runtime.postgres import connect
from runtime.postgres_server import program
from tests.conftest import ballot_command
from tests.integration.backup_ground import EVENTS, NOTES, ground, opened, run_sql

__all__ = ["ground"]

SUMMARISED = "SELECT 1 FROM pg_available_wal_summaries() WHERE end_lsn > $1::text::pg_lsn"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.backup.catalogue import Entry
    from tests.conftest import Stack
    from tests.integration.backup_ground import Ground


def test_an_incremental_adds_to_a_full_backup(ground: Ground, ballot_id: str, tmp_path: Path) -> None:
    """Full, then incremental, proven, listed and told; PostgreSQL's own tools make one whole of them.

    The marks of before the backup are in its entry, and in the file for the trimmer.
    """
    place = ground.place("voterdb")
    run_sql(ground, "voterdb", "INSERT INTO ballot.marks VALUES ($1, 3, 'stored', '17-4', 9)", ballot_id)
    full = ground.back_up("voterdb", full=True)
    added = ground.back_up("voterdb")
    assert (full.kind, added.kind, added.parent) == ("full", "incremental", full.id)
    assert added.bytes < full.bytes
    assert place.catalogue.entries() == (full, added)
    assert full.usable
    note = json.loads((ground.home.backup / "voterdb.covered.json").read_text())
    assert note["backup"] == added.id
    assert {"ballot": ballot_id, "shard": 3, "side": "stored", "entry": "17-4"} in note["marks"]
    _combine(ground, (full, added), tmp_path)
    for entry, left in ((added, full.id), (full, None)):  # found faulty since
        place.catalogue.append("verified", entry.id, entry.ended, ok=False)
        postgres.note_covered(ground.home, place.catalogue)
        covered = ground.home.backup / "voterdb.covered.json"
        assert (json.loads(covered.read_text())["backup"] if covered.exists() else None) == left


def _combine(ground: Ground, entries: tuple[Entry, ...], directory: Path) -> None:
    parts = []
    for entry in entries:
        part = directory / entry.kind
        with tarfile.open(fileobj=Stream(opened(ground, "voterdb", entry)), mode="r|") as tar:  # type: ignore[call-overload]
            tar.extractall(part, filter="data")
        parts.append(part)
    whole = directory / "whole"
    combine = [program("pg_combinebackup"), "--no-sync", *map(str, parts), "-o", str(whole)]
    subprocess.run(combine, check=True)
    subprocess.run([program("pg_verifybackup"), "--quiet", str(whole)], check=True)


def test_without_what_an_incremental_needs_a_full_one_is_made(ground: Ground, stack: Stack) -> None:
    """The parent's list gone, then the server's summaries: a full backup instead, and it is said."""
    place = ground.place("userdb")
    first = ground.back_up("userdb", full=True)
    place.manifest(first.id).unlink()
    said: list[str] = []
    second = ground.back_up("userdb", manner=Manner(say=said.append))
    assert second.kind == "full"
    run_sql(ground, "userdb", "CHECKPOINT")
    ground.wait_for(lambda: run_sql(ground, "userdb", SUMMARISED, second.end_lsn))
    for summary in (stack.home.data / "userdb" / "pg_wal" / "summaries").iterdir():
        summary.unlink()
    assert ground.back_up("userdb", manner=Manner(say=said.append)).kind == "full"
    assert len(said) == 2
    assert all("full one is made" in sentence for sentence in said)


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
    """Whoever comes second waits for the first; who may not wait is told who holds the place."""
    place = ground.place("userdb")
    made: list[Entry] = []
    second = threading.Thread(target=lambda: made.append(ground.back_up("userdb", full=True)))
    with place.alone(5):
        second.start()
        with pytest.raises(click.ClickException, match="Another command has held"):
            ground.back_up("userdb", wait_s=0.2)
        assert not made
    second.join()
    assert place.catalogue.entries() == tuple(made)


def test_nothing_is_in_clear(ground: Ground) -> None:
    """A text that stands in a database stands nowhere on the target and nowhere in the home's lists.

    Each cluster's own log says which backup was made, its size and digest, and that it was proven.
    """
    marker = "jane.doe+0b1f8a77@example.org"
    for what, statement in NOTES.items():
        run_sql(ground, what, statement, marker)
        made = ground.back_up(what, full=True)
        assert any(marker.encode() in block for block in opened(ground, what, made, joined=True))
        rows = run_sql(ground, what, EVENTS[what])
        told = {row["kind"]: json.loads(row["detail"]) for row in rows if made.id in row["detail"]}
        assert told["backup.made"]["sha256"] == told["backup.verified"]["sha256"] == made.sha256
        assert told["backup.made"]["bytes"] == (ground.target / what / made.file).stat().st_size
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
                "SELECT ballot.backup_event('restore.performed', '{}')",
                "SELECT ballot.backup_event('drill.performed', '{}')",
                "SELECT ballot.drill_event('drill.performed', '{}')",
            ):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
                    await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(tries())
    with pytest.raises(asyncpg.RaiseError):
        run_sql(ground, "userdb", "SELECT people.backup_event('restore.performed', '{}')")
    count = "SELECT count(*) FROM ballot.events WHERE kind = 'drill.failed' AND actor = 'drill'"
    ((before,),) = run_sql(ground, "voterdb", count)
    ClusterSource(ground.servers, "voterdb").event("drill.failed", {"reason": "a test"})
    assert run_sql(ground, "voterdb", count) == [(before + 1,)]


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
    rows = run_sql(ground, "voterdb", EVENTS["voterdb"])
    told = {row["kind"]: json.loads(row["detail"]) for row in rows if made.id in row["detail"]}
    assert told["backup.made"]["sha256"] == told["backup.verified"]["sha256"] == made.sha256
    assert told["backup.made"]["what"] == "queue"
    place = ground.place("queue")
    started = made.started - 400 * DAY_US
    name = backup_id("queue", started)
    place.catalogue.made(replace(made, id=name, file=f"{name}.sealed", started=started, ended=started))
    assert [each.id for each in retention_of(place, ground.servers, BackupSettings(ground.target))] == [name]
    last = run_sql(ground, "voterdb", EVENTS["voterdb"])[-1]
    assert (last["kind"], json.loads(last["detail"])["ids"]) == ("backup.deleted", [name])
    with pytest.raises(BackupFailed, match="one of your own servers"):
        make(
            ground.place("queue"),
            replace(ground.servers, _embedded=None),
            full=False,
            manner=Manner(),
            wait_s=5,
        )


@pytest.mark.long
def test_the_commands_make_list_and_verify(ground: Ground) -> None:
    """`now`, `list --json`, `verify` with and without key, as a person runs them."""
    assert "verified" in ground.run("now", "userdb", "queue").stdout
    listed = [json.loads(line) for line in ground.run("list", "--json").stdout.splitlines()]
    assert [(entry["kind"], entry["state"]) for entry in listed] == [
        ("full", "verified"),
        ("queue", "verified"),
    ]
    key_file = keys.private_file(ground.medium, "userdb")
    done = ground.run("verify", f"--key={key_file}")
    assert (done.returncode, done.stdout.count("proven"), done.stdout.count("as made")) == (0, 1, 1)
    path = ground.target / "userdb" / listed[0]["file"]
    path.write_bytes(path.read_bytes()[:-1])
    done = ground.run("verify", listed[0]["id"], "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert "FAILED" in ground.run("list", "userdb").stdout
    told = json.loads(run_sql(ground, "userdb", EVENTS["userdb"])[-1]["detail"])
    assert (told["ok"], told["checked"], told["failed"]) == (False, 1, [listed[0]["id"]])


def test_an_unmounted_target_is_not_written_to(ground: Ground) -> None:
    """An empty directory where the target was: refused, nothing in it, nothing concluded, until adopted."""
    place = ground.place("userdb")
    made = ground.back_up("userdb", full=True)
    before = place.catalogue.own_facts()
    aside = ground.target.with_name("aside")
    ground.target.rename(aside)
    ground.target.mkdir()
    with pytest.raises(BackupFailed, match="ballot backup adopt"):
        ground.back_up("userdb")
    with pytest.raises(click.ClickException, match="mount their disk"):
        list(check_entries(place.catalogue, [made], []))
    refused = ground.run("now", "userdb")
    assert refused.returncode == 1
    assert "does not bear the mark of this home's backups" in refused.stderr
    assert list(ground.target.iterdir()) == []
    assert place.catalogue.own_facts() == before
    with of_the_ground(ground):
        done = CliRunner().invoke(backup, ["adopt"], catch_exceptions=False)
    assert "userdb: 1 of the backups" in done.stdout
    assert not place.catalogue.own()[0].usable
    assert ground.back_up("userdb").kind == "full"
    ground.target.rename(ground.target.with_name("second"))
    aside.rename(ground.target)
    with pytest.raises(BackupFailed, match="another installation's mark"):
        ground.back_up("userdb")


@contextmanager
def of_the_ground(ground: Ground) -> Iterator[None]:
    """The commands of this process are of the ground's own home and target."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BALLOT_HOME", str(ground.home.path))
        patched.setenv("BALLOT_BACKUP", str(ground.target))
        yield


def test_a_missing_key_is_said_again_by_who_would_back_up(ground: Ground) -> None:
    """The process ends with the sentence, and its log has an alarm."""
    env = ground.env
    keys.public_file(ground.stack.home, "userdb").unlink()
    done = subprocess.run(
        [ballot_command(), "backup", "serve", "userdb"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "There is no backup key for userdb" in done.stderr
    log = (ground.stack.home.logs / "backup-userdb.log").read_text().splitlines()
    last = json.loads(log[-1])
    assert (last["level"], last["action"]) == ("alarm", "backup_impossible")


@pytest.mark.long
def test_the_commands_say_what_is_wrong(ground: Ground) -> None:
    """No such backup, no target, no setting: a sentence and a non-zero exit."""
    for arguments, said in (
        (("verify", "nonsense"), "no backup called"),
        (("now", "nothing"), "Invalid value"),
    ):
        done = ground.run(*arguments)
        assert done.returncode
        assert said in done.stderr
    assert ground.run("now", "queue").returncode == 0
    shutil.rmtree(ground.target)
    for command, said in (("now", "mount it"), ("verify", "mount their disk")):
        done = ground.run(command)
        assert done.returncode == 1
        assert said in done.stderr


@pytest.mark.long
def test_servers_of_others_are_backed_up_with_the_roles_password_alone(ground: Ground) -> None:
    """With configured servers a home that has nothing but the role's password files makes backups."""
    found = ground.servers
    for cluster in CLUSTERS:
        name = f"{cluster}-{BACKUP}.password"
        shutil.copy(ground.stack.home.secrets / name, ground.home.secrets / name)
    env = {
        **ground.env,
        "BALLOT_HOME": str(ground.home.path),
        "BALLOT_VALKEY_URL": f"valkey://127.0.0.1:{found.valkey.port}",
        **{
            f"BALLOT_{name.upper()}_URL": f"postgresql://127.0.0.1:{found.postgres(name).port}"
            for name in CLUSTERS
        },
    }
    done = subprocess.run(
        [ballot_command(), "backup", "now"], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.count("verified")) == (0, 2), done.stderr
    done = subprocess.run(
        [ballot_command(), "backup", "now", "queue"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "one of your own servers" in done.stderr
    passwords = [path.read_text().strip() for path in ground.home.secrets.glob("*.password")]
    logged = [path.read_text(errors="replace") for path in ground.home.logs.iterdir()]
    assert passwords
    assert not [text for text in logged for password in passwords if password in text]


@pytest.mark.long
def test_a_person_at_a_terminal_sees_how_far_it_is(ground: Ground) -> None:
    """On a terminal a bar moves; its label names what is backed up."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [ballot_command(), "backup", "now", "userdb"],
        env=ground.env,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as child:
        assert child.wait(120) == 0
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "userdb" in shown
    assert "100%" in shown
