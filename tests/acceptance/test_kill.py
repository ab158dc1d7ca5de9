"""Killing what takes the votes of a published ballot, on servers of its own, changes no figure and no book.

`test_faults.py` does more than this with every run of the tests.
"""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from loadtests.crowds.crowd import Crowd
from loadtests.lifetime.life import Life
from loadtests.lifetime.table import differences
from loadtests.published import plan, scenario
from loadtests.published.scenario import SCENARIOS
from loadtests.staging.stage import Stage, wait_until

# A tenth of the tube ballot: large enough to be killed in the middle, small enough for every run.
VOTES = {"entitled": 1042, "votes": 620}
FIGURES = {"6004": "597", "209": "21", "15": "2", "6092": "604", "109": "11", "27": "5"}
USERS = 6
BACK_SECONDS_MAX = 30.0
WORKER, EDGE = r"ballot worker\b", r"ballot intake\b"
QUEUE, DATABASE = r"valkey-server", r"postgres\b.*voterdb"
THINK_SECONDS = 0.1
RECEIPTS_AFTER = 20
Victim = tuple[str, int]


@pytest.fixture
def small_tube(tmp_path: Path) -> str:
    """The tube ballot at a tenth of its size, as a tester would write it."""
    text = (SCENARIOS / "tube-two-questions.toml").read_text(encoding="utf-8")
    for name, votes in VOTES.items():
        text = re.sub(rf"(?m)^{name} = \d+$", f"{name} = {votes}", text)
    for published, tenth in FIGURES.items():
        text = re.sub(rf"(?m)= {published}$", f"= {tenth}", text)
    definition = (SCENARIOS / "definitions" / "tube-two-questions.toml").read_text(encoding="utf-8")
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "tube-two-questions.toml").write_text(definition, encoding="utf-8")
    path = tmp_path / "small-tube.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def descendants(pid: int) -> Iterator[int]:
    """Every process below `pid`, parents first."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        below.setdefault(parent, []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        children = below.get(waiting.pop(0), [])
        yield from children
        waiting += children


def processes(stage: Stage, what: str) -> list[int]:
    """The processes under `ballot up` with `what`, a pattern, in the command line, parents first."""
    found = []
    for pid in descendants(stage.up_pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        line = b" ".join(words).decode(errors="replace")
        if re.search(what, line):
            found.append(pid)
    return found


def kill(stage: Stage, victims: Sequence[Victim]) -> None:
    """Kill all `victims` at once, and return when `ballot up` has others in their place."""
    pids = {what: processes(stage, what)[which] for what, which in victims}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for what, pid in pids.items():
        wait_until(
            lambda what=what, pid=pid: pid not in (found := processes(stage, what)) and bool(found),  # type: ignore[misc]
            seconds=BACK_SECONDS_MAX,
            what=f"another {what}",
        )


def play(small_tube: str, rounds: Sequence[Sequence[Victim]]) -> None:
    """Play the ballot, kill each round's victims while voters vote, and see votes accepted after it."""
    played = scenario.load(small_tube)
    after: list[int] = []

    def during(stage: Stage, crowd: Crowd) -> None:
        for victims in rounds:
            assert crowd.running, f"the voting was over after {len(after)} of {len(rounds)} rounds"
            before = crowd.receipts()
            kill(stage, victims)
            crowd.wait_for(before + RECEIPTS_AFTER, seconds=BACK_SECONDS_MAX)
            after.append(crowd.receipts() - before)

    with Stage() as stage:
        stage.up()
        life = Life(stage, played, plan.draw(played), users=USERS, think=THINK_SECONDS)
        life.create(now_us=time.time_ns() // 1000)
        for step in (life.keys, life.roll, life.issue, life.open):
            step()
        life.vote(during=during)
        for step in (life.close, life.tally, life.verify, life.check):
            step()
        figures = [*life.figures(), *life.receipts()]
        assert differences(figures) == 0, figures
        assert all(receipts >= RECEIPTS_AFTER for receipts in after), after
        # The kills were felt: some answers were lost, and the voters sent the identical vote again.
        assert life.summary["counts"]["sent again"] > 0


@pytest.mark.long
def test_killing_an_edge_and_a_worker_changes_nothing(small_tube: str) -> None:
    """`kill -9` of a worker, an edge process and the whole edge: same table, same books, same receipts."""
    play(small_tube, [[(WORKER, 0), (EDGE, -1)], [(WORKER, 0), (EDGE, 0)]])


@pytest.mark.long
def test_killing_the_servers_changes_nothing(small_tube: str) -> None:
    """`kill -9` of the queue and of the voter database: what was accepted is counted, the rest is retried."""
    play(small_tube, [[(QUEUE, 0)], [(DATABASE, 0)], [(QUEUE, 0), (WORKER, 0)]])
