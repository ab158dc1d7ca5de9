"""A restored queue's files are on disk before anything is loaded from them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.backup import restore_queue
from ops.backup.catalogue import Entry
from ops.backup.restore_steps import Steps
from ops.backup.restore_unpacking import Stream
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class OneCopy:
    """A source with one copy in it."""

    @contextmanager
    def opened(self, _: Entry, **__: Any) -> Iterator[Stream]:
        """Its content."""
        yield Stream(iter([b"REDIS"]))


def test_the_base_and_its_directories_are_synced_before_the_first_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power lost after the latch must not leave a latched queue whose base is empty."""
    synced: list[Path] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    def load(*_: object) -> tuple[str, ...]:
        synced.append(Path("loaded"))
        return ()

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(restore_queue, "_load", load)
    copy = Entry("20250701T090000Z-queue", "queue", "x", 5, "", "", 1, 2)
    source: Any = OneCopy()
    restore_queue.rebuild(source, copy, tmp_path / "place", Steps(), home=Home(tmp_path))
    data = tmp_path / "place" / "data" / "valkey"
    folder = data / "appendonlydir"
    before = synced[: synced.index(Path("loaded"))]
    assert folder / f"{restore_queue.BASE}.opening" in before
    assert before.index(folder) > before.index(folder / f"{restore_queue.BASE}.opening")
    assert data in before
    assert (folder / restore_queue.BASE).read_bytes() == b"REDIS"
