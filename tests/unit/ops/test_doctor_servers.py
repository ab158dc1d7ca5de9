"""Each of the doctor's further checks says ok for what is well, and what to change for what is not."""

import socket
import threading
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

from ops.backup import marker
from ops.doctor import backups, clock, disk, durability, permissions, settings, versions, within
from ops.doctor.finding import Finding
from runtime.home import Home

MINUTE_S, DAY_S = 60.0, 86_400.0
ROOT = Path(__file__).resolve().parents[3]


def said(found: Iterable[Finding]) -> list[str]:
    """What was found, each with whether it is well."""
    return [f"{'ok' if each.ok else 'CHANGE'} {each.says}" for each in found]


def test_settings_are_what_each_process_wants() -> None:
    """None given is fine; a wrong one is said by the process that reads it, an unknown one by its name."""
    wrong = {"BALLOT_INFLIGHT_MAX": "many", "BALLOT_BACKUP": "here", "BALLOT_WORKER_PROCESES": "2"}

    assert said(settings.look({})) == ["ok 0 given, each as its process wants it"]
    assert said(settings.look(wrong)) == [
        "CHANGE intake: BALLOT_INFLIGHT_MAX is 'many'; it must be a whole number from 1 to 100000",
        "CHANGE backup: BALLOT_BACKUP is 'here'; it must be off or a directory's absolute path",
        "CHANGE BALLOT_WORKER_PROCESES is no setting of any process",
    ]


def test_the_known_settings_are_those_of_the_readme() -> None:
    """A setting in the README's table that the doctor does not know would be called a slip."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `BALLOT_")]
    named = {part.strip("` ") for line in rows for part in line.split("|")[1].split(",")}

    assert named - settings.KNOWN == set()


@pytest.mark.parametrize("name", durability.QUEUE)
def test_a_queue_that_could_lose_votes(name: str) -> None:
    """Each setting alone."""
    assert said(durability.of("queue", durability.QUEUE, durability.QUEUE)) == [
        "ok queue writes to disk before it answers, and is set to keep it so"
    ]
    [found] = durability.of("queue", durability.QUEUE | {name: "other"}, durability.QUEUE)
    assert said([found]) == [f"CHANGE queue has {name} other"]


def test_a_cluster_without_checksums_is_told_how_to_get_them() -> None:
    """It is no reload."""
    [found] = durability.of("voterdb", durability.POSTGRES | {"data_checksums": "off"}, durability.POSTGRES)

    assert found.change.endswith("run pg_checksums --enable")


def test_room_for_the_votes_to_come() -> None:
    """As much as open ballots need and a gibibyte more; files too, where they are counted."""
    gib = 1 << 30

    assert said(disk.room(3 * gib, 0, 0, gib)) == [
        "ok 3,072 MiB free; the votes still to come in open ballots may take 1,024 MiB"
    ]
    assert said(disk.room(3 * gib, 99, 1000, 3 * gib)) == [
        "CHANGE 3,072 MiB free; the votes still to come in open ballots may take 3,072 MiB",
        "CHANGE room for 99 more files",
    ]


def test_backups_on_the_same_disk_are_no_backups(tmp_path: Path) -> None:
    """Nor are those whose place is not there."""
    assert said(disk.apart(tmp_path, "off")) == []
    assert said(disk.apart(tmp_path, str(tmp_path))) == [
        "CHANGE backups go to the disk that they are copies of"
    ]
    assert "cannot be looked at" in said(disk.apart(tmp_path, str(tmp_path / "gone")))[0]


def test_backups_on_another_disk(tmp_path: Path) -> None:
    """Where this machine has a second one."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")

    assert said(disk.apart(tmp_path, str(other)))[0] == "ok backups go to another disk"


def test_clocks() -> None:
    """Ours by the kernel's word, the others' beside ours; the time that asking took is nobody's fault."""
    assert said([clock.ours(0x2001), clock.ours(0x40)]) == [
        "ok synchronised",
        "CHANGE not synchronised: nothing on this machine sets it",
    ]
    assert clock.ours(None).ok
    assert said([clock.beside("queue", 5_000_000, 4_000_000, 6_000_000)]) == [
        "ok queue agrees with this machine"
    ]
    assert said([clock.beside("queue", 5_000_000, 5_200_000, 5_300_000)]) == [
        "CHANGE queue is 0.200 s away from this machine"
    ]


