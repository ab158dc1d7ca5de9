"""The load lab finds a build that loses votes after acknowledging them, and names each one."""

import json
import subprocess
from pathlib import Path

import pytest

from loadtests.staging.stage import ballot_command
from tests.acceptance import dropping_edge

RUN_SECONDS_MAX = 280
ONE_IN = 40


@pytest.mark.long
def test_votes_dropped_after_acknowledging_fail_the_run_by_name(tmp_path: Path) -> None:
    """Verdict fail, exit code 1, and exactly the dropped references: every receipt was genuine."""
    out, told = tmp_path / "report", tmp_path / "dropped"
    command = [*ballot_command(), "load", "tube-two-questions", "--scale", "0.04", "--speed", "150"]
    with dropping_edge.environment(ONE_IN, told) as env:
        done = subprocess.run(
            [*command, "--json", "--report", str(out)],
            env=env,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
    verdict = json.loads(done.stdout)
    judged = {each["what"]: each for each in verdict["judgements"]}
    ballot = json.loads((out / "result.json").read_text())["ballot"]
    dropped = {line.split()[1] for line in told.read_text().splitlines() if line.split()[0] == ballot}
    assert dropped
    assert (verdict["verdict"], done.returncode) == ("fail", 1)
    assert not judged["every receipt is counted, once"]["ok"]
    assert set(judged["every receipt is counted, once"]["references"]) == dropped
    assert not judged["the books balance"]["ok"]
    assert not judged["the result is the published one"]["ok"]
