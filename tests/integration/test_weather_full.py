"""The disk of every server is full while a ballot is voted on: nobody mends anything but the disk."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loadtests.lifetime.life import Life
from loadtests.lifetime.table import differences
from loadtests.published import plan, scenario
from loadtests.staging import stage
from tests.acceptance.test_kill import QUEUE, RECEIPTS_AFTER, THINK_SECONDS, USERS, processes, small_tube
from tests.conftest import ballot_command
from tests.integration.small_disk import small_disk
from tests.integration.weather_rig import note

if TYPE_CHECKING:
    from loadtests.crowds.crowd import Crowd
    from loadtests.staging.stage import Stage

__all__ = ["small_tube"]  # a fixture: the tube ballot at a tenth of its size

MEGABYTES = 400
BACK_S = 60.0
ROUNDS = 2
FULL_S = 3.0


def gone(pid: int) -> bool:
    """Whether that process has ended."""
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.long
def test_full_disks_under_ballot_up(small_tube: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice there is no room for queue and databases; `ballot up` brings back what ended, books balance."""
    played = scenario.load(small_tube)
    with stage.Stage(folder=tmp_path / "run") as deployment:
        data = deployment.home / "data"
        data.mkdir(mode=0o700)
        with small_disk(data, megabytes=MEGABYTES) as disk:
            command = [*disk.inside, sys.executable, ballot_command()]
            monkeypatch.setattr(stage, "ballot_command", lambda: command)

            def during(here: Stage, crowd: Crowd) -> None:
                for _ in range(ROUNDS):
                    (queue,) = processes(here, QUEUE)
                    before = crowd.receipts()
                    disk.fill()
                    stage.wait_until(partial(gone, queue), seconds=BACK_S, what="the queue to end")
                    time.sleep(FULL_S)
                    disk.free()
                    freed_s = time.monotonic()
                    crowd.wait_for(crowd.receipts() + RECEIPTS_AFTER, seconds=BACK_S)
                    note(f"{crowd.receipts() - before} receipts, {time.monotonic() - freed_s:.1f} s after")

            deployment.up()
            life = Life(deployment, played, plan.draw(played), users=USERS, think=THINK_SECONDS)
            life.create(now_us=time.time_ns() // 1000)
            for step in (life.keys, life.roll, life.issue, life.open):
                step()
            life.vote(during=during)
            for step in (life.close, life.tally, life.verify, life.check):
                step()
            figures = [*life.figures(), *life.receipts()]
            deployment.stop()
    assert differences(figures) == 0, figures
