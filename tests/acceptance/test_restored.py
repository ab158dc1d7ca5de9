"""Backups made by `ballot up` itself, and a voter database that went back in time: the votes come back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ballot.encoding import format_time
from loadtests.staging.stage import Stage, wait_until
from tests.acceptance.small_ballot import SmallBallot, yes

WELL_S = 90.0
YES = yes("yes", "no")


class BackedUp(Stage):
    """A deployment with backups on."""

    @property
    def target(self) -> Path:
        """Where they go."""
        return self.folder / "target"

    @property
    def env(self) -> dict[str, str]:
        """As everybody's, with the target."""
        return super().env | {"BALLOT_BACKUP": str(self.target)}


@pytest.fixture
def stage() -> Iterator[BackedUp]:
    """A fresh BALLOT_HOME with keys and `ballot up` ready in it; gone after the test."""
    with BackedUp() as made:
        made.target.mkdir()
        made.run("backup", "keys", "--out", made.folder / "keys")
        made.up(extra=("--no-monitor",))
        yield made


@pytest.mark.long
def test_a_voterdb_restored_to_an_earlier_time_is_brought_back_by_the_queue(stage: BackedUp) -> None:
    """`ballot up` backs everything up; with voterdb of before two votes, both are stored again."""
    ballot = SmallBallot(stage, "went-back")
    ballot.set_up()

    def proven(what: str) -> bool:
        return " verified " in stage.run("backup", "list", what)

    for what in ("voterdb", "userdb", "queue"):
        wait_until(lambda what=what: proven(what), seconds=WELL_S, what=f"a backup of {what}")  # type: ignore[misc]
    first = ballot.cast(ballot.seal(ballot.code("A-1"), YES))
    ballot.wait_for_state(first.reference, "stored")
    moment = format_time(time.time_ns() // 1000, decimals=6)
    later = [ballot.cast(ballot.seal(ballot.code(member), YES)) for member in ("B-2", "C-3")]
    for receipt in later:
        ballot.wait_for_state(receipt.reference, "stored")
    key = stage.folder / "keys" / "voterdb.backup-key"
    refused = stage.attempt("backup", "restore", "voterdb", "--key", key, "--at", moment)
    assert refused.returncode == 1
    assert "in use" in refused.stderr

    stage.stop()
    told = stage.run("backup", "restore", "voterdb", "--key", key, "--at", moment)
    assert f"{ballot.ballot}: 1 votes" in told
    stage.up(extra=("--no-monitor",))

    wait_until(
        lambda: "differences: 0" in stage.attempt("check", ballot.ballot, "--signatures").stdout,
        seconds=WELL_S,
        what="the books to balance",
    )
    for receipt in (first, *later):
        ballot.wait_for_state(receipt.reference, "stored")
    again = stage.attempt("backup", "now", "voterdb")
    assert again.returncode == 0, again.stderr
    assert stage.run("backup", "list", "voterdb").count("-full ") >= 2
