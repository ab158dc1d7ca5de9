"""What is due, what is deleted, what an incremental adds to, and what is proven: rules without a server."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.backup import keys, verify
from ops.backup.catalogue import Catalogue, Entry, backup_id
from ops.backup.place import BackupFailed, Place
from ops.backup.postgres import parent_of
from ops.backup.retention import enforce, outdated
from ops.backup.serve import due
from ops.backup.settings import DAY_US, BackupSettings, what_is_backed_up
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.backup.catalogue import Kind

MINUTE = 60_000_000
NOW = 1_751_360_400_000_000
SETTINGS = BackupSettings(None)


def entry(kind: Kind, ago_us: int, *, parent: Entry | None = None, verified: bool | None = True) -> Entry:
    """A backup begun so long before NOW."""
    started = NOW - ago_us
    name = backup_id(kind, started)
    return Entry(
        id=name,
        kind=kind,
        file=name + ".sealed",
        bytes=1,
        sha256="",
        key_id="",
        started=started,
        ended=started + 1,
        parent=None if parent is None else parent.id,
        verified=verified,
    )


def test_settings_are_all_checked_at_once() -> None:
    """Every fault in one message; off is the default."""
    assert BackupSettings.of({}) == SETTINGS
    with pytest.raises(click.ClickException) as caught:
        BackupSettings.of(
            {
                "BALLOT_BACKUP": "relative",
                "BALLOT_BACKUP_MINUTES": "0",
                "BALLOT_BACKUP_FULL_HOURS": "x",
                "BALLOT_BACKUP_KEEP_DAYS": "-1",
            }
        )
    assert caught.value.message.count("\n") == 3
    with pytest.raises(click.ClickException, match="must not be longer"):
        BackupSettings.of({"BALLOT_BACKUP_MINUTES": "120", "BALLOT_BACKUP_FULL_HOURS": "1"})
    with pytest.raises(click.ClickException, match="Backups are off"):
        SETTINGS.required_target()


def test_what_runs_by_itself_needs_its_keys(tmp_path: Path) -> None:
    """Off: nothing. On: all three, without keys a sentence; a configured queue is not backed up here."""
    home = Home(tmp_path / "home")
    home.make()
    on = BackupSettings(tmp_path)
    assert what_is_backed_up(home, SETTINGS) == ()
    with pytest.raises(click.ClickException, match="ballot backup keys"):
        what_is_backed_up(home, on)
    keys.make(home, tmp_path / "medium")
    assert what_is_backed_up(home, on) == keys.WHATS
    assert what_is_backed_up(replace(home, embedded=False), on) == ("voterdb", "userdb")


def test_what_is_due() -> None:
    """A full one when none is proven or the last is old, then incrementals; nothing right after one."""
    full = entry("full", 10 * MINUTE)
    assert due("voterdb", [], SETTINGS, NOW) == "full"
    assert due("voterdb", [replace(full, verified=None)], SETTINGS, NOW) == "full"
    assert due("voterdb", [replace(full, deleted=True)], SETTINGS, NOW) == "full"
    assert due("voterdb", [full], SETTINGS, NOW) is None
    assert due("voterdb", [full], SETTINGS, NOW + 5 * MINUTE) == "incremental"
    assert due("voterdb", [full], SETTINGS, NOW + DAY_US) == "full"
    assert due("queue", [full], SETTINGS, NOW) == "queue"
    assert due("queue", [entry("queue", MINUTE)], SETTINGS, NOW) is None


def test_a_clock_that_was_set_back_makes_nothing_wait() -> None:
    """A backup of the future does not count as recent."""
    assert due("voterdb", [entry("full", -DAY_US)], SETTINGS, NOW) == "full"


@pytest.mark.parametrize(
    ("before", "adds_to"), [(1, 0), (2, 0), (3, 2), (4, 0), (5, 4), (6, 4), (7, 6), (12, 8)]
)
def test_chains_stay_short(tmp_path: Path, before: int, adds_to: int) -> None:
    """The n-th backup after a full one adds to number n & (n - 1)."""
    place = _place(tmp_path, number=before)
    found = parent_of(place)
    assert found is not None
    assert found.id == place.catalogue.entries()[adds_to].id


def test_nothing_is_added_to_what_is_not_whole_and_there(tmp_path: Path) -> None:
    """Faulty, gone, another key's: such a backup and what adds to it are no parents."""
    place = _place(tmp_path, number=4)
    first, second, third, fourth = place.catalogue.entries()
    assert fourth.parent == third.id
    (place.folder / third.file).unlink()
    left = parent_of(place)
    assert left is not None
    assert left.id == first.id
    place.catalogue.append("verified", first.id, NOW, ok=False)
    assert parent_of(place) is None
    assert second.parent == first.id


