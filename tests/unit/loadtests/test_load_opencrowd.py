"""How the crowd is started: with time enough for all that is planned, whenever its second 0 is."""

import time
from pathlib import Path

import pytest

from loadtests.crowds.opencrowd import OpenBooking, OpenCrowd

TOLD = {"worst_second": 3, "last_s": 40.0, "retries_max": 6, "voters": 9}


def crowd(tmp_path: Path) -> OpenCrowd:
    """One that was not started."""
    found = object.__new__(OpenCrowd)
    found.booking = OpenBooking((), tmp_path / "s.npz", "http://127.0.0.1:1", tmp_path / "desk", tmp_path)
    found._ahead = TOLD
    return found


def run_time_s(words: list[str]) -> float:
    """The seconds after which Locust ends whatever is still going on."""
    return float(words[words.index("--run-time") + 1].removesuffix("s"))


@pytest.mark.parametrize("ahead_s", [0, 20, 600])
def test_locust_is_not_ended_before_the_last_retry(tmp_path: Path, ahead_s: int) -> None:
    """It counts from its own start; the last request may be due long after, and its retries after that."""
    retries_s = 7 * (15 + 10)
    words = crowd(tmp_path).command(round((time.time() + ahead_s) * 1e6))
    assert run_time_s(words) >= ahead_s + TOLD["last_s"] + retries_s


def test_without_a_start_there_is_time_to_get_ready(tmp_path: Path) -> None:
    """The run then begins when all users are there, which takes two minutes at most."""
    assert run_time_s(crowd(tmp_path).command(None)) >= 120 + TOLD["last_s"]
