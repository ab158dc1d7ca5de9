"""The monitor's view of the books: what it shows, and what it never takes for books that balance."""

import asyncio
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ops.monitor.books import BOOKS, BooksCheck, BooksGauges
from runtime import logs
from runtime.lifecycle import Stop
from tests.manual_clock import ManualClock

#: A checker that answers from a file: {ballot: [exit status, what it prints]}, "" for the list of ballots.
SCRIPT = """
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(f"{os.getpid()} {' '.join(sys.argv[1:])}\\n")
name = "" if "--list" in sys.argv else sys.argv[-1]
status, says = json.loads((here / "answers").read_text())[name]
if says == "sleep":
    time.sleep(60)
print(says)
print("Error: so it is", file=sys.stderr)
sys.exit(status)
"""


class Bench:
    """A checker that says what it is told to, and what the monitor makes of it."""

    def __init__(self, directory: Path, *, limit_s: float = 30.0) -> None:
        self.directory = directory
        self.registry = CollectorRegistry()
        self.clock = ManualClock()
        script = directory / "checker.py"
        script.write_text(SCRIPT)
        self.check = BooksCheck(
            gauges=BooksGauges(self.registry),
            clock=self.clock,
            log=logs.get("test"),
            command=[sys.executable, str(script)],
            limit_s=limit_s,
        )

    def says(self, **answers: tuple[int, str]) -> None:
        """Publish these ballots, with these answers."""
        listed = (0, json.dumps({"ballots": list(answers)}))
        (self.directory / "answers").write_text(json.dumps({"": listed, **answers}))

    def asked(self) -> list[list[str]]:
        """Each run of the checker: its process, its arguments."""
        path = self.directory / "asked"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def shows(self, name: str, **labels: str) -> float:
        """A metric's value."""
        value = self.registry.get_sample_value(name, labels)
        assert value is not None
        return value

    def books(self) -> dict[str, float]:
        """The books that are shown as out, or as unknown."""
        shown = {book: self.shows("ballot_books_difference", book=book) for book in BOOKS}
        return {book: value for book, value in shown.items() if value != 0}


def report(*, findings: int = 0, **differences: int) -> tuple[int, str]:
    """What the real checker would answer."""
    found: dict[str, Any] = {
        "books_differences": dict.fromkeys(BOOKS, 0) | differences,
        "counts": {"lost": findings, "doubled": 0},
    }
    return (1 if findings or any(differences.values()) else 0, json.dumps(found, indent=2))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One with nothing published."""
    made = Bench(tmp_path)
    made.says()
    return made


def test_before_the_first_check_nothing_is_claimed(bench: Bench) -> None:
    """No number, and no time of a check; every book is there all the same."""
    assert BOOKS == ("issued", "accepted", "electronic", "entitled")
    assert all(math.isnan(value) for value in bench.books().values())
    assert len(bench.books()) == len(BOOKS)
    assert math.isnan(bench.shows("ballot_books_findings"))
    assert bench.shows("ballot_books_checked_seconds") == 0
    assert bench.shows("ballot_books_check_failures_total") == 0


async def test_balanced_books_are_shown_as_zero(bench: Bench) -> None:
    """Every ballot is asked for, once, by its name; the time is the clock's."""
    bench.says(one=report(), two=report())

    await bench.check.check_all()

    assert [arguments for _, *arguments in bench.asked()] == [
        ["--list", "--json"],
        ["--json", "--", "one"],
        ["--json", "--", "two"],
    ]
    assert (bench.books(), bench.shows("ballot_books_findings")) == ({}, 0)
    assert bench.shows("ballot_books_checked_seconds") == bench.clock.now_us() / 1_000_000