def _place(tmp_path: Path, *, number: int) -> Place:
    """A place with a full backup and incrementals, each added as the rule says."""
    home = Home(tmp_path / "home")
    home.make()
    keys.make(home, tmp_path / "medium")
    target = tmp_path / "target"
    (target / "voterdb").mkdir(parents=True)
    place = Place.of(home, "voterdb", target)
    place.manifests.mkdir()
    for index in range(number):
        parent = parent_of(place)
        made = entry("full" if parent is None else "incremental", -index * MINUTE, parent=parent)
        made = replace(made, key_id=place.public.id)
        (place.folder / made.file).write_bytes(b"x")
        place.manifest(made.id).touch()
        place.catalogue.made(made)
        place.catalogue.append("verified", made.id, NOW, ok=True)
    return place


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Backups of up to three months: fulls, incrementals that add to earlier ones, some faulty."""
    found: list[Entry] = []
    ages = sorted(draw(st.sets(st.integers(1, 90 * 24), max_size=25)), reverse=True)
    for hours in ages:
        verified = draw(st.sampled_from([True, True, True, None, False]))
        parents = [each for each in found if each.kind in {"full", "incremental"}]
        adds: bool = draw(st.booleans())
        if parents and adds:
            parent = draw(st.sampled_from(parents))
            found.append(entry("incremental", hours * 60 * MINUTE, parent=parent, verified=verified))
        else:
            found.append(entry("full", hours * 60 * MINUTE, verified=verified))
    return found


def _whole(each: Entry, by_id: dict[str, Entry]) -> bool:
    while each.usable and each.parent is not None:
        if each.parent not in by_id:
            return False
        each = by_id[each.parent]
    return each.usable


@given(history=histories(), days=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_the_last_proven_chain_and_every_parent_stay(history: Sequence[Entry], days: int) -> None:
    """Whatever the history: nothing kept lacks its parent, the newest whole chain stays, and all young."""
    gone = {each.id for each in outdated(history, NOW, days * DAY_US)}
    kept = [each for each in history if each.id not in gone]
    by_id = {each.id: each for each in kept}
    assert all(each.parent is None or each.parent in by_id for each in kept)
    assert not [each for each in history if each.id in gone and each.ended >= NOW - days * DAY_US]
    whole = [each for each in history if _whole(each, {one.id: one for one in history})]
    if whole:
        assert whole[-1].id in by_id
        before = [each for each in whole if each.ended < NOW - days * DAY_US]
        assert not before or before[-1].id in by_id


def test_old_chains_and_their_wal_go() -> None:
    """Of three chains the oldest goes, children first; the WAL from the oldest kept one on stays."""
    first, second, third = (entry("full", days * DAY_US) for days in (60, 40, 1))
    child = entry("incremental", 59 * DAY_US, parent=first)
    old, needed = entry("wal", 50 * DAY_US), entry("wal", 39 * DAY_US)
    gone = outdated([first, child, old, second, needed, third], NOW, 35 * DAY_US)
    assert [each.id for each in gone] == [old.id, child.id, first.id]


def test_old_files_that_no_list_knows_go(tmp_path: Path) -> None:
    """What a killed process left unlisted goes when it is old; not where nothing at all is listed."""
    place = _place(tmp_path, number=1)
    old = place.folder / f"{entry('full', 90 * DAY_US).file}"
    for path in (old, place.folder / entry("full", DAY_US).file, place.folder / "somebody's.sealed"):
        path.touch()
    empty = replace(place, catalogue=Catalogue(place.home, "userdb", place.target))
    enforce(empty, NOW, 35 * DAY_US)
    assert old.exists()
    enforce(place, NOW, 35 * DAY_US)
    assert not old.exists()
    assert len(list(place.folder.glob("*.sealed"))) == 3


def test_copies_of_the_queue_thin_out() -> None:
    """The last day's all stay, before that the first of each day, and the newest proven one for ever."""
    today = [entry("queue", minutes * MINUTE) for minutes in (60, 30, 15)]
    earlier = [entry("queue", 3 * DAY_US + minutes * MINUTE) for minutes in (30, 15)]
    ancient = [entry("queue", 50 * DAY_US)]
    history = sorted([*today, *earlier, *ancient], key=lambda each: each.started)
    assert [each.id for each in outdated(history, NOW, 35 * DAY_US)] == [earlier[1].id, ancient[0].id]
    assert outdated(ancient, NOW, 35 * DAY_US) == ()


