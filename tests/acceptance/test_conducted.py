"""A load run is what it says: from nothing to a verdict, a directory to judge again, nothing left over."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.staging.stage import ballot_command, end_group, wait_until

RUN_SECONDS_MAX = 600
REFUSED_SECONDS_MAX = 60
GONE_SECONDS_MAX = 90
KEPT = {
    *("run.json", "schedule.npz", "windows.json", "samples.jsonl", "marks.jsonl", "seconds.jsonl"),
    *("casts.npz", "receipts.jsonl", "sealed.jsonl", "unsettled.jsonl", "summary.json"),
    "availability.json",
    *("result.json", "check.json", "figures.json", "chosen.json", "quiet.json", "verdict.json"),
    *("report.json", "report.html"),
}


def run_load(
    *arguments: str | Path, seconds: float = REFUSED_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """`ballot load ARGUMENTS…`, whole."""
    return subprocess.run(
        [*ballot_command(), "load", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.long
def test_a_whole_ballot_is_replayed_and_judged(tmp_path: Path) -> None:
    """Sent at its moments, closed at its second, counted as published; judged again from what it left."""
    out = tmp_path / "report"
    done = run_load("branch-41", "--speed", "60", "--json", "--report", out, seconds=RUN_SECONDS_MAX)
    told = json.loads(done.stdout)
    held = {each["what"]: each["ok"] for each in told["judgements"]}
    # How punctual the generator and how fast the answers are is the machine's matter; the votes are not.
    assert held["the result is the published one"]
    assert held["every receipt is counted, once"]
    assert held["nothing is accepted at or after the close"]
    assert held["the turnout is exact at every quiet point"]
    assert done.returncode == {"pass": 0, "fail": 1, "void": 3}[told["verdict"]]
    assert {path.name for path in out.iterdir()} >= KEPT
    again = subprocess.run(
        [sys.executable, "-m", "loadtests.judging", out], capture_output=True, check=False, timeout=60
    )
    assert again.returncode == done.returncode


@pytest.mark.long
def test_an_interrupted_run_stops_all_it_started(tmp_path: Path) -> None:
    """Ctrl-C while votes are sent: no process and no file of the deployment stays, and no verdict."""
    out = tmp_path / "report"
    command = [*ballot_command(), "load", "branch-41", "--speed", "10", "--report", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "sealed ahead" in line:
                    break
            folder = _deployment(process.pid)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: process.poll() is not None, seconds=GONE_SECONDS_MAX, what="the run to end")
        finally:
            end_group(process, seconds=GONE_SECONDS_MAX)
    assert process.returncode != 0
    wait_until(lambda: not _mentioned(folder), seconds=GONE_SECONDS_MAX, what="its processes to end")
    assert not Path(folder).exists()
    assert not (out / "verdict.json").exists()


def _deployment(pid: int) -> str:
    """The folder of the deployment that a process below `pid` runs in."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        found = re.search(rb"BALLOT_HOME=(\S*?)/home\0", words)
        if parent == pid and found is not None:
            return found[1].decode()
    raise AssertionError("no deployment is running")


def _mentioned(folder: str) -> list[str]:
    """The command lines of other running processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder.encode() in words and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    """An overlay nobody knows, a part in which nobody votes: refused before anything is started."""
    done = run_load("branch-41", "--overlay", "bots", "--report", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "There is no overlay 'bots'" in done.stderr
    done = run_load("branch-41", "--only", "close", "--report", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Nobody votes in that part of the ballot" in done.stderr
