"""The catalogue: facts in the home and beside the backups, and what is left when one of them is lost."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.backup import marker
from ops.backup.catalogue import Catalogue, Covered, Entry, backup_id
from runtime import locks
from runtime.home import Home

if TYPE_CHECKING:
    from pathlib import Path

T = 1_751_360_400_000_000  # 2025-07-01T09:00:00Z


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def target(tmp_path: Path, home: Home) -> Path:
    """A target that the home has marked."""
    path = tmp_path / "target"
    path.mkdir()
    marker.claim(home, path)
    return path


def entry(kind: str = "full", minute: int = 0, parent: str | None = None) -> Entry:
    """Return a backup begun that many minutes after T."""
    started = T + minute * 60_000_000
    name = backup_id(kind, started)
    return Entry(
        id=name,
        kind="incremental" if kind == "incremental" else "full",
        file=name + ".sealed",
        bytes=10,
        sha256="ab" * 32,
        key_id="cd" * 8,
        started=started,
        ended=started + 5_000_000,
        parent=parent,
        start_lsn="0/2000028",
        end_lsn="0/2000120",
        timeline=1,
        covers=(Covered("b", 0, "stored", "5-1"),),
    )


def test_facts_make_an_entry(home: Home, target: Path) -> None:
    """Made, proven, deleted: each fact shows in the entry, all of what was said of it unchanged."""
    catalogue = Catalogue(home, "voterdb", target)
    made = entry()
    catalogue.made(made)
    assert catalogue.entries() == (made,)
    assert not made.usable
    catalogue.append("verified", made.id, T + 9, ok=True)
    (proven,) = catalogue.entries()
    assert proven == replace(made, verified=True, verified_at=T + 9)
    assert proven.usable
    catalogue.append("verified", made.id, T + 10, ok=False, reason="flipped")
    assert catalogue.entries()[0].verified is False
    catalogue.append("deleted", made.id, T + 11)
    assert catalogue.entries()[0].deleted
    catalogue.append("restored", made.id, T + 12)
    assert len(catalogue.facts()) == 5


def test_a_lost_home_reads_the_copy(home: Home, target: Path, tmp_path: Path) -> None:
    """What stands beside the backups says the same as the home's list."""
    catalogue = Catalogue(home, "voterdb", target)
    catalogue.made(entry())
    catalogue.append("verified", entry().id, T, ok=True)
    other = Home(tmp_path / "other")
    other.make()
    assert Catalogue(other, "voterdb", target).entries() == catalogue.entries()
    assert Catalogue(other, "voterdb", None).entries() == ()
    assert Catalogue(other, "userdb", target).entries() == ()


def test_the_copy_does_not_overrule_the_home(home: Home, target: Path) -> None:
    """Whoever holds the target cannot call a backup deleted, proven, or another one."""
    catalogue = Catalogue(home, "voterdb", target)
    catalogue.made(entry())
    copy = target / "voterdb" / "catalogue.jsonl"
    false = copy.read_bytes().replace(b'"bytes":10', b'"bytes":99')
    false += b'{"at":"2025-07-01T09:00:00.000000Z","fact":"deleted","id":"%s"}\n' % entry().id.encode()
    copy.write_bytes(false)
    assert catalogue.entries() == (entry(),)


def test_a_copy_that_was_away_is_caught_up(home: Home, target: Path) -> None:
    """Facts written while the target could not be are in the copy with the next one that can."""
    catalogue = Catalogue(home, "voterdb", target)
    aside = target.with_name("aside")
    target.rename(aside)
    target.mkdir()
    catalogue.made(entry())
    assert catalogue.entries() == (entry(),)
    assert list(target.iterdir()) == []  # a mount point with nothing mounted is left alone
    target.rmdir()
    aside.rename(target)
    catalogue.append("verified", entry().id, T, ok=True)
    assert (target / "voterdb" / "catalogue.jsonl").read_bytes() == (
        home.backup / "voterdb.catalogue.jsonl"
    ).read_bytes()


