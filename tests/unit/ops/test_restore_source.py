"""A directory of backups read without servers: lists, headers, labels, and files that are not as they say."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import click
import pytest

from ops.backup import keys
from ops.backup.catalogue import Catalogue, Entry
from ops.backup.restore_source import Source
from ops.backup.sealed_file import SealingWriter
from runtime.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FULL, ADDED = "20250701T090000Z-full", "20250701T091500Z-incremental"


def content(start: str, after: str | None = None) -> bytes:
    """A tar as a base backup begins."""
    label = f"START WAL LOCATION: {start} (file 000000010000000000000004)\nSTART TIMELINE: 1\n"
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
        keys.make(self.home, directory / "medium")
        self.key = keys.read_private(directory / "medium" / "voterdb.backup-key")

    def seal(self, name: str, data: bytes, *, listed: bool = False) -> Path:
        """Write one sealed file, and list it or not."""
        public = keys.read_public(self.home, "voterdb")
        path = self.target / "voterdb" / f"{name}.sealed"
        kind = name.rpartition("-")[2]
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
        return Source(self.home, "voterdb", self.target, self.key, own=own)


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
    source = Source(other.home, "voterdb", place.target, place.key, own=False)
    before = (place.target / "voterdb" / "catalogue.jsonl").read_bytes()
    source.note(FULL, 1, timeline=2, history="")
    assert (place.target / "voterdb" / "catalogue.jsonl").read_bytes() == before
    assert [fact["fact"] for fact in Catalogue(other.home, "voterdb", None).facts()] == ["restored"]
