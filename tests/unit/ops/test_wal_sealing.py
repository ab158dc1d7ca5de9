"""What was received of the WAL leaves the spool when it is sealed, and never otherwise."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ops.backup import keys, wal_sealing
from ops.backup.place import BackupFailed, Place
from ops.backup.postgres import publish
from ops.backup.wal_sealing import WalSealing
from runtime.home import Home

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
WAIT_S = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home with keys, and a target."""
    home = Home(tmp_path / "home")
    home.make()
    keys.make(home, tmp_path / "medium")
    (tmp_path / "target").mkdir()
    place = Place.of(home, "userdb", tmp_path / "target")
    place.check()
    return place


@pytest.fixture
def sealing(place: Place, tmp_path: Path) -> WalSealing:
    """The sealing of a spool."""
    (tmp_path / "spool").mkdir()
    return WalSealing(place, tmp_path / "spool")


def name_of(number: int) -> str:
    """How a segment is called."""
    return f"{1:08X}{0:08X}{number:08X}"


def receive(folder: Path, number: int, content: bytes = b"\0") -> Path:
    """A segment of a megabyte, whole."""
    path = folder / name_of(number)
    path.write_bytes(bytes(8) + (number * MIB).to_bytes(8, "little") + content * (MIB - 16))
    return path


def sealed(place: Place) -> list[str | None]:
    """What is in the list, in the order in which it was sealed."""
    return [entry.segment for entry in place.catalogue.own() if entry.usable]


def test_nothing_unsealed_goes_when_the_archive_begins_anew(
    place: Place, sealing: WalSealing, tmp_path: Path
) -> None:
    """With the target away it is moved aside, and sealed from there before what came after it."""
    spool, away = tmp_path / "spool", tmp_path / "away"
    old = [receive(spool, number) for number in (7, 8, 9)]
    (spool / f"{name_of(10)}.partial").write_bytes(b"begun")
    (spool / f"{name_of(6)}.damaged").write_bytes(b"damaged")
    place.target.rename(away)
    sealing.set_aside()
    assert len(list(spool.iterdir())) == 1  # pg_receivewal goes on from what lies here
    sealing.set_aside()
    receive(spool, 8, b"x")
    with pytest.raises(BackupFailed, match="mount it"):
        sealing.sweep()
    (aside,) = [path for path in spool.iterdir() if path.is_dir()]
    assert {path.name for path in aside.iterdir()} > {path.name for path in old}
    away.rename(place.target)
    assert sealing.sweep() == 4
    assert sealed(place) == [name_of(number) for number in (7, 8, 9, 8)]
    assert {path.name for path in aside.iterdir()} == {f"{name_of(10)}.partial", f"{name_of(6)}.damaged"}
    assert list(spool.iterdir()) == [aside]


def test_beginnings_are_kept_of_the_last_times_only(sealing: WalSealing, tmp_path: Path) -> None:
    """However often the archive begins anew, the spool does not fill with what will never be whole."""
    for _ in range(wal_sealing.LEFT_MAX + 3):
        (tmp_path / "spool" / f"{name_of(1)}.partial").write_bytes(b"begun")
        sealing.set_aside()
    sealing.sweep()
    assert len(list((tmp_path / "spool").iterdir())) == wal_sealing.LEFT_MAX


