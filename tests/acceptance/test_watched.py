"""`ballot status --watch` while votes flow: exact whenever they stop, and no larger for having watched."""

import json
import os
import signal
import subprocess
import time
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from loadtests.lifetime.life import Life
from loadtests.published import plan, scenario
from loadtests.staging.stage import Stage, ballot_command, end, wait_until
from tests.acceptance.small_ballot import MEMBERS, SmallBallot, yes

EVERY_S = 0.1
WARM_ROUNDS, ROUNDS = 50, 300
WAIT_S = 120.0
RSS_GROWTH_MAX = 2 * 1024 * 1024


class Watching:
    """`ballot status BALLOT --watch --json` on a stage, its lines in a file."""

    def __init__(self, stage: Stage, ballot: str) -> None:
        self.path = stage.files / f"{ballot}.watch"
        command = [*ballot_command(), "status", ballot, "--watch", "--json", "--every", str(EVERY_S)]
        with self.path.open("wb") as out:
            self.process = subprocess.Popen(command, env=stage.env, stdout=out, process_group=0)

    def rounds(self) -> list[dict[str, Any]]:
        """All that it has said so far, whole lines only."""
        told = self.path.read_bytes()
        return [json.loads(line) for line in told[: told.rfind(b"\n") + 1].splitlines()]

    def wait_for(self, rounds: int) -> None:
        """Until it has looked so often."""
        wait_until(lambda: len(self.rounds()) >= rounds, seconds=WAIT_S, what=f"{rounds} rounds")

    def rss(self) -> int:
        """What it has in memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def exact(self, votes: int) -> bool:
        """Whether the newest round says `votes` everywhere, books of now included."""
        last = self.rounds()[-1]
        turnout = [last["turnout"][side].get("electronic", 0) for side in ("accepted", "stored")]
        books = [last["books"][side] for side in ("accepted", "stored")]
        return turnout == books == [votes, votes] and last["balanced"] and last["queue_depth"] == 0


@pytest.mark.long
def test_the_turnout_is_exact_at_every_quiet_point(stage: Stage) -> None:
    """After each of five votes, a killed database, and a crowd; never ahead; its memory stays flat."""
    small = SmallBallot(stage, "watched")
    small.set_up()
    watching = Watching(stage, "watched")
    try:
        watching.wait_for(1)
        for votes, member in enumerate(MEMBERS, start=1):
            small.cast(small.seal(small.code(member.member_id), yes("yes", "no")))
            wait_until(lambda votes=votes: watching.exact(votes), seconds=WAIT_S, what="the turnout")  # type: ignore[misc]
        pid = (stage.home / "data" / "voterdb" / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        rounds = len(watching.rounds())
        wait_until(lambda: len(watching.rounds()) > rounds + 3, seconds=WAIT_S, what="rounds after a kill")
        assert watching.exact(len(MEMBERS))
    finally:
        end(watching.process, seconds=WAIT_S)
    accepted = [told["turnout"]["accepted"].get("electronic", 0) for told in watching.rounds()]
    assert accepted == sorted(accepted)

    crowd = scenario.scaled(scenario.load("tube-two-questions"), 0.1)
    life = Life(stage, crowd, plan.draw(crowd))
    life.create(now_us=time.time_ns() // 1000)
    for step in (life.keys, life.roll, life.issue, life.open):
        step()
    watching = Watching(stage, crowd.ballot)
    try:
        watching.wait_for(WARM_ROUNDS)
        before = watching.rss()
        life.vote()
        wait_until(lambda: watching.exact(crowd.votes), seconds=WAIT_S, what="the turnout")
        watching.wait_for(ROUNDS)
        grown = watching.rss() - before
    finally:
        end(watching.process, seconds=WAIT_S)
    assert grown <= RSS_GROWTH_MAX
    for told in watching.rounds():
        sides = [told["turnout"][side].get("electronic", 0) for side in ("accepted", "stored")]
        assert max(sides) <= crowd.votes
