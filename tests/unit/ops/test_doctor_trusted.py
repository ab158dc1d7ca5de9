"""Servers of a home that have held data and are lost or stopped are no "not looked at"."""

from pathlib import Path

import pytest

from ops.doctor import trusted
from runtime.home import URL_VARIABLES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing runs."""
    for name in URL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("run", "data"):
        (tmp_path / name).mkdir()
    return tmp_path


def look(home: Path) -> list[tuple[str, str]]:
    """What the check says of it: about what, and what to do."""
    return [(each.about, each.change) for each in trusted.trusted(home)]


def test_a_home_that_never_held_data_is_well(home: Path) -> None:
    """Nothing was promised."""
    assert look(home) == [("queue", "")]
    assert look(home / "absent") == [("queue", "")]


def test_a_lost_queue_and_a_stopped_database_must_be_mended(home: Path) -> None:
    """The queue's directory is gone, userdb's too; voterdb is there and does not run."""
    for name in ("valkey", "voterdb", "userdb"):
        (home / "run" / f"{name}.generation").touch()
    (home / "data" / "voterdb").mkdir()
    (home / "data" / "voterdb" / "PG_VERSION").touch()

    assert look(home) == [
        ("queue", "ballot recover"),
        ("voterdb", trusted.START),
        ("userdb", "ballot backup restore"),
    ]


def test_a_rebuilding_left_behind_is_named(home: Path) -> None:
    """It was interrupted, or goes on."""
    (home / "data" / trusted.REBUILDING).mkdir()

    assert look(home) == [("queue", "wait for it, or run ballot recover")]
