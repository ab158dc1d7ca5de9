"""A directory of backups read without servers: lists, headers, labels, and files that are not as they say."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import click
import pytest

from ops.backup import keys, marker
from ops.backup.catalogue import Catalogue, Entry
from ops.backup.restore_source import Source
from ops.backup.sealed_file import SealingWriter
from runtime.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FULL, ADDED = "20250701T090000Z-full", "20250701T091500Z-incremental"


def content(start: str, after: str | None = None, size: int = 16 << 20) -> bytes:
    """A tar as a base backup of a cluster with WAL segments of `size` begins."""
    segment = f"{1:08X}{0:08X}{int(start.partition('/')[2], 16) // size:08X}"
    label = f"START WAL LOCATION: {start} (file {segment})\nSTART TIMELINE: 1\n"
    if after is not None:
        label += f"INCREMENTAL FROM LSN: {after}\nINCREMENTAL FROM TLI: 1\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("backup_label")
        info.size = len(label)
        tar.addfile(info, io.BytesIO(label.encode()))
    return out.getvalue()


class Place:
    """A home with keys in `directory`, and a target beside it."""

    def __init__(self, directory: Path) -> None:
        self.home = Home(directory / "home")
        self.home.make()
        self.target = directory / "target"
        (self.target / "voterdb").mkdir(parents=True)
        marker.adopt(self.home, self.target)
        keys.make(self.home, directory / "medium")
        self.key = keys.read_private(directory / "medium" / "voterdb.backup-key")

    def seal(self, name: str, data: bytes, *, listed: bool = False, kind: str | None = None) -> Path:
        """Write one sealed file, and list it or not."""
        public = keys.read_public(self.home, "voterdb")
        path = self.target / "voterdb" / f"{name}.sealed"
        kind = kind or name.rpartition("-")[2]
        with (
            path.open("wb") as file,
            SealingWriter(file, public.public_key, what="voterdb", kind=kind, backup_id=name) as writer,
        ):
            writer.write(data)
        if listed:
            entry = Entry(name, "full", path.name, path.stat().st_size, writer.sha256, public.id, 1, 2)
            Catalogue(self.home, "voterdb", self.target).made(entry)
        return path

    def source(self, *, own: bool = True) -> Source:
        """The directory, as a restore sees it."""
        return Source(self.home, "voterdb", self.target, [self.key], own=own)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home with keys, and a target."""
    return Place(tmp_path)


def read(source: Source, entry: Entry) -> bytes:
    """The whole content, proven."""
    with source.opened(entry) as stream:
        return stream.read(1 << 20)


def test_without_lists_an_increment_finds_what_it_adds_to(place: Place, tmp_path: Path) -> None:
    """By the place in the WAL that it begins from; what is sealed to another key is left out."""
    place.seal(FULL, content("0/4000028"))
    place.seal(ADDED, content("0/6000028", after="0/4000028"))
    other = Place(tmp_path / "other")
    foreign = other.seal("20250701T093000Z-full", content("0/8000028"))
    foreign.rename(place.target / "voterdb" / foreign.name)
    (place.target / "voterdb" / "20250701T094500Z-full.sealed").write_bytes(b"nonsense\n")
    full, added = place.source().entries()
    assert (full.id, full.start_lsn, full.timeline, full.parent) == (FULL, "0/4000028", 1, None)
    assert (added.id, added.parent) == (ADDED, FULL)


def test_each_file_is_opened_with_the_key_that_fits(place: Place, tmp_path: Path) -> None:
    """After a change of keys both are given; with one of them the other's files are named, not opened."""
    other = Place(tmp_path / "other")
    other.seal(ADDED, content("0/6000028")).rename(place.target / "voterdb" / f"{ADDED}.sealed")
    place.seal(FULL, content("0/4000028"))
    both = Source(place.home, "voterdb", place.target, [other.key, place.key], own=False)
    entries = both.entries()
    assert {entry.id for entry in entries} == {FULL, ADDED}
    assert all(both.flaw(entry) is None and read(both, entry) for entry in entries)
    one = place.source()
    flaws = {entry.id: one.flaw(entry) for entry in entries}
    assert flaws[FULL] is None
    assert f"was sealed to the key {other.key.key_id}" in str(flaws[ADDED])
    with pytest.raises(click.ClickException, match=f"sealed to the key {other.key.key_id}"):
        read(one, next(entry for entry in entries if entry.id == ADDED))


def test_without_lists_what_does_not_open_is_passed_over(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged base, a link and a pipe, all well named, keep nobody from restoring the rest; it is said."""
    folder = place.target / "voterdb"
    place.seal(FULL, content("0/8000028", size=64 << 20))
    damaged = place.seal(ADDED, content("0/C000028"))
    damaged.write_bytes(damaged.read_bytes()[:-100] + bytes(100))
    (folder / "20250701T093000Z-full.sealed").symlink_to(folder / f"{FULL}.sealed")
    os.mkfifo(folder / "20250701T094500Z-full.sealed")
    name = "000000010000000000000003"
    place.seal(f"20250701T095000Z-wal-{name}", b"", kind="wal")
    full, wal = place.source().entries()
    assert full.id == FULL
    assert (wal.segment, wal.start_lsn, wal.end_lsn) == (name, "0/C000000", "0/10000000")
    assert f"Passed over: {damaged}" in capsys.readouterr().err
    (folder / f"{FULL}.sealed").unlink()
    with pytest.raises(click.ClickException, match="does not open"):
        place.source().entries()


def test_a_file_that_others_made_with_the_public_key_is_not_used(place: Place) -> None:
    """It opens, and it is not the one that was made: the home's own list knows."""
    place.seal(FULL, b"genuine", listed=True)
    (entry,) = place.source().entries()
    assert read(place.source(), entry) == b"genuine"
    place.seal(FULL, b"forged!")
    with pytest.raises(click.ClickException, match="SHA-256 is another"):
        read(place.source(), entry)
    (place.target / "voterdb" / "catalogue.jsonl").unlink()
    with pytest.raises(click.ClickException, match="SHA-256 is another"):
        read(place.source(own=False), entry)


def test_a_file_under_another_files_name_is_not_used(place: Place) -> None:
    """Its header says what it is."""
    place.seal(FULL, b"genuine", listed=True)
    (entry,) = place.source().entries()
    place.seal(ADDED, b"another").rename(place.target / "voterdb" / f"{FULL}.sealed")
    with pytest.raises(click.ClickException, match=f"This is the backup {ADDED} of voterdb"):
        read(place.source(), entry)


def test_a_restore_from_elsewhere_adds_nothing_to_the_list_there(place: Place, tmp_path: Path) -> None:
    """The home notes it for itself: the other directory's list stays what is in that directory."""
    place.seal(FULL, b"genuine", listed=True)
    other = Place(tmp_path / "other")
    source = Source(other.home, "voterdb", place.target, [place.key], own=False)
    before = (place.target / "voterdb" / "catalogue.jsonl").read_bytes()
    source.note(FULL, 1, timeline=2, history="")
    assert (place.target / "voterdb" / "catalogue.jsonl").read_bytes() == before
    assert [fact["fact"] for fact in Catalogue(other.home, "voterdb", None).facts()] == ["restored"]
