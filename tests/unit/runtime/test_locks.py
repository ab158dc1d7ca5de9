"""Locks that die with their holder, and what those are told who wait in vain."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import click
import pytest

from runtime import locks

if TYPE_CHECKING:
    from pathlib import Path


def test_whoever_waits_in_vain_is_told_why(tmp_path: Path) -> None:
    """In the holder's words while it holds, and not after."""
    path = tmp_path / "lock"
    said = "The queue is being rebuilt"
    with locks.exclusive(path, why=said), pytest.raises(click.ClickException, match=f"{said}; wait for it"):
        locks.exclusive(path, wait_s=0).__enter__()
    with locks.exclusive(path, wait_s=0):
        assert path.read_bytes() == b""


def test_on_a_full_disk_it_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be done there may be what makes room."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = tmp_path / "lock"
    with (
        locks.exclusive(path, why="x"),
        pytest.raises(click.ClickException, match="Another command has held"),
    ):
        locks.exclusive(path, wait_s=0).__enter__()
