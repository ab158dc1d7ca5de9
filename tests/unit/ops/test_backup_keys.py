"""Backup keys: made once, the private halves elsewhere, and nothing said of them."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import click
import pytest

from ops.backup import keys
from runtime.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    home = Home(tmp_path / "home")
    home.make()
    return home


def test_three_pairs_are_made(home: Home, tmp_path: Path) -> None:
    """Each of the three has a pair of its own; private halves are their owner's, and not in the home."""
    out = tmp_path / "medium"
    made = keys.make(home, out)
    assert [key.what for key in made] == list(keys.WHATS)
    assert len({key.public_key for key in made}) == 3
    for key in made:
        path = keys.private_file(out, key.what)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert keys.read_public(home, key.what) == key
        assert keys.read_private(path).public_key == key.public_key
        seed = path.read_text().splitlines()[1]
        assert len(bytes.fromhex(seed)) == 32
        assert not [file for file in home.path.rglob("*") if file.is_file() and seed in file.read_text()]


@pytest.mark.parametrize("there", ["public", "private"])
def test_nothing_is_replaced(home: Home, tmp_path: Path, there: str) -> None:
    """One file that is there, of six, and nothing is made."""
    out = tmp_path / "medium"
    out.mkdir()
    taken = keys.public_file(home, "queue") if there == "public" else keys.private_file(out, "queue")
    taken.write_text("mine")
    with pytest.raises(click.ClickException, match="never replaced"):
        keys.make(home, out)
    assert taken.read_text() == "mine"
    assert [*home.backup.iterdir(), *out.iterdir()] == [taken]


def test_private_halves_do_not_go_into_the_home(home: Home) -> None:
    """A directory in the home is refused."""
    with pytest.raises(click.ClickException, match="outside BALLOT_HOME"):
        keys.make(home, home.path / "secrets")


def test_a_key_that_is_missing_or_wrong_is_said(home: Home, tmp_path: Path) -> None:
    """No key, another's key, an altered one: a sentence that says what to do."""
    with pytest.raises(click.ClickException, match="ballot backup keys"):
        keys.read_public(home, "voterdb")
    keys.make(home, tmp_path / "medium")
    path = keys.public_file(home, "voterdb")
    fields = json.loads(path.read_text())
    other = json.loads(keys.public_file(home, "userdb").read_text())
    wrongs: tuple[object, ...] = (
        other,
        {**fields, "public_key": other["public_key"]},
        {**fields, "id": 5},
        {**fields, "public_key": 5},
        {"use": "backup"},
        [],
    )
    for wrong in wrongs:
        path.write_text(json.dumps(wrong))
        with pytest.raises(click.ClickException, match="is not the public half"):
            keys.read_public(home, "voterdb")


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "abc\n", "zz" * 32, "ab" * 32 + "\n" + "ab" * 32, "é"]
)
def test_a_private_file_that_is_none_is_said_without_its_content(tmp_path: Path, text: str) -> None:
    """What stands in a key file is never repeated."""
    path = tmp_path / "voterdb.backup-key"
    path.write_text(text)
    with pytest.raises(click.ClickException) as caught:
        keys.read_private(path)
    assert "is not a private backup key" in caught.value.message
    assert "abab" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_memory_stick_without_second_names_takes_the_private_halves(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT and exFAT refuse links; nothing is left of a half that could not be written whole."""
    link, out = os.link, tmp_path / "stick"

    def refused(source: Path, new: Path) -> None:
        if out in new.parents:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        link(source, new)

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "fsync", full := _Full(out))
    with pytest.raises(click.ClickException, match="No space left"):
        keys.make(home, out)
    assert full.asked
    assert list(out.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", refused)
    made = keys.make(home, out)
    assert [key.what for key in made] == list(keys.WHATS)
    for key in made:
        path = keys.private_file(out, key.what)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert keys.read_private(path).public_key == key.public_key


class _Full:
    """A disk that has no room for what is below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.asked = False

    def __call__(self, descriptor: int) -> None:
        """Bring nothing to that disk."""
        if self._directory in Path(f"/proc/self/fd/{descriptor}").readlink().parents:
            self.asked = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