def manifest_of(files: dict[str, bytes], *, listed: dict[str, bytes] | None = None) -> bytes:
    """PostgreSQL's list of `files`, or of what it is to claim."""
    body = {
        "PostgreSQL-Backup-Manifest-Version": 2,
        "Files": [
            {"Path": path, "Size": len(data), "Checksum": hashlib.sha256(data).hexdigest()}
            for path, data in (listed or files).items()
            if not path.startswith("pg_wal/")
        ],
        "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/3000120"}],
    }
    text = json.dumps(body)[:-1].encode() + b",\n"
    return text + b'"Manifest-Checksum": "' + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


def tar_of(files: dict[str, bytes], manifest: bytes) -> bytes:
    """A base backup as pg_basebackup writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in {**files, "backup_manifest": manifest}.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


FILES = {
    "PG_VERSION": b"18\n",
    "base/1/2": bytes(9_000),
    "pg_wal/000000010000000000000002": bytes(16 << 20),
    "pg_wal/000000010000000000000003": bytes(16 << 20),
}


def proven(files: dict[str, bytes], manifest: bytes) -> verify.Manifest:
    """What is proven of a tar read in small pieces."""
    whole = tar_of(files, manifest)
    return verify.prove_base(iter([whole[at : at + 65_536] for at in range(0, len(whole), 65_536)]))


def test_a_base_backup_is_proven_file_by_file() -> None:
    """Whole: proven. A file missing, altered, WAL missing, the list altered or gone: each named."""
    good = manifest_of(FILES)
    assert proven(FILES, good).end_lsn == "0/3000120"
    for files, manifest, said in (
        ({**FILES, "base/1/2": bytes(8_999) + b"x"}, good, "base/1/2 is not as PostgreSQL listed it"),
        ({path: data for path, data in FILES.items() if path != "PG_VERSION"}, good, "PG_VERSION is missing"),
        (
            {path: data for path, data in FILES.items() if not path.endswith("3")},
            good,
            "0003, which the backup",
        ),
        (FILES, good.replace(b'"Size": 3', b'"Size": 4'), "not as PostgreSQL wrote it"),
        (FILES, b"", "no list of its files"),
        (FILES, b"[]", "not as PostgreSQL wrote it"),
    ):
        with pytest.raises(BackupFailed, match=said):
            proven(files, manifest)
    with pytest.raises(BackupFailed, match=r"damaged|no list"):
        verify.prove_base(iter([b"no tar at all" * 1000]))


def segment(number: int) -> bytes:
    """The beginning of a WAL segment, long enough."""
    return bytes(8) + ((number * (1 << 20)).to_bytes(8, "little")) + bytes((1 << 20) - 16)


def test_a_wal_segment_is_the_one_it_is_called() -> None:
    """Compressed or not; another's content, a cut one, a damaged one: refused."""
    name = "000000010000000000000005"
    whole = segment(5)
    packer = zlib.compressobj(1, zlib.DEFLATED, verify.GZIP_WINDOW)
    packed = packer.compress(whole) + packer.flush()
    digest = hashlib.sha256(whole).hexdigest()
    assert verify.prove_wal(iter([whole]), name) == verify.prove_wal(iter([packed]), name) == digest
    for content in (segment(6), whole[:-1], b"", packed[:-9], packed[:50] + b"\xff" + packed[51:]):
        with pytest.raises(BackupFailed):
            verify.prove_wal(iter([content]), name)
    with pytest.raises(BackupFailed):
        verify.prove_queue(iter([b"nothing"]))
