"""Breaking what takes the votes in the middle of the voting changes no figure and no book."""

from pathlib import Path

import pytest

from loadtests.faults.draw import Fault, draw
from loadtests.faults.events import Account
from loadtests.faults.ground import Ground
from loadtests.faults.kinds import chosen
from loadtests.faults.play import Play, Settings
from loadtests.staging.telling import Telling

RATE = 40.0
VOTERS = 2_000
"""More than can vote while the faults last, so that the run ends while people still want to vote."""

SECONDS_MAX = 120.0
FEW = ("kill-edge-process+worker", "kill-edge", "kill-valkey", "kill-voterdb", "torn", "reset-queue")
FEW_KILLS = 6
ALL_KILLS = 20
SEED = 5


def played(folder: Path, faults: list[Fault], *, voters: int, seconds: float) -> Account:
    """A whole ballot under these faults, on a deployment of its own."""
    settings = Settings(
        seed=SEED, faults=tuple(faults), voters=voters, rate=RATE, seconds_max=seconds, away_seconds=None
    )
    with Ground(folder=folder) as ground:
        account = Play(ground, settings, Telling(to_stderr=True)).whole()
        if account.wrong:
            ground.keep()  # what pytest keeps of a failed test is what explains it
        return account


def must_be_good(account: Account, faults: list[Fault]) -> None:
    """Every fault was done and got over, and nothing is wrong: books, receipts, signatures, count."""
    assert not account.wrong
    assert not account.lost
    assert not account.doubled
    assert [event.kind for event in account.events] == [fault.kind.name for fault in faults]
    assert all(event.resumed_s >= 0 and event.votes > 0 for event in account.events), account.events
    # The faults were felt: some votes were answered "not now", or not at all, and were sent again.
    assert sum(event.asked_later + event.unanswered for event in account.events) > 0
    assert account.votes > sum(event.votes for event in account.events) * 0.5


def test_killing_and_tearing_changes_nothing(tmp_path: Path) -> None:
    """`kill -9` of edge, worker, queue and database, a torn tail, broken connections: all receipts count."""
    faults = draw(chosen(FEW), seed=SEED, kills=FEW_KILLS)
    assert {fault.kind.name for fault in faults} >= {
        "kill-edge",
        "kill-valkey",
        "kill-voterdb",
        "torn-valkey",
    }
    account = played(tmp_path, faults, voters=VOTERS, seconds=SECONDS_MAX)
    must_be_good(account, faults)
    assert account.kills >= FEW_KILLS


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_kind_of_fault_changes_nothing(tmp_path: Path) -> None:
    """All that the harness can do, at least once a kind; one entry that nobody can read is seen and named."""
    faults = draw(chosen([]), seed=SEED, kills=ALL_KILLS)
    account = played(tmp_path, faults, voters=20 * VOTERS, seconds=5 * SECONDS_MAX)
    must_be_good(account, faults)
    assert account.kills >= ALL_KILLS