def test_versions(tmp_path: Path) -> None:
    """Servers that are too old, and libraries that are not the lock's."""
    lock = tmp_path / "lock"
    lock.write_text(f"click=={metadata.version('click')} \\\n    --hash=sha256:00\n")
    as_locked = said(versions.libraries(lock))
    lock.write_text("click==0.0.1\nnot-installed==1\n")

    assert as_locked == ["ok libraries as in the lock (1 lines)"]
    assert said(versions.libraries(lock)) == [f"CHANGE click {metadata.version('click')}, the lock has 0.0.1"]
    assert versions.of_valkey({"valkey_version": "9.1.2", "redis_version": "7.2.4"}).ok
    assert not versions.of_valkey({"valkey_version": "7.2.9", "redis_version": "7.2.4"}).ok
    assert versions.of_valkey({"redis_version": "7.2.4"}).ok
    assert not versions.of_valkey({"redis_version": "7.0.15"}).ok
    assert versions.of_postgres("voterdb", "17.2").ok
    assert not versions.of_postgres("voterdb", "16.9").ok


def test_lines_of_the_lock_that_hold_elsewhere(tmp_path: Path) -> None:
    """Of a library's several lines the one for this Python and system is compared; an odd line is named."""
    there, lock = metadata.version("click"), tmp_path / "lock"
    here, elsewhere = "python_full_version >= '3.11'", "python_full_version < '3.11'"
    hashes = " \\\n    --hash=sha256:00\n"

    def compared(first: str, second: str, odd: str = "") -> list[str]:
        lock.write_text(f"click=={first} ; {here}{hashes}click=={second} ; {elsewhere}{hashes}{odd}")
        return said(versions.libraries(lock))

    assert compared(there, "0.0.1") == ["ok libraries as in the lock (1 lines)"]
    assert compared("0.0.1", there) == [f"CHANGE click {there}, the lock has 0.0.1"]
    assert compared(there, "0.0.1", "numpy==1 ; python_full_version is new\n") == [
        "CHANGE the lock's line of numpy 1 says in no known way where it holds"
    ]


def test_roles() -> None:
    """One that is missing, one that is not ours, one that may do anything."""
    found = {"ballot_worker": False, "ballot_desk": True, "eve": False, "postgres": True}

    assert said(permissions.roles("voterdb", found, {"ballot_worker", "ballot_desk", "ballot_checker"})) == [
        "CHANGE voterdb: the role ballot_checker is missing",
        "CHANGE voterdb: the role eve is none of ours",
        "CHANGE voterdb: the role ballot_desk may do anything",
    ]


def test_users_of_the_queue() -> None:
    """The order of the rules and the passwords do not matter; more rights, fewer, and other users do."""
    file = "# who\nuser admin on ~* &* +@all\nuser worker on resetchannels -@all ~{*}:votes +xack"
    file += " (~a +hset +hget)\n"
    off = "user default off sanitize-payload resetchannels -@all"
    admin = "user admin on sanitize-payload #00 ~* &* +@all"
    worker = "user worker on sanitize-payload #00 ~{*}:votes resetchannels -@all +xack"

    def judged(*lines: str) -> list[str]:
        return said(permissions.users(list(lines), file))

    assert judged(off, admin, f"{worker} (~a resetchannels -@all +hget +hset)") == [
        "ok queue: 2 users as users.acl has them"
    ]
    assert judged("user default on nopass ~* &* +@all", admin, f"{worker} +del (~a +hget +hset)") == [
        "CHANGE queue: the user default is on",
        "CHANGE queue: the user worker may more than users.acl says: +del",
    ]
    assert judged(off, admin, worker, "user eve on +@all") == [
        "CHANGE queue: the user eve is none of ours",
        "CHANGE queue: the user worker may less than users.acl says: (+hget +hset ~a)",
    ]
    assert judged(off, admin) == ["CHANGE queue: the user worker is missing"]


def test_the_age_of_what_was_verified() -> None:
    """None, one of this quarter of an hour, and one that is too old."""
    assert said([backups.verified("voterdb", None, 900, 0)]) == ["CHANGE voterdb: none that was verified"]
    assert backups.verified("voterdb", 0, 900, 30 * MINUTE_S).ok
    assert not backups.verified("voterdb", 0, 900, 61 * MINUTE_S).ok


