"""What an edge process keeps of the votes that went through it, which should be nothing.

The first 10,000 are accepted; all further ones are the same votes sent again. Those take the same way and get
the same answer, over new connections, without filling the queue of a machine that others use too. 50 times
`--votes` go through in all: 200,000 unless told otherwise, and with `--votes 20000` a million.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from tests.benchmarks.driver import ROOT, Stage, prepare, ready
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import PROC
from tests.integration.intake_rig import booth, edge

BALLOT = "bench-memory"
FIRST = 10_000
TIMES = 50
CONNECTIONS = 128
"""Kept small and the same: what connections hold is another figure (README, BALLOT_CONNECTIONS_MAX)."""

GOAL, AIM = 1.1, 1.02
ACCEPTED = {"200", "201"}


async def memory(stage: Stage) -> list[Figure]:
    """Resident memory of one edge process after the first 10,000 votes, and after many more."""
    votes = max(stage.votes * TIMES, 2 * FIRST)
    async with booth(stage.found, BALLOT) as poll:
        await poll.arm()
        await poll.publish()
        (file,) = await prepare(stage.found, poll, stage.directory, files=1, votes=FIRST)
        with edge(stage.env) as running:
            await ready(running.url, poll.path("document"))
            port = urlsplit(running.url).port or 0
            (pid,) = running.children()
            sizes = []
            for _ in range(0, votes, FIRST):
                await asyncio.to_thread(_send, port, poll.path("votes"), file, CONNECTIONS)
                sizes.append(_resident_mib(pid))
    return [
        Figure(
            f"memory of one edge process after {len(sizes) * FIRST:,} votes",
            "MiB",
            [sizes[-1]],
            [sizes[0]],
            f"itself after {FIRST:,}",
            goal=GOAL,
            aim=AIM,
            at_most=True,
            note="all votes after the first 10,000 are retries of those; largest on the way "
            f"{max(sizes):.1f} MiB",
            detail={"mib_after_each_10000": [round(size, 2) for size in sizes]},
        )
    ]


def _send(port: int, path: str, bodies: Path, connections: int) -> None:
    """Send every body once; each must get its receipt."""
    arguments = [str(port), path, str(bodies), str(connections)]
    command = [sys.executable, "-m", "tests.benchmarks.generator", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=90)
    found: dict[str, Any] = json.loads(done.stdout)
    if not found["statuses"].keys() <= ACCEPTED:
        raise click.ClickException(f"Not every vote got its receipt: {found['statuses']}")


def _resident_mib(pid: int) -> float:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    raise click.ClickException("The edge process is gone.")
