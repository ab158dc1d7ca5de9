"""The simulation finds nothing wrong with the code as it is, and something with every mutation of it.

In processes of their own: a simulated world takes clocks, randomness and the log away from everything around
it, and a seed plays the same only where texts have the same hashes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.plan import LEVELS, Level

ROOT: Final = Path(__file__).resolve().parents[2]
SEEDS: Final = 45
AGAIN: Final = 6
LONG_SEEDS: Final = 2_000


def played(*arguments: object) -> Any:
    """What the runner says as JSON; a seed that failed is shown."""
    command = [sys.executable, "-m", "tests.simulation.run", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def shown(seed: int, level: Level) -> str:
    """The short history of a seed that failed, and how to play it again."""
    command = [sys.executable, "-m", "tests.simulation.run", "--from", str(seed), "--seeds", "1"]
    command += ["--level", level]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def test_no_seed_finds_anything_wrong() -> None:
    """Crashes, losses, restores and clocks as drawn: every receipt is kept, and all comes right again."""
    found = played("--seeds", SEEDS)

    assert [each["level"] for each in found] == list(LEVELS)
    for each in found:
        assert each["receipts"] > SEEDS
        assert not each["failed"], shown(each["failed"][0], each["level"])


def test_what_once_failed_is_well() -> None:
    """A failover while the desk takes a closing time back; older copies after a vote was counted or read."""
    seeds: tuple[tuple[int, Level], ...] = (
        (101_161, "replicated"),
        (11_489, "disk"),
        (401_154, "disk"),
        (402_957, "disk"),
    )
    for seed, level in seeds:
        (found,) = played("--level", level, "--from", seed, "--seeds", 1)
        assert not found["failed"], shown(seed, level)


def test_a_seed_plays_the_same_again() -> None:
    """Two processes write the same history of the same seeds, byte for byte."""
    first, second = (played("--seeds", AGAIN, "--from", 1_000) for _ in range(2))

    assert [each["digest"] for each in first] == [each["digest"] for each in second]


def test_every_mutation_is_noticed() -> None:
    """Each promise's code is broken in turn: some seed fails by it, and is well without it."""
    found = played("--mutations")

    assert len(found) == len(MUTATIONS) >= 8
    assert not [name for name, noticed in found.items() if noticed is None]


@pytest.mark.long
@pytest.mark.parametrize("level", LEVELS)
def test_no_seed_of_many_finds_anything_wrong(level: Level) -> None:
    """The same with thousands of seeds."""
    (found,) = played("--level", level, "--seeds", LONG_SEEDS, "--from", 10_000, "--jobs", 2)

    assert not found["failed"], shown(found["failed"][0], level)
