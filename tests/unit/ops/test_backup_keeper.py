"""The schedule, with backups that are only listed: none is made again and again, and what hangs is said."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import click
import pytest

from ops.backup import keys, pulse, serve
from ops.backup.catalogue import Entry, backup_id
from ops.backup.serve import Keeper
from ops.backup.settings import BackupSettings
from runtime.home import Home
from runtime.servers import Servers
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.backup.catalogue import Kind
    from ops.backup.place import Place

EVERY_S = 900
WAIT_S = 10.0


class Looks(threading.Event):
    """Told to stop after so many looks, each a second after the last."""

    def __init__(self, clock: ManualClock, looks: int, between: Callable[[], object]) -> None:
        super().__init__()
        self._clock, self._left, self._between = clock, looks, between

    def wait(self, timeout: float | None = None) -> bool:
        """Move on instead of waiting."""
        self._clock.advance(timeout or 0)
        self._between()
        self._left -= 1
        if self._left <= 0:
            self.set()
        return self.is_set()


class Schedule:
    """Of userdb, on a clock of its own; `made` is the second and kind of each backup."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Home(directory / "home")
        self.home.make()
        keys.make(self.home, directory / "medium")
        (directory / "target").mkdir()
        self.settings = BackupSettings(directory / "target", every_s=EVERY_S)
        self.clock = ManualClock()
        self.began = self.clock.monotonic()
        self.made: list[tuple[int, str]] = []
        self.keeper: Keeper
        monkeypatch.setattr(serve, "SystemClock", lambda: self.clock)
        monkeypatch.setattr(serve, "make", self._make)
        monkeypatch.setattr(serve, "retention_of", lambda *_, **__: ())

    def _make(self, place: Place, *_: object, full: bool, **__: object) -> Entry:
        kind: Kind = "full" if full else "incremental"
        now = self.clock.now_us()
        name = backup_id(kind, now)
        lsn = f"0/{len(self.made) + 1:X}000000"
        made = Entry(
            name, kind, f"{name}.sealed", 1, "", place.public.id, now, now + 1, start_lsn=lsn, end_lsn=lsn
        )
        place.catalogue.made(made)
        place.catalogue.append("verified", made.id, now, ok=True)
        self.made.append((round(self.clock.monotonic() - self.began), kind))
        return made

    def follow(self, looks: int, between: Callable[[Keeper], object]) -> None:
        """Look so often; what happens `between` the looks."""
        stop = Looks(self.clock, looks, lambda: between(self.keeper))
        self.keeper = Keeper(Servers(self.home), "userdb", self.settings, stop)
        self.keeper._follow_schedule()


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """A home with keys, and an empty target."""
    return Schedule(tmp_path, monkeypatch)


def _lose_wal(keeper: Keeper) -> None:
    assert keeper._wal is not None
    keeper._wal.needs_base.set()
    keeper._wal.looks.set()


def test_wal_that_is_lost_all_the_time_makes_one_base_more_each_time(schedule: Schedule) -> None:
    """Asked for a base every second, it makes the first at once, the others when one is due anyway."""
    schedule.follow(2 * EVERY_S, _lose_wal)
    assert [kind for _, kind in schedule.made] == ["full", *["incremental"] * (len(schedule.made) - 1)]
    at = [second for second, _ in schedule.made]
    assert at[:2] == [0, 1]
    assert len(at) <= 4
    assert max(after - before for before, after in pairwise(at)) <= EVERY_S + 1


def test_a_base_that_failed_is_asked_for_again(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """That WAL is missing stays true until one was made."""
    good = schedule._make
    attempts: list[int] = []

    def second_fails(*given: object, **named: object) -> Entry:
        attempts.append(1)
        if len(attempts) == 2:
            raise click.ClickException("no room")
        return good(*given, **named)  # type: ignore[arg-type]

    lost: list[int] = []

    def lose_once(keeper: Keeper) -> None:
        if not lost:
            lost.append(1)
            _lose_wal(keeper)

    monkeypatch.setattr(serve, "make", second_fails)
    schedule.follow(100, lose_once)
    assert schedule.made == [(0, "full"), (61, "incremental")]
    assert "backup_failed" in capfd.readouterr().err


def test_what_cannot_be_deleted_fails_no_backup(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The backup was made: no other is, and none is said to have failed."""

    def fail(*_: object, **__: object) -> None:
        raise click.ClickException("The backup target is away.")

    monkeypatch.setattr(serve, "retention_of", fail)
    schedule.follow(300, lambda _: None)
    assert schedule.made == [(0, "full")]
    said = capfd.readouterr().err
    assert said.count("retention_failed") == 1
    assert "backup_failed" not in said


def test_a_backup_that_gets_no_further_is_an_alarm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once it has stood still for long, once; not while it gets on, rests, or waits for others."""
    felt = pulse.Pulse("queue")
    felt.watch()
    felt.beat()
    felt.watch()
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(pulse, "STUCK_S", -1.0)
    for _ in range(3):
        felt.watch()
    said = capfd.readouterr().err
    assert said.count("backup_stuck") == 1
    assert '"level":"alarm"' in said
    felt.rest()
    monkeypatch.setattr(pulse, "SAY_AGAIN_S", 0.0)
    felt.watch()
    assert capfd.readouterr().err == ""