def test_a_copy_that_hangs_keeps_nobody_from_the_homes_list(
    home: Home, target: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody stands in the copy for ever: facts are on disk at home, and in the copy later."""
    monkeypatch.setattr("ops.backup.catalogue.LOCK_WAIT_S", 0.05)
    catalogue = Catalogue(home, "voterdb", target)
    with locks.exclusive(home.backup / "voterdb.catalogue-copy.lock"):
        catalogue.made(entry())
        catalogue.append("restored", entry().id, T)
    assert capfd.readouterr().err.count("catalogue_not_copied") == 2
    assert [fact["fact"] for fact in catalogue.own_facts()] == ["made", "restored"]
    catalogue.append("verified", entry().id, T, ok=True)
    copy, own = target / "voterdb" / "catalogue.jsonl", home.backup / "voterdb.catalogue.jsonl"
    assert copy.read_bytes() == own.read_bytes()


def test_a_mark_that_cannot_be_read_just_now_fails_no_listing(
    home: Home, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the home's list is listed: to say that it is not would take its file away."""

    def fault(_: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(marker, "_read", fault)
    catalogue = Catalogue(home, "voterdb", target)
    catalogue.made(entry())
    assert catalogue.own() == (entry(),)


def test_the_target_leads_nowhere_else(home: Home, target: Path, tmp_path: Path) -> None:
    """A link or a pipe in the copy's place is neither written through nor waited for."""
    catalogue = Catalogue(home, "voterdb", target)
    victim, copy = tmp_path / "victim", target / "voterdb" / "catalogue.jsonl"
    victim.write_text("mine\n")
    copy.parent.mkdir()
    copy.symlink_to(victim)
    catalogue.made(entry())
    assert victim.read_text() == "mine\n"
    copy.unlink()
    os.mkfifo(copy)
    catalogue.append("verified", entry().id, T, ok=True)
    assert catalogue.entries()[0].usable


def test_torn_and_foreign_lines_are_passed_over(home: Home, target: Path) -> None:
    """Half a line of a crash, junk, a path that leads elsewhere: none of them hides the others."""
    catalogue = Catalogue(home, "voterdb", target)
    catalogue.made(entry())
    path = home.backup / "voterdb.catalogue.jsonl"
    evil = path.read_bytes().replace(entry().file.encode(), b"../../../etc/passwd")
    with path.open("ab") as file:
        file.write(b'{"junk\n[]\n{"fact":1,"id":2,"at":3}\n\xff\n' + evil.replace(b"090000Z", b"090001Z"))
        file.write(b'{"fact":"verified","id":"20250')
    catalogue.made(entry(minute=5))
    assert catalogue.entries() == (entry(), entry(minute=5))


def test_a_chain_leads_to_its_full_backup(home: Home, target: Path) -> None:
    """The members of a chain are given in order; one that is not listed, or a circle, gives none."""
    catalogue = Catalogue(home, "voterdb", target)
    first, second = entry(), entry("incremental", 1, entry().id)
    third = entry("incremental", 2, second.id)
    for each in (first, second, third):
        catalogue.made(each)
    assert catalogue.chain(third.id) == (first, second, third)
    assert catalogue.chain(first.id) == (first,)
    assert catalogue.chain("20250701T090000Z-queue") == ()
    orphan = entry("incremental", 3, "20250101T000000Z-full")
    catalogue.made(orphan)
    assert catalogue.chain(orphan.id) == ()
    circle = entry("incremental", 4, entry("incremental", 4).id)
    catalogue.made(circle)
    assert catalogue.chain(circle.id) == ()


def test_what_is_forgotten_is_gone_from_both(home: Home, target: Path) -> None:
    """Lines about long-deleted backups are left out; the others stay."""
    catalogue = Catalogue(home, "voterdb", target)
    catalogue.made(entry())
    catalogue.made(entry(minute=1))
    catalogue.forget(frozenset({entry().id}))
    assert catalogue.entries() == (entry(minute=1),)
    assert entry().id not in (target / "voterdb" / "catalogue.jsonl").read_text()


def test_writers_at_once_lose_nothing(home: Home, target: Path) -> None:
    """Four writers with lists of their own: every fact is there once, in home and copy."""

    def write(number: int) -> None:
        mine = Catalogue(home, "voterdb", target)
        for minute in range(5):
            mine.made(entry(minute=10 * number + minute))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Catalogue(home, "voterdb", target).facts()) == 20
    assert len((target / "voterdb" / "catalogue.jsonl").read_bytes().splitlines()) == 20
