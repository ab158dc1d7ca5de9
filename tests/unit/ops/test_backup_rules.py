"""What is due, what is deleted, what an incremental adds to, and what is proven: rules without a server."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import up
from ops.backup import catalogue, checking, keys, marker, verify
from ops.backup.catalogue import Catalogue, Covered, Entry, backup_id
from ops.backup.checking import check_entries
from ops.backup.cluster import ClusterSource
from ops.backup.place import BackupFailed, Draft, Place
from ops.backup.postgres import COVERED, note_covered, parent_of, publish
from ops.backup.retention import enforce, outdated
from ops.backup.sealed_file import Header
from ops.backup.serve import due
from ops.backup.settings import DAY_US, BackupSettings, hindrances, what_is_backed_up
from runtime.addresses import configured
from runtime.home import Home
from runtime.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.backup.catalogue import Kind
    from ops.backup.keys import What

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


def test_what_runs_by_itself_says_which_keys_it_lacks(tmp_path: Path) -> None:
    """Off: nothing. On: all three, without keys a sentence each; a configured queue is not backed up here."""
    home = Home(tmp_path / "home")
    home.make()
    on = BackupSettings(tmp_path)
    assert what_is_backed_up(home, SETTINGS) == ()
    said = hindrances(home, on)
    assert len(said) == len(keys.WHATS)
    assert all("is NOT backed up. There is no backup key" in each for each in said)
    keys.make(home, tmp_path / "medium")
    assert hindrances(home, on) == ()
    keys.public_file(home, "userdb").write_text("damaged")
    (damaged,) = hindrances(home, on)
    assert damaged.startswith("userdb is NOT backed up.")
    assert what_is_backed_up(home, on) == keys.WHATS
    assert what_is_backed_up(replace(home, embedded=False), on) == ("voterdb", "userdb")


def wanted(what: What, entries: Sequence[Entry], now_us: int = NOW, *, key_id: str = "") -> str | None:
    """What is due of `what` with the settings that are the default."""
    return due(what, entries, SETTINGS, now_us, key_id=key_id)


def test_votes_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key `ballot up` warns and goes on; the processes are there to say it again."""
    home = Home(tmp_path / "home")
    home.make()
    monkeypatch.setenv("BALLOT_BACKUP", str(tmp_path))
    specs = up._backups(home)
    assert [spec.name for spec in specs] == ["backup-voterdb", "backup-userdb", "backup-queue"]
    assert capsys.readouterr().err.count("WARNING: ") == len(specs)


def test_what_is_due() -> None:
    """A full one when none is proven or the last is old, then incrementals; nothing right after one."""
    full = entry("full", 10 * MINUTE)
    assert wanted("voterdb", []) == "full"
    assert wanted("voterdb", [replace(full, verified=None)]) == "full"
    assert wanted("voterdb", [replace(full, deleted=True)]) == "full"
    assert wanted("voterdb", [full]) is None
    assert wanted("voterdb", [full], NOW + 5 * MINUTE) == "incremental"
    assert wanted("voterdb", [full], NOW + DAY_US) == "full"
    assert wanted("queue", [full]) == "queue"
    assert wanted("queue", [entry("queue", MINUTE)]) is None


def test_after_a_change_of_keys_all_is_due_at_once() -> None:
    """What only the key of before opens is no backup any more: the next one is a full one."""
    assert wanted("voterdb", [entry("full", MINUTE)], key_id="new") == "full"
    assert wanted("queue", [entry("queue", MINUTE)], key_id="new") == "queue"
    new = replace(entry("full", MINUTE), key_id="new")
    assert wanted("voterdb", [entry("full", 2 * MINUTE), new], key_id="new") is None


def piece(ago_us: int, number: int, *, timeline: int = 1) -> Entry:
    """The WAL segment of that number, sealed so long before NOW."""
    size = 16 << 20
    begins, ends = f"0/{number * size:X}", f"0/{(number + 1) * size:X}"
    return replace(entry("wal", ago_us), timeline=timeline, start_lsn=begins, end_lsn=ends)