async def test_differences_are_summed_without_their_sign(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """One ballot's surplus hides no other's loss; the log's alarm names each ballot, no metric does."""
    bench.says(one=report(accepted=2, findings=3), two=report(accepted=-2, issued=1), three=report())

    await bench.check.check_all()

    assert bench.books() == {"accepted": 4, "issued": 1}
    assert bench.shows("ballot_books_findings") == 3
    alarms = [
        line for line in map(json.loads, capfd.readouterr().err.splitlines()) if line["level"] == "alarm"
    ]
    assert [(line["ballot"], line["differences"], line["findings"]) for line in alarms] == [
        ("one", {"accepted": 2}, {"lost": 3}),
        ("two", {"accepted": 2, "issued": 1}, {}),
    ]
    assert b"two" not in generate_latest(bench.registry)


BROKEN = {
    "no output": (1, ""),
    "no report": (0, "all is well"),
    "another shape": (0, "[]"),
    "a book missing": (0, json.dumps({"books_differences": {}, "counts": {}})),
    "balanced but exit 1": (1, report()[1]),
    "out but exit 0": (0, report(accepted=1)[1]),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_failed_check_is_counted_and_is_no_zero(bench: Bench, how: str) -> None:
    """Nothing is shown as balanced while a ballot has no report; the others are checked all the same."""
    bench.says(broken=BROKEN[how], good=report())

    await bench.check.check_all()

    assert bench.shows("ballot_books_check_failures_total") == 1
    assert len(bench.asked()) == 3
    assert len(bench.books()) == len(BOOKS)
    assert all(math.isnan(value) for value in bench.books().values())
    assert bench.shows("ballot_books_checked_seconds") == 0


async def test_a_failed_list_is_counted(bench: Bench) -> None:
    """Without the list nothing was looked at, which is not the same as nothing to look at."""
    (bench.directory / "answers").write_text(json.dumps({"": (1, "")}))

    await bench.check.check_all()

    assert bench.shows("ballot_books_check_failures_total") == 1
    assert math.isnan(bench.shows("ballot_books_findings"))


async def test_only_a_whole_round_clears(bench: Bench) -> None:
    """While one ballot cannot be checked the gauges can rise, and never fall."""
    bench.says(one=report(accepted=2, findings=1), two=report())
    await bench.check.check_all()
    bench.says(one=BROKEN["no output"], two=report(issued=5))
    await bench.check.check_all()
    after_part = (bench.books(), bench.shows("ballot_books_findings"))
    bench.says(one=report(), two=report())
    await bench.check.check_all()

    assert after_part == ({"accepted": 2, "issued": 5}, 1)
    assert (bench.books(), bench.shows("ballot_books_findings")) == ({}, 0)


async def test_a_checker_that_does_not_start_is_counted(tmp_path: Path) -> None:
    """A broken installation shows, too."""
    registry = CollectorRegistry()
    gauges = BooksGauges(registry)
    checking = BooksCheck(
        gauges=gauges, clock=ManualClock(), log=logs.get("test"), command=[str(tmp_path / "no-such-file")]
    )

    await checking.check_all()

    assert registry.get_sample_value("ballot_books_check_failures_total") == 1


def gone(pid: int) -> bool:
    """Whether that process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def until_asked(bench: Bench, count: int) -> None:
    """Wait until the checker has been started so many times."""
    deadline = time.monotonic() + 20
    while len(bench.asked()) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_stuck_check_is_ended_and_counted(tmp_path: Path) -> None:
    """It is given its time and no more, and nothing of it is left."""
    bench = Bench(tmp_path, limit_s=2.0)
    bench.says(one=(0, "sleep"))

    await bench.check.check_all()

    assert bench.shows("ballot_books_check_failures_total") == 1
    assert gone(int(bench.asked()[-1][0]))


async def test_a_check_ends_with_the_monitor(bench: Bench) -> None:
    """A monitor that stops leaves no checker behind."""
    bench.says(one=(0, "sleep"))
    running = asyncio.create_task(bench.check.run(Stop(), period_s=0.01))
    await until_asked(bench, 2)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert gone(int(bench.asked()[-1][0]))


async def test_it_checks_again_and_again_until_told_to_stop(bench: Bench) -> None:
    """One after the other; the wish to stop is seen between two rounds."""
    stop = Stop()
    running = asyncio.create_task(bench.check.run(stop, period_s=0.01))
    await until_asked(bench, 3)
    stop.request()
    await asyncio.wait_for(running, 20)

    assert bench.shows("ballot_books_checked_seconds") > 0


async def test_zero_switches_it_off(bench: Bench) -> None:
    """Nothing is run."""
    await asyncio.wait_for(bench.check.run(Stop(), period_s=0), 1)

    assert bench.asked() == []
