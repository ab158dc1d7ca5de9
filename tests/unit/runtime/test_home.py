"""The home keeps secrets: made once, read by their owner only, never shown."""

from __future__ import annotations

import pickle
import stat
from typing import TYPE_CHECKING

import click
import pytest

from runtime.home import DIRECTORIES, Home, Redacted, write_once

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an embedded home in a directory of its own."""
    return Home.from_environment({"BALLOT_HOME": str(tmp_path / "home")})


def test_directories_are_for_their_owner_only(home: Home) -> None:
    """Every directory of the home is mode 0700."""
    for path in [home.path, *(home.path / name for name in DIRECTORIES)]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_secret_is_made_once_and_kept(home: Home) -> None:
    """The same name gives the same 32 bytes again; its file is mode 0600."""
    first = home.secret("queue")

    assert len(first) == 32
    assert home.secret("queue") == first
    assert home.secret("ip") != first
    assert stat.S_IMODE((home.secrets / "queue.key").stat().st_mode) == 0o600


def test_a_key_that_was_made_and_is_gone_is_never_made_again(home: Home) -> None:
    """A lost key is named and nothing takes its place; a key that was never needed is still made."""
    before = home.secret("credential-digest")
    (home.secrets / "credential-digest.key").rename(home.path / "kept")

    for again in (home, Home(home.path)):
        with pytest.raises(click.ClickException, match=r"credential-digest\.key is missing, and this home"):
            again.secret("credential-digest")
    assert not (home.secrets / "credential-digest.key").exists()
    assert len(home.secret("people")) == 32
    (home.path / "kept").rename(home.secrets / "credential-digest.key")
    assert home.secret("credential-digest") == before


def test_a_key_brought_from_elsewhere_counts_as_made(home: Home) -> None:
    """A key file put there, or whose making was cut short, may not be lost either once it was used."""
    (home.secrets / "queue.key").write_text("ab" * 32 + "\n")
    assert home.secret("queue") == b"\xab" * 32

    (home.secrets / "queue.key").unlink()

    with pytest.raises(click.ClickException, match=r"queue\.key is missing"):
        home.secret("queue")
    assert home.keys_made.read_text() == "queue.key\n"


def test_a_password_is_never_shown(home: Home) -> None:
    """Neither repr, str nor format of a password shows it, and it is not pickled."""
    password = home.password("valkey-admin")

    assert password.reveal() not in f"{password} {password!r} {[password]}"
    with pytest.raises(TypeError):
        pickle.dumps(password)


def test_a_configured_home_makes_up_no_secret(tmp_path: Path) -> None:
    """With configured servers a missing secret is one sentence that names its file."""
    home = Home.from_environment({"BALLOT_HOME": str(tmp_path), "BALLOT_VALKEY_URL": "redis://queue"})

    assert not home.embedded
    with pytest.raises(click.ClickException, match=r"secrets/queue\.key is missing"):
        home.secret("queue")
    with pytest.raises(click.ClickException, match=r"valkey-intake\.password is missing"):
        home.password("valkey-intake")


def test_a_damaged_secret_is_named(home: Home) -> None:
    """A key file that does not hold 32 bytes in hex is refused by name, its content not repeated."""
    (home.secrets / "queue.key").write_text("abcd")

    with pytest.raises(click.ClickException, match=r"queue\.key does not hold 32 bytes"):
        home.secret("queue")


@pytest.mark.parametrize("name", ["", "../desk", "a/b", "a.b"], ids=["empty", "parent", "slash", "dot"])
def test_a_secrets_name_is_never_a_path(home: Home, name: str) -> None:
    """A name that could leave the secrets directory is a bug and is raised as one."""
    with pytest.raises(ValueError, match="not a secret's name"):
        home.secret(name)


def test_the_first_writer_wins(tmp_path: Path) -> None:
    """Two commands that make the same secret at once end up with one and the same."""
    path = tmp_path / "x.key"
    write_once(path, "first")
    write_once(path, "second")

    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unusable_home_is_one_sentence(tmp_path: Path) -> None:
    """A home that cannot be a directory is a user's mistake."""
    (tmp_path / "file").write_text("")

    with pytest.raises(click.ClickException, match="cannot be used"):
        Home.from_environment({"BALLOT_HOME": str(tmp_path / "file")})


def test_redacted_is_equal_only_to_itself() -> None:
    """Comparing redacted values by accident tells nothing."""
    assert Redacted("a") != Redacted("a")
