"""A sealed ballot and the `tally` and `verify` commands on a home of their own."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.unit.tally.sealed_ballot import SealedBallot

Invoke = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty BALLOT_HOME."""
    path = tmp_path / "home"
    monkeypatch.setenv("BALLOT_HOME", str(path))
    return path


@pytest.fixture
def sealed(tmp_path: Path, home: Path) -> SealedBallot:
    """Return a ballot with two questions, its document published in `home`."""
    ballot = SealedBallot.make(tmp_path / "shares")
    ballot.publish(home)
    return ballot


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process; a bug is raised, a user's mistake comes back with its exit code."""

    def run(command: click.Command, *arguments: str | Path) -> Result:
        return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)

    return run
