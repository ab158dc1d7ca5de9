"""What a restore takes of a list that does not tell everything, and what it says of its own place in it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import click
import pytest

from ops.backup import keys, restore
from ops.backup.catalogue import Catalogue, Entry
from ops.backup.restore import Order
from ops.backup.restore_database import Wanted, plan
from ops.backup.restore_report import as_text
from tests.unit.ops.test_restore_source import FULL, Place

if TYPE_CHECKING:
    from pathlib import Path

    from ops.backup.catalogue import Kind

HISTORY = "1\t0/3000100\tno reason\n"
MINUTE = 60_000_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home with keys, and a target."""
    return Place(tmp_path)


def listed(place: Place, name: str, data: bytes, minute: int, *, proven: bool = True) -> Entry:
    """Seal a backup, or with nothing but its name a piece of WAL, and list it as made that minute."""
    is_wal = "-" not in name
    kind: Kind = "wal" if is_wal else "full"
    path = place.seal(f"20250701T09{minute:02d}00Z-wal-{name}" if is_wal else name, data, kind=kind)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Entry(
        id=path.name.removesuffix(".sealed"),
        kind=kind,
        file=path.name,
        bytes=path.stat().st_size,
        sha256=digest,
        key_id=keys.read_public(place.home, "voterdb").id,
        started=minute * MINUTE,
        ended=minute * MINUTE + 1,
        segment=name if is_wal else None,
        timeline=int(name[:8], 16) if is_wal else 1,
        start_lsn=None if is_wal else "0/2000028",
        end_lsn=None if is_wal else "0/2000120",
    )
    catalogue = Catalogue(place.home, "voterdb", place.target)
    catalogue.made(entry)
    if proven:
        catalogue.append("verified", entry.id, entry.ended, ok=True)
    return entry


def test_a_restore_that_was_not_written_down_is_followed_all_the_same(place: Place) -> None:
    """The server told where the timeline began, and that was sealed with its WAL."""
    listed(place, FULL, b"", 1)
    listed(place, "000000010000000000000003", b"given up", 2)
    history = listed(place, "00000002.history", HISTORY.encode(), 5)
    listed(place, "000000020000000000000003", b"since", 6)
    chain = plan(place.source(), Wanted())
    assert (chain.timeline, chain.histories) == (2, {"00000002.history": HISTORY})
    assert [entry.segment for entry in chain.wal][-1] == "000000020000000000000003"
    (place.target / "voterdb" / history.file).unlink()
    with pytest.raises(click.ClickException, match="timeline 2, and nothing tells"):
        plan(place.source(), Wanted())


def test_a_base_that_was_never_proven_and_is_gone_is_passed_over(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could be listed and not kept stops no restore, unless it is what was asked for."""
    full = listed(place, FULL, b"", 1)
    lost = listed(place, "20250701T091000Z-full", b"", 10, proven=False)
    (place.target / "voterdb" / lost.file).unlink()
    assert [entry.id for entry in plan(place.source(), Wanted()).bases] == [full.id]
    assert f"Passed over: {lost.file}" in capsys.readouterr().err
    with pytest.raises(click.ClickException, match="is missing or not whole"):
        plan(place.source(), Wanted(base=lost.id))
    proven = listed(place, "20250701T092000Z-full", b"", 20)
    (place.target / "voterdb" / proven.file).unlink()
    with pytest.raises(click.ClickException, match="is missing or not whole"):
        plan(place.source(), Wanted())


def test_that_a_restore_could_not_be_written_down_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is done all the same; what must be done before the next is in the report and on the terminal."""

    def fail(*_: object, **__: object) -> None:
        raise click.ClickException("Another command has held the list.")

    order = Order("userdb", place.source(), Wanted(), None)
    report: dict[str, Any] = {"backups": [FULL], "used_keys": []}
    restore._after(place.home, order, report)
    assert report["noted"]
    monkeypatch.setattr(Catalogue, "append", fail)
    restore._after(place.home, order, report)
    assert not report["noted"]
    assert "could not be written into the list of backups" in capsys.readouterr().err
    shown = as_text(
        {**report, "what": "userdb", "steps": [], "last_transaction": None, "holds": {}, "aside": None}
        | {"event": True, "asked": None, "report": "x"}
    )
    assert "could not be written into the list of backups" in shown