def test_a_gap_in_the_wal_makes_a_base_due() -> None:
    """Also one that nobody remembers: told by the list, and gone with the next base."""
    size = 16 << 20
    base = replace(
        entry("full", 10 * MINUTE), start_lsn=f"0/{3 * size:X}", end_lsn=f"0/{3 * size + 99:X}", timeline=1
    )
    whole = [base, piece(9 * MINUTE, 3), piece(8 * MINUTE, 4), piece(8 * MINUTE, 5)]
    assert wanted("voterdb", whole) is None
    for gap in (
        [base, piece(8 * MINUTE, 4)],  # the rest of the segment in which the base ended
        [*whole, piece(7 * MINUTE, 7)],
        [*whole[:-1], replace(whole[-1], verified=False), piece(7 * MINUTE, 6)],
        [*whole, piece(7 * MINUTE, 5, timeline=2)],  # of after a restore or a promotion
    ):
        assert wanted("voterdb", gap) == "incremental"
        after = replace(base, id="next", started=NOW - MINUTE, end_lsn=f"0/{7 * size + 99:X}", timeline=2)
        assert wanted("voterdb", [*gap, after]) is None
    earlier = [piece(20 * MINUTE, 9), *whole, piece(MINUTE, 1), piece(MINUTE, 3)]
    assert wanted("voterdb", earlier) is None  # of before the base, and what came once more
    other = replace(entry("full", 2 * MINUTE), end_lsn=f"0/{5 * size:X}", timeline=1)
    assert wanted("voterdb", [other, piece(MINUTE, 5)]) is None  # it ended with its segment


def test_a_clock_that_was_set_back_makes_nothing_wait() -> None:
    """A backup of the future does not count as recent."""
    assert wanted("voterdb", [entry("full", -DAY_US)]) == "full"


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
    target.mkdir()
    place = Place.of(home, "voterdb", target)
    place.check()
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
    """Of three chains the oldest goes, children first; the WAL from the oldest kept one on stays.

    That is told by positions: a segment sealed under a clock that was months behind stays, and one that
    waited for the target goes although it was sealed late.
    """
    first, second, third = (
        replace(entry("full", days * DAY_US), timeline=1, start_lsn=f"0/{at}000028")
        for days, at in ((60, 2), (40, 5), (1, 9))
    )
    child = replace(entry("incremental", 59 * DAY_US, parent=first), timeline=1, start_lsn="0/3000028")
    late, needed, behind = wal(1, 4, 2), wal(1, 5, 39), wal(1, 6, 400)
    other = wal(2, 4, 3)  # of a time that begins before the base that is kept: nothing leads there any more
    history = replace(wal(2, 4, 3), end_lsn=None, start_lsn=None, id=entry("wal", 7).id)
    gone = outdated([first, child, late, second, needed, behind, other, history, third], NOW, 35 * DAY_US)
    assert {each.id for each in gone} == {late.id, other.id, child.id, first.id}
    assert [each.id for each in gone if each.kind != "wal"] == [child.id, first.id]
    assert outdated([late, behind], NOW, 35 * DAY_US) == ()


def wal(timeline: int, number: int, days: int) -> Entry:
    """A WAL segment, sealed so many days ago."""
    made = entry("wal", days * DAY_US + number + timeline)
    return replace(
        made,
        id=f"{made.id}-{timeline}-{number}",
        timeline=timeline,
        start_lsn=f"0/{number:X}000000",
        end_lsn=f"0/{number + 1:X}000000",
    )


def test_a_chain_that_was_not_found_is_not_deleted(tmp_path: Path) -> None:
    """The chain from before the days that are kept stays, proven once, also while it is missing."""
    old, young = entry("full", 40 * DAY_US), entry("full", DAY_US)
    assert outdated([old, young], NOW, 35 * DAY_US) == ()
    assert outdated([replace(old, missing=True), young], NOW, 35 * DAY_US) == ()
    assert outdated([replace(old, verified=False), young], NOW, 35 * DAY_US) == (
        replace(old, verified=False),
    )


def test_nothing_is_called_deleted_while_the_target_is_away(tmp_path: Path) -> None:
    """Nothing mounted, or another's disk: one sentence, no fact, no file gone."""
    place = _place(tmp_path, number=2)
    before = place.catalogue.own()
    aside = place.target.with_name("aside")
    place.target.rename(aside)
    place.target.mkdir()
    with pytest.raises(BackupFailed, match="ballot backup adopt"):
        enforce(place, NOW + 100 * DAY_US, DAY_US)
    assert list(place.target.iterdir()) == []
    assert place.catalogue.own() == before


