"""The demo is what it says: published figures, the last line, and nothing left behind, however it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.published import plan, scenario
from loadtests.staging.stage import ballot_command, end_group, wait_until

DEMO_SECONDS_MAX = 120
GONE_SECONDS_MAX = 30


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`ballot demo ARGUMENTS…`, whole."""
    return subprocess.run(
        [*ballot_command(), "demo", "branch-41", *arguments],
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )


def test_the_demo_ends_with_no_difference() -> None:
    """A table of published and counted, and exactly `differences: 0` at the end; its home is gone."""
    done = run_demo("--seed", "7")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "differences: 0"
    assert re.search(r"(?m)^question +option +published +counted +difference$", done.stdout)
    assert re.search(r"(?m)^strike +yes +18 +18 +0$", done.stdout)
    home = re.search(r"BALLOT_HOME=(\S+)", done.stdout)
    assert home is not None
    assert not Path(home[1]).exists()


@pytest.mark.long
def test_a_program_can_read_the_demo() -> None:
    """With --json stdout is one JSON value, and the steps with their seconds are on stderr."""
    done = run_demo("--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["differences"] == 0
    assert told["voters"]["voted"] == 18
    assert told["books"]["accepted"] == 18
    assert "ballot tally" in done.stderr


@pytest.fixture
def going() -> Iterator[subprocess.Popen[str]]:
    """A demo on its way; ended after the test, whatever happened."""
    with subprocess.Popen(
        [*ballot_command(), "demo", "branch-41"], stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            end_group(process, seconds=GONE_SECONDS_MAX)


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_demo_stops_all_it_started(going: subprocess.Popen[str], stop: signal.Signals) -> None:
    """Ctrl-C in the middle: no process of the run and no file of it is left."""
    assert going.stdout is not None
    folder = ""
    for line in going.stdout:
        folder = line.removeprefix("BALLOT_HOME=").strip().removesuffix("/home") if "=/" in line else folder
        if "ballot roll import" in line:
            break
    assert mentioned_by_processes(folder)
    going.send_signal(stop)
    wait_until(lambda: going.poll() is not None, seconds=GONE_SECONDS_MAX, what="the demo to end")
    assert going.returncode != 0
    wait_until(
        lambda: not mentioned_by_processes(folder), seconds=GONE_SECONDS_MAX, what="its processes to end"
    )
    assert not Path(folder).exists()


def mentioned_by_processes(folder: str) -> list[str]:
    """The command lines of running processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder.encode() in environment + line and int(process.name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_an_unknown_scenario_is_one_sentence() -> None:
    """The names that there are stand in the message."""
    done = subprocess.run(
        [*ballot_command(), "demo", "tube"],
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        f"ballot: There is no scenario 'tube'; there are {', '.join(scenario.names())}."
    )


def test_a_demo_has_no_papers() -> None:
    """A ballot of which part comes by post is refused before anything starts."""
    done = subprocess.run(
        [*ballot_command(), "demo", "residents-hybrid"],
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "votes on paper, which only `ballot load` plays" in done.stderr.replace("\n", " ")


def test_a_scenario_can_be_set_up_by_hand(tmp_path: Path) -> None:
    """`ballot load --prepare` writes what `create` and `roll import` read, for a deployment of one's own."""
    done = subprocess.run(
        [*ballot_command(), "load", "branch-41", "--prepare", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "definition.toml"), str(tmp_path / "roll.csv")]
    assert (tmp_path / "roll.csv").read_text() == plan.draw(scenario.load("branch-41")).roll_csv()


@pytest.mark.long
def test_a_killed_demo_leaves_no_process(going: subprocess.Popen[str]) -> None:
    """Kill -9 of the demo itself: `ballot up` notices, and stops its servers and processes in order."""
    assert going.stdout is not None
    folder = ""
    for line in going.stdout:
        folder = line.removeprefix("BALLOT_HOME=").strip().removesuffix("/home") if "=/" in line else folder
        if "ballot up" in line:
            break
    assert mentioned_by_processes(folder)
    going.kill()
    wait_until(
        lambda: not mentioned_by_processes(folder), seconds=GONE_SECONDS_MAX, what="the stack to be gone"
    )
    shutil.rmtree(folder)