def test_a_backup_that_was_never_restored_is_none() -> None:
    """A drill counts for a quarter of a year."""
    assert not backups.tried(None, None, 0).ok
    assert backups.tried(0, None, 30 * DAY_S).ok
    assert not backups.tried(0, None, 91 * DAY_S).ok
    assert not backups.tried(0, DAY_S, 30 * DAY_S).ok
    assert backups.tried(2 * DAY_S, DAY_S, 30 * DAY_S).ok


def test_a_private_half_in_the_home_is_found(tmp_path: Path) -> None:
    """Wherever it lies; its name is what `ballot backup keys` gives it."""
    clean = said(backups.private_halves(tmp_path))
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "voterdb.backup-key").write_text("")

    assert clean == []
    assert said(backups.private_halves(tmp_path)) == [
        f"CHANGE {tmp_path / 'backup' / 'voterdb.backup-key'} is the private half of a backup's key"
    ]


def test_backups_that_are_off_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with wrong settings nothing is guessed."""
    monkeypatch.delenv("BALLOT_BACKUP", raising=False)
    off = said(backups.backups(tmp_path))
    monkeypatch.setenv("BALLOT_BACKUP", "relative")

    assert off == ["CHANGE off"]
    assert said(backups.backups(tmp_path)) == ["ok not looked at: their settings are wrong, as said above"]


def test_a_target_of_another_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing mounted, or another home's: what is written nowhere is no backup."""
    home, target = Home(tmp_path / "home"), tmp_path / "target"
    home.make()
    target.mkdir()
    monkeypatch.setenv("BALLOT_BACKUP", str(target))
    wanted = f"CHANGE {target} does not bear the mark of this home's backups: nothing is written there"
    assert wanted not in said(backups.backups(home.path))
    marker.claim(home, target)
    assert wanted not in said(backups.backups(home.path))
    mark = target / marker.MARKER
    mark.write_text(mark.read_text().replace('"turn": "', '"turn": "of a copy'))
    copied = f"CHANGE {target} is used by another home with this one's mark: nothing is written there"
    assert copied in said(backups.backups(home.path))
    mark.unlink()
    assert wanted in said(backups.backups(home.path))


def test_a_target_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what was found, in both checks that look at it."""
    home, target = Home(tmp_path / "home"), tmp_path / "target"
    home.make()
    target.mkdir()
    marker.claim(home, target)
    monkeypatch.setenv("BALLOT_BACKUP", str(target))
    answers = threading.Event()
    stat = Path.stat

    def hang(path: Path, *given: object, **named: object) -> object:
        if path == target:
            answers.wait(30)
        return stat(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(within, "DISK_S", 0.1)
    monkeypatch.setattr(marker, "is_used_by_a_copy", lambda *_: answers.wait(30))
    monkeypatch.setattr(Path, "stat", hang)
    try:
        found = [*said(backups.backups(home.path)), *said(disk.apart(home.path, str(target)))]
    finally:
        answers.set()
    assert f"CHANGE {target} does not answer, so that nothing is written there" in found
    assert "CHANGE the target of the backups cannot be looked at: it does not answer within 0 s" in found


def test_servers_that_do_not_run_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, and nothing is made: an empty directory stays empty."""
    for name in ("VALKEY", "VOTERDB", "USERDB"):
        monkeypatch.delenv(f"BALLOT_{name}_URL", raising=False)
    looks = (durability.durability, permissions.permissions)

    found = [each for look in looks for each in said(look(tmp_path))]

    assert set(found) == {"ok not looked at: it does not run"}
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configured one that is away is no reason to call all well."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setenv("BALLOT_VALKEY_URL", f"valkey://intake:x@127.0.0.1:{port}")
        for name in ("VOTERDB", "USERDB"):
            monkeypatch.setenv(f"BALLOT_{name}_URL", f"postgresql://a:b@127.0.0.1:{port}/x")
        found = list(durability.durability(tmp_path))

    assert [each.ok for each in found] == [False, False, False]
    assert found[0].says == "not looked at: it does not answer (ConnectionError)"