def test_whose_a_target_is(tmp_path: Path) -> None:
    """Empty it is marked at first use; then another home, a used directory, an adopted one are refused."""
    place, other = _place(tmp_path, number=0), Home(tmp_path / "other")
    other.make()
    keys.make(other, tmp_path / "other-medium")
    theirs = Place.of(other, "voterdb", place.target)
    place.check()
    with pytest.raises(BackupFailed, match="another installation's mark"):
        theirs.check()
    marker.adopt(other, place.target)
    theirs.check()
    with pytest.raises(BackupFailed, match="another installation's mark"):
        place.check()
    used = tmp_path / "used"
    used.mkdir()
    (used / "photos").touch()
    third = Home(tmp_path / "third")
    third.make()
    with pytest.raises(marker.NotOurs, match="does not bear the mark"):
        marker.claim(third, used)
    assert not (used / marker.MARKER).exists()
    marker.adopt(third, used)
    assert not marker.claim(third, used)
    (used / marker.MARKER).write_text("damaged")
    assert marker.is_anothers(third, used)


def test_a_copy_of_the_home_is_not_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on writing keeps the target; a copy from before deletes and writes nothing there."""
    place = _place(tmp_path, number=0)
    place.check()
    shutil.copytree(place.home.path, tmp_path / "copy")
    copy = Place.of(Home(tmp_path / "copy"), "voterdb", place.target)
    place.check()
    copy.check()  # within the minute they cannot be told apart
    monkeypatch.setattr(marker, "TURN_S", -1.0)
    for _ in range(3):
        place.check()
        assert marker.is_ours(place.home, place.target)
    with pytest.raises(BackupFailed, match="copy of it, or was put back to an earlier state"):
        copy.check()
    assert marker.is_anothers(copy.home, place.target)
    assert marker.is_used_by_a_copy(copy.home, place.target)
    assert not marker.is_used_by_a_copy(place.home, place.target)
    draft = place.folder / "20250701T090000Z-full.part"
    draft.touch()
    copy.remove_drafts(".part")
    assert draft.exists()
    marker.adopt(copy.home, place.target)
    copy.check()
    with pytest.raises(BackupFailed, match="another installation's mark"):
        place.check()


def test_a_turn_that_was_not_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between note and mark, or on a full disk: the home goes on; marks of before turns do too."""
    place = _place(tmp_path, number=0)
    for name, old in ((marker.NOTE, place.home.backup), (marker.MARKER, place.target)):
        (old / name).write_text(json.dumps({"use": marker.USE, "id": "made by an older version"}))
    monkeypatch.setattr(marker, "TURN_S", -1.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for written in (full, marker._write_mark, full, full, marker._write_mark):
        with monkeypatch.context() as patch:
            patch.setattr(marker, "_write_mark", written)
            place.check()
        assert marker.is_ours(place.home, place.target)
    mark, note = (
        json.loads(path.read_text())
        for path in (place.target / marker.MARKER, place.home.backup / marker.NOTE)
    )
    assert mark["turn"] == note["turn"] is not None


def test_an_event_for_which_there_is_no_password_fails_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As one that the cluster does not take: it is logged, and what it was about goes on."""
    env = {f"BALLOT_{name}_URL": f"postgresql://127.0.0.1:1/{name.lower()}" for name in ("VOTERDB", "USERDB")}
    given = configured({**env, "BALLOT_VALKEY_URL": "valkey://127.0.0.1:1"})
    found = Servers(Home(tmp_path / "home", embedded=False), _configured=given)
    ClusterSource(found, "userdb").event("backup.verified", {})
    said = capfd.readouterr().err
    assert "event_not_written" in said
    assert "userdb-ballot_backup.password is missing" in said


def test_two_homes_neither_trust_nor_delete_each_others(tmp_path: Path) -> None:
    """What only the list beside the backups tells is no parent, nothing to delete, and covers nothing."""
    place = _place(tmp_path, number=3)
    other = Home(tmp_path / "other")
    other.make()
    keys.make(other, tmp_path / "other-medium")
    marker.adopt(other, place.target)
    theirs = Place.of(other, "voterdb", place.target)
    assert len(theirs.catalogue.entries()) == 3
    assert theirs.catalogue.own() == ()
    assert parent_of(theirs) is None
    assert wanted("voterdb", theirs.catalogue.own(), key_id=theirs.public.id) == "full"
    false = entry("full", -70 * 365 * DAY_US)
    liar = Catalogue(place.home, "voterdb", None)
    liar.made(replace(false, covers=(Covered("b", 0, "stored", "9-9"),)))
    liar.append("verified", false.id, NOW, ok=True)
    copy = theirs.folder / "catalogue.jsonl"
    copy.write_bytes((place.home.backup / "voterdb.catalogue.jsonl").read_bytes())
    assert theirs.catalogue.entries()[-1].usable
    note_covered(other, theirs.catalogue)
    assert not (other.backup / COVERED).exists()
    files = set(theirs.folder.iterdir())
    draft = theirs.folder / "20250101T000000Z-full.part"
    draft.touch()
    place.remove_drafts(".part")
    assert draft.exists()
    draft.unlink()
    enforce(theirs, NOW + 400 * DAY_US, DAY_US)
    assert set(theirs.folder.iterdir()) == files


def test_a_disk_that_is_away_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone, unmounted, an input error: said, and on no list; what was missing and is back counts again."""
    place = _place(tmp_path, number=2)
    place = replace(place, catalogue=Catalogue(place.home, "voterdb", place.target))
    first, second = place.catalogue.own()
    facts = len(place.catalogue.own_facts())
    aside = place.folder.with_name("aside")
    place.folder.rename(aside)
    with pytest.raises(click.ClickException, match="mount their disk"):
        list(check_entries(place.catalogue, [first, second], []))
    aside.rename(place.folder)
    mark = place.target / marker.MARKER
    mark.rename(tmp_path / "mark")
    with pytest.raises(click.ClickException, match="mount their disk"):
        list(check_entries(place.catalogue, [first, second], []))
    (tmp_path / "mark").rename(mark)

    def broken(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(checking, "open_regular", broken)
        verdicts = list(check_entries(place.catalogue, [first, second], []))
    assert all(each.fault is not None and not each.judged for each in verdicts)
    assert len(place.catalogue.own_facts()) == facts
    file = place.folder / first.file
    file.rename(tmp_path / "file")
    (gone,) = check_entries(place.catalogue, [first], [])
    assert gone.fault == "The file is missing."
    assert not place.catalogue.own()[0].usable
    assert place.catalogue.own()[0].proven
    (tmp_path / "file").rename(file)
    as_made = replace(place.catalogue.own()[0], sha256=hashlib.sha256(b"x").hexdigest())
    (back,) = check_entries(place.catalogue, [as_made], [])
    assert back.fault is None
    assert place.catalogue.own()[0].usable


def test_what_cannot_be_listed_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home's disk is full: no file is left on the target, and the next attempt waits a while."""
    place = _place(tmp_path, number=1)
    before = set(place.folder.iterdir())

    def full(*_arguments: object, **_details: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Catalogue, "append", full)
    with Draft(place, kind="wal", backup_id="20250701T090000Z-wal-00000001.history") as draft:
        draft.finish()
        with pytest.raises(BackupFailed, match="No space left on device"):
            publish(place, draft, entry("wal", 0))
    assert set(place.folder.iterdir()) == before
    with pytest.raises(BackupFailed, match="could not be written a moment ago"):
        place.check()
    monkeypatch.undo()
    place.catalogue.made(entry("full", 0))
    place.check()


def test_what_was_listed_and_taken_away_is_listed_as_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is there, and bringing it to the disk failed: no restore begins from a file that is gone."""
    place = _place(tmp_path, number=1)
    add = catalogue._add

    def fault(path: Path, lines: list[bytes]) -> None:
        add(path, lines)
        if b'"made"' in lines[0]:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(catalogue, "_add", fault)
    with Draft(place, kind="full", backup_id=entry("full", 0).id) as draft:
        draft.finish()
        with pytest.raises(BackupFailed, match="Input/output error"):
            publish(place, draft, entry("full", 0))
    (listed,) = (each for each in place.catalogue.own() if each.id == entry("full", 0).id)
    assert listed.deleted
    assert not (place.folder / listed.file).exists()


def test_old_files_that_no_list_knows_go(tmp_path: Path) -> None:
    """What a killed process left unlisted goes when it is old; not where nothing at all is listed."""
    place = _place(tmp_path, number=1)
    old = place.folder / f"{entry('full', 90 * DAY_US).file}"
    foreign = place.folder / entry("full", 91 * DAY_US).file
    for path, key in ((old, place.public.id), (foreign, "another")):
        path.write_bytes(Header(what="voterdb", kind="full", id=path.stem, key_id=key).line)
    for path in (place.folder / entry("full", DAY_US).file, place.folder / "somebody's.sealed"):
        path.touch()
    empty = replace(place, catalogue=Catalogue(place.home, "userdb", place.target))
    enforce(empty, NOW, 35 * DAY_US)
    assert old.exists()
    enforce(place, NOW, 35 * DAY_US)
    assert not old.exists()
    assert foreign.exists()
    assert len(list(place.folder.glob("*.sealed"))) == 4


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
