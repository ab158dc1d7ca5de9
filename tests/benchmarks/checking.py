"""What `ballot check` of a large ballot costs: wall and CPU seconds, and the memory of all its processes.

    python -m tests.benchmarks.million --votes 1000000 --home DIR
    python -m tests.benchmarks.checking --home DIR --signatures

The servers run beside it and are not counted, for in a real ballot they are there anyway; their CPU is said.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

from runtime.home import Home
from runtime.servers import Servers, servers
from tests.benchmarks import machine
from tests.conftest import ballot_command, environment_for

LOOK_S = 0.25
SECONDS_MAX = 3_600


@click.command()
@click.option("--home", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--ballot", default="million", show_default=True)
@click.argument("options", nargs=-1)
def checking(home: Path, ballot: str, options: tuple[str, ...]) -> None:
    """Run `ballot check BALLOT OPTIONS` on a home and print what it cost, as JSON."""
    env = environment_for(home.resolve())
    with servers(Home.from_environment(env), env) as found:
        measured = _measure(env, found, [ballot_command(), "check", ballot, "--json", *options])
    click.echo(json.dumps({"machine": machine.describe(), **measured}, indent=2))
    sys.exit(measured["status"])


def _measure(env: dict[str, str], found: Servers, command: list[str]) -> dict[str, Any]:
    """Run one check, looking at its processes all along."""
    before_s = _servers_s(found)
    started_s = time.perf_counter()
    times = os.times()
    peak_kb = processes_max = 0
    with TemporaryFile() as said, subprocess.Popen(command, env=env, stdout=said) as check:
        deadline_s = started_s + SECONDS_MAX
        while check.poll() is None and time.perf_counter() < deadline_s:
            sizes = [_resident_kb(pid) for pid in machine.descendants(check.pid)]
            peak_kb, processes_max = max(peak_kb, sum(sizes)), max(processes_max, len(sizes))
            time.sleep(LOOK_S)
        check.kill()
        status = check.wait()
        said.seek(0)
        report = json.loads(said.read())
    used = os.times()
    return {
        "status": status,
        "differences": report["differences"],
        "stored": report["books"]["stored"],
        "wall_s": round(time.perf_counter() - started_s, 1),
        "cpu_s": round(
            used.children_user + used.children_system - times.children_user - times.children_system, 1
        ),
        "servers_cpu_s": round(_servers_s(found) - before_s, 1),
        "memory_mb": round(peak_kb / 1_000 * 1.024, 1),
        "processes": processes_max,
    }


def _servers_s(found: Servers) -> float:
    return sum(machine.cpu_seconds(pid) for pid in found.processes.values())


def _resident_kb(pid: int) -> int:
    try:
        lines = (machine.PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


if __name__ == "__main__":
    checking()
