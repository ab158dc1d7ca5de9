"""The audit after a run of faults sees what is wrong, and goes on looking when one of its steps fails."""

import json
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from loadtests.faults import audit
from loadtests.faults.electorate import sized
from loadtests.faults.tape import Tape
from loadtests.lifetime.life import Figure, Life
from loadtests.published import plan
from loadtests.staging.stage import StageFault

GOOD = {"findings": [], "differences": 0, "counts": {"lost": 0}, "books_differences": {"accepted": 0}}


class Desk:
    """What a `Life` is to the audit, with the answers a test gives; its scenario and plan are real."""

    def __init__(self, folder: Path) -> None:
        self.scenario = sized(10, folder)
        self.plan = plan.draw(self.scenario)
        self.ballot = self.scenario.ballot
        self.files = folder
        self.result = folder / "result.json"
        self.told: dict[str, Any] | None = GOOD
        self.counted: list[Figure] = []
        self.closes = True
        self.stage = self

    def close(self) -> None:
        """Close, if it does."""
        if not self.closes:
            raise StageFault("3 votes remain.")

    def attempt(self, *_arguments: object, **_options: object) -> subprocess.CompletedProcess[str]:
        """What `ballot check` prints."""
        out = "" if self.told is None else json.dumps(self.told)
        return subprocess.CompletedProcess([], 0, out, "Error: no such ballot\n")

    def tally(self) -> None:
        """Count."""
        self.result.write_text("{}")

    def verify(self) -> None:
        """Verify."""

    def figures(self) -> list[Figure]:
        """The count beside what is expected."""
        return self.counted

    def receipts(self) -> list[Figure]:
        """Every receipt is genuine."""
        return []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk of a ballot of ten on which everything is well."""
    return Desk(tmp_path)


def audited(desk: Desk, *, unexpected: tuple[str, ...] = (), **holders: set[str]) -> audit.Found:
    """What the audit finds when these voters hold these references."""
    tape = Tape(desk.files, holders=holders)
    return audit.audit(cast("Life", desk), tape, {"unexpected": list(unexpected)})


def test_nothing_wrong_is_found_where_nothing_is(desk: Desk) -> None:
    """The books balance, the count is right, everybody holds one reference."""
    found = audited(desk, M1={"R1"}, M2={"R2"})
    assert not found.wrong
    assert not found.lost
    assert not found.doubled


def test_lost_and_doubled_votes_are_named(desk: Desk) -> None:
    """By reference, as the checker has them; and whoever holds two references."""
    findings = [
        {"kind": "lost", "where": "R1", "what": "a receipt without a vote"},
        {"kind": "doubled", "where": "R2", "what": "a voter twice"},
    ]
    desk.told = GOOD | {"findings": findings, "differences": 2}
    found = audited(desk, M1={"R1"}, M3={"R3", "R4"})
    assert found.lost == ["R1"]
    assert found.doubled == ["R3", "R4", "R2"]
    assert found.wrong[0] == "Voter M3 holds 2 references."
    assert "2 differences: R1 a receipt without a vote" in found.wrong[1]


def test_a_wrong_count_and_a_voter_turned_away_are_wrong(desk: Desk) -> None:
    """Whatever the checker says, the result must be what the voters chose, and each got their receipt."""
    desk.counted = [Figure("6004", "yes", 7, 6)]
    found = audited(desk, unexpected=("M9: refused with 403 not_accepted",))
    assert len(found.wrong) == 2
    assert "M9: refused" in found.wrong[0]
    assert "6 counted, 7 expected" in found.wrong[1]


def test_one_step_that_fails_does_not_hide_the_next(desk: Desk) -> None:
    """A close that does not end and a checker that says nothing are both told."""
    desk.closes = False
    desk.told = None
    assert audited(desk).wrong == ["3 votes remain.", "`ballot check` did not finish: Error: no such ballot"]


@pytest.mark.parametrize(
    ("junk", "counts", "accepted", "good"),
    [
        (0, {}, 0, True),
        (2, {"unexplained": 4}, -2, True),
        (2, {"unexplained": 4}, -1, False),
        (2, {}, 0, False),
        (1, {"unexplained": 2, "lost": 1}, -1, False),
    ],
)
def test_junk_must_be_seen_and_nothing_else(
    desk: Desk, junk: int, counts: dict[str, int], accepted: int, good: bool
) -> None:
    """Of the spoilt ballot the checker must name what was put in, and no more."""
    desk.told = {"counts": counts, "books_differences": {"accepted": accepted, "issued": 0}}
    assert (audit.beside(cast("Life", desk), junk=junk) == []) is good
