"""The WAL that a restore opens: what was not proven to its end is never where PostgreSQL looks for it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import click
import pytest

from ops.backup import keys
from ops.backup.catalogue import Catalogue, Entry
from ops.backup.restore_archive import Archive
from ops.backup.restore_chain import Chain
from ops.backup.restore_cluster import Scratch
from tests.unit.ops.test_restore_source import FULL, Place

if TYPE_CHECKING:
    from pathlib import Path

AT = 20
"""Later than anything here: with a moment a gap ends no restore by itself."""


def named(number: int) -> str:
    """How a segment is called."""
    return f"{1:08X}{0:08X}{number:08X}"


def listed(place: Place, name: str, data: bytes) -> Entry:
    """Seal a segment or a timeline's history, and list it as the sealing does."""
    identity = f"20250701T100000Z-wal-{name}"
    path = place.seal(identity, data, kind="wal")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = keys.read_public(place.home, "voterdb").id
    entry = Entry(identity, "wal", path.name, path.stat().st_size, digest, key, 10, 11, segment=name)
    Catalogue(place.home, "voterdb", place.target).made(entry)
    return entry


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home with keys, and a target."""
    return Place(tmp_path)


def archive_of(place: Place, *wal: Entry, histories: dict[str, str] | None = None) -> tuple[Archive, Path]:
    """What a restore would open of `wal`, and where to."""
    base = Entry(FULL, "full", "", 1, "", "", 1, 2, start_lsn="0/28", end_lsn="0/100", timeline=1)
    scratch = Scratch(place.target.with_name("scratch"), "voterdb")
    scratch.wal.mkdir(parents=True)
    chain = Chain((base,), wal, 1, histories or {}, 11, {})
    return Archive(place.source(), chain, scratch), scratch.wal


def files(directory: Path) -> dict[str, bytes]:
    """What is there for PostgreSQL to read."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_segment_that_is_not_the_one_that_was_made_is_not_replayed(place: Place) -> None:
    """It opens, as anybody's does who has the public half: what comes before it is there, nothing else."""
    wal = [listed(place, named(number), b"genuine") for number in (1, 2, 3)]
    place.seal(wal[1].id, b"forged!", kind="wal")
    archive, there = archive_of(place, *wal)
    archive.open(AT)
    assert files(there) == {named(1): b"genuine"}
    assert archive.opened == 1


def test_a_damaged_segment_leaves_nothing_of_itself(place: Place) -> None:
    """Without a moment the restore ends with the reason; half a segment is nowhere."""
    wal = [listed(place, named(number), bytes(1 << 17)) for number in (1, 2)]
    path = place.target / "voterdb" / wal[1].file
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    archive, there = archive_of(place, *wal)
    with pytest.raises(click.ClickException, match=f"{path.name}.* so that nothing after"):
        archive.open(None)
    assert [*files(there)] == [named(1)]


def test_a_timelines_history_that_does_not_open_stops_no_restore(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a restore the list tells the same; else its number alone is kept, which no other timeline gets."""
    known, other = "00000002.history", "00000003.history"
    wal = [
        *(listed(place, name, b"1\t0/3000000\tx\n") for name in (known, other)),
        listed(place, named(1), b"x"),
    ]
    for entry in wal[:2]:
        path = place.target / "voterdb" / entry.file
        path.write_bytes(path.read_bytes()[:-20] + bytes(20))
    archive, there = archive_of(place, *wal, histories={known: "of the list"})
    archive.open(None)
    assert files(there) == {known: b"of the list", other: b"", named(1): b"x"}
    said = capsys.readouterr().err
    assert said.count("Passed over: ") == 1
    assert wal[1].file in said


def test_wal_that_was_moved_aside_goes_on_where_the_backups_end(place: Place) -> None:
    """Received before receiving began anew, and after: up to the first gap, a whole one before a part."""
    spool = place.home.data / "voterdb.wal-spool"
    received = {
        "before-20250701T100000Z": {named(2): b"2", f"{named(3)}.partial": b"begun", named(1): b"sealed"},
        "before-20250701T110000Z": {named(3): b"3", f"{named(4)}.partial": b"a little"},
        ".": {f"{named(4)}.partial": b"more", named(6): b"after the gap", f"{named(2)}.1.damaged": b""},
    }
    for folder, segments in received.items():
        (spool / folder).mkdir(parents=True, exist_ok=True)
        for name, content in segments.items():
            (spool / folder / name).write_bytes(content)
    archive, there = archive_of(place, listed(place, named(1), b"1"))
    archive.open(None)
    assert files(there) == {named(1): b"1", named(2): b"2", named(3): b"3", named(4): b"more"}
