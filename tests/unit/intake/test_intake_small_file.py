"""A small file is read when it changes, and only then."""

import os
from pathlib import Path

import pytest

from intake.small_file import SmallFile


def test_it_is_read_when_it_changes(tmp_path: Path) -> None:
    """The same object until then; another in its place is a change, and one that is gone is missed."""
    path = tmp_path / "desk.json"
    file = SmallFile(path)
    with pytest.raises(FileNotFoundError):
        file.read()
    path.write_bytes(b"one")
    first = file.read()
    assert (first, file.read() is first) == (b"one", True)

    draft = tmp_path / "draft"
    draft.write_bytes(b"two")
    os.utime(draft, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    draft.replace(path)
    assert file.read() == b"two"

    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.read()
    path.write_bytes(b"one")
    assert file.read() == b"one"