def test_what_took_the_name_meanwhile_stays(
    place: Place, sealing: WalSealing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved aside and received anew while it was being sealed: the new one is not taken for the old."""
    spool = tmp_path / "spool"
    receive(spool, 3)

    def meanwhile(*given: object) -> None:
        publish(*given)  # type: ignore[arg-type]
        monkeypatch.setattr(wal_sealing, "publish", publish)
        sealing.set_aside()
        receive(spool, 3, b"x")

    monkeypatch.setattr(wal_sealing, "publish", meanwhile)
    sealing.sweep()
    assert (spool / name_of(3)).exists()
    sealing.sweep()
    assert sealed(place) == [name_of(3)] * 2
    assert list(spool.iterdir()) == []


def test_each_segment_is_sealed_to_the_key_of_now(place: Place, sealing: WalSealing, tmp_path: Path) -> None:
    """After a change of keys, and with none there it waits."""
    spool, home = tmp_path / "spool", place.home
    receive(spool, 1)
    sealing.sweep()
    for what in keys.WHATS:
        keys.public_file(home, what).unlink()
    left = receive(spool, 2)
    with pytest.raises(Exception, match="no backup key"):
        sealing.sweep()
    assert left.exists()
    (new,) = [key for key in keys.make(home, tmp_path / "new") if key.what == "userdb"]
    sealing.sweep()
    assert [entry.key_id for entry in place.catalogue.own()] == [place.public.id, new.id]


def test_a_segment_that_does_not_follow_on_is_told(sealing: WalSealing, tmp_path: Path) -> None:
    """The list is looked at when there may be a gap, and not with every segment."""
    spool = tmp_path / "spool"
    for numbers, told in (((4, 5), True), ((6,), False), ((8,), True), ((9,), False)):
        sealing.looks.clear()
        for number in numbers:
            receive(spool, number)
        sealing.sweep()
        assert sealing.looks.is_set() is told


def test_a_damaged_segment_wants_a_base(place: Place, sealing: WalSealing, tmp_path: Path) -> None:
    """It is kept under another name, and what follows it is sealed."""
    spool = tmp_path / "spool"
    receive(spool, 1).write_bytes(b"cut")
    receive(spool, 2)
    sealing.sweep()
    assert sealing.needs_base.is_set()
    assert sealed(place) == [name_of(2)]
    (kept,) = spool.iterdir()
    assert kept.name.startswith(name_of(1))
    assert kept.name.endswith(".damaged")


def test_what_will_never_be_sealed_is_bounded_and_fills_no_spool(
    sealing: WalSealing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is damaged or was only begun a few of the newest stay, by number and by size."""
    spool = tmp_path / "spool"
    monkeypatch.setattr(wal_sealing, "LEFT_BYTES_MAX", 3 * MIB)
    for _ in range(3):
        (spool / f"{name_of(1)}.partial").write_bytes(bytes(2 * MIB))
        sealing.set_aside()
    (left,) = spool.rglob("*.partial")
    assert left.parent == max(spool.glob("before-*"))
    for number in range(wal_sealing.LEFT_MAX + 3):
        receive(spool, number).write_bytes(b"cut")
        sealing.sweep()
    damaged = {path.name[:24] for path in spool.rglob("*.damaged")}
    assert len(damaged) == wal_sealing.LEFT_MAX
    assert sealing.waiting_bytes() == 0
    (spool / f"{name_of(20)}.partial").write_bytes(bytes(MIB))
    receive(left.parent, 30)
    assert sealing.waiting_bytes() == 2 * MIB


def test_one_seal_that_takes_long_is_an_alarm(
    sealing: WalSealing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Said by whoever watches, while the sealing itself hangs; given up, it takes no further segment."""
    hangs, reached = threading.Event(), threading.Event()

    def slow(*given: object) -> None:
        reached.set()
        hangs.wait(WAIT_S)
        publish(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(wal_sealing, "publish", slow)
    left = [receive(tmp_path / "spool", number) for number in (1, 2)]
    thread = threading.Thread(target=sealing.sweep)
    thread.start()
    try:
        assert reached.wait(WAIT_S)
        sealing.watch()
        assert "wal_sealing_stuck" not in capfd.readouterr().err
        monkeypatch.setattr(wal_sealing, "SEAL_LONG_S", 0.0)
        for _ in range(3):
            sealing.watch()
        said = capfd.readouterr().err
        assert said.count("wal_sealing_stuck") == 1
        assert '"level":"alarm"' in said
        sealing.give_up()
    finally:
        hangs.set()
        thread.join(WAIT_S)
    assert [path.exists() for path in left] == [False, True]
