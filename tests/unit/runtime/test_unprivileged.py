"""PostgreSQL runs as whoever we are; what is in the way is named in one line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
import pytest

from runtime import unprivileged
from runtime.home import Home
from runtime.postgres_server import program
from runtime.servers import servers
from runtime.unprivileged import OVERFLOW_ID, Way

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as on a machine where root may not make a user namespace."""
    monkeypatch.setattr(unprivileged, "way", lambda: Way(user=OVERFLOW_ID))


def test_a_closed_directory_is_named(no_namespaces: None, tmp_path: Path) -> None:
    """Without namespaces a home below a closed directory is refused by that directory's name."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(click.ClickException, match="is closed to that user"):
        unprivileged.check_doors(Path("/bin/true"), home=closed / "home")


@as_root
def test_root_without_namespaces_runs_as_nobody(no_namespaces: None) -> None:
    """Root then starts PostgreSQL as the user nobody, in a home whose parents are open."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        home = Home.from_environment({"BALLOT_HOME": f"{directory}/home"})
        try:
            unprivileged.check_doors(Path(program("initdb")), home=home.path)
        except click.ClickException as closed:
            pytest.skip(closed.message)

        with servers(home, {}) as found:
            owner = Path(f"/proc/{found.processes['voterdb']}").stat().st_uid

    assert owner == OVERFLOW_ID


def test_an_ordinary_user_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with a name starts PostgreSQL directly, without a change of user."""
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # the user `daemon`, or `bin`
    unprivileged.way.cache_clear()
    try:
        assert unprivileged.way() == Way()
    finally:
        unprivileged.way.cache_clear()
