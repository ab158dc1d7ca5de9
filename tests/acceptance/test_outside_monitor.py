"""Two monitors that share nothing see the same outage of a real deployment, within one probe's blindness."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no stubs
import pytest
from click.testing import CliRunner

from loadtests.outside import agreement, watch
from loadtests.outside.observed import DOWN, UP
from loadtests.staging.stage import Stage, wait_until

FROZEN_SECONDS = 15.0
US = 1_000_000

pytestmark = pytest.mark.long


def now_us() -> int:
    """This moment."""
    return time.time_ns() // 1000


@contextmanager
def frozen(stage: Stage) -> Iterator[None]:
    """No edge answers while the block runs."""
    below = psutil.Process(stage.up_pid).children(recursive=True)
    edges = [each.pid for each in below if "ballot intake" in " ".join(each.cmdline())]
    assert edges
    for pid in edges:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in edges:
            os.kill(pid, signal.SIGCONT)


def lines(path: Path) -> int:
    """How many looks are in the file."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_both_monitors_see_the_same_outage(tmp_path: Path) -> None:
    """Frozen edges are an outage with its cause to both; without the mark, nobody can say why it was."""
    looks = tmp_path / watch.LOOKS_FILE
    with Stage(folder=tmp_path / "stage") as stage:
        stage.up(extra=("--processes", "1"))
        post = watch.prepare(stage, seconds=240.0)
        watch.wait_for_inside(stage, seconds=300.0)
        with watch.start(post, tmp_path) as outside:
            wait_until(lambda: lines(looks) >= 3, seconds=60.0, what="the outside monitor's first looks")
            began_us = now_us()
            with frozen(stage):
                fault_us = now_us()
                time.sleep(FROZEN_SECONDS)  # the outage itself
            thawed_us = now_us()
            time.sleep(2 * agreement.INSIDE_PERIOD_SECONDS)  # for the next probe of each
            seen = outside.stop()
        assert not outside.running
        mark = {
            "kind": "fault",
            "name": "edges frozen",
            "from_us": fault_us,
            "to_us": thawed_us,
            "told": {"expects_down": True},
        }
        (tmp_path / "marks.jsonl").write_text(json.dumps(mark) + "\n")
        told = agreement.record(
            tmp_path, stage, watch.OUTSIDE, from_us=began_us, to_us=now_us(), outside=seen
        )

    assert told["agree"], told["differences"]
    (outage,) = told["outages"]
    assert (outage["cause"], outage["seen_by"]) == ("edges frozen", ["inside", "outside"])
    assert {UP, DOWN} <= {each["state"] for each in told["outside"]}
    down_us = sum(each["to_us"] - each["from_us"] for each in told["outside"] if each["state"] == DOWN)
    blind_us = (watch.PERIOD_SECONDS + watch.DEADLINE_SECONDS) * US
    assert abs(down_us - (thawed_us - fault_us)) <= blind_us

    (tmp_path / "marks.jsonl").write_text("")
    again = CliRunner().invoke(agreement.main, [str(tmp_path)])
    assert again.exit_code == 1
    assert "began with nothing that the run did" in again.output
