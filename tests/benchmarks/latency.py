"""How long a voter waits when much happens at once, each beside the same stack without it, in turn.

In the worst second of a large ballot; while the queue rewrites its file; while the edge's processes are
replaced.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from runtime import valkey
from tests.benchmarks.driver import ROOT, Stage, generate, prepare, ready
from tests.benchmarks.figure import Figure
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge

RATE = 264
"""Votes in the worst second of a ballot of 1.3 million members."""

IDLE_RATE = 25
SECONDS = 4
IDLE_VOTES = IDLE_RATE * SECONDS
RATE_VOTES = RATE * SECONDS
REACH, AIM = 3.0, 2.0
CLOSED_VOTERS = 64
CLOSED_VOTES = 2_000
FILLER_KEYS, FILLER_BYTES = 60, 1 << 20
REPLACED_S = 30.0


async def latency(stage: Stage) -> list[Figure]:
    """p99 at the worst second's rate over p99 of one vote at a time."""
    busy: list[float] = []
    idle: list[float] = []
    runs: list[dict[str, Any]] = []
    async with _open(stage, "latency") as (poll, running):
        for _ in range(stage.rounds):
            alone = await _cast(stage, poll, running, votes=IDLE_VOTES, rate=IDLE_RATE, one_at_a_time=True)
            together = await _cast(stage, poll, running, votes=RATE_VOTES, rate=RATE)
            idle.append(alone["p99_ms"])
            busy.append(together["p99_ms"])
            runs.append({"idle": alone, "busy": together})
    note = (
        f"{RATE} votes a second open-loop for {SECONDS} s a round, counted from when each was due; idle: "
        f"one vote at a time, {IDLE_RATE} a second"
    )
    detail = {"runs": runs}
    name = f"latency p99 at {RATE} votes a second"
    return [Figure(name, "ms", busy, idle, "idle", REACH, note, detail, aim=AIM, at_most=True)]


async def rewrite(stage: Stage) -> list[Figure]:
    """p99 and throughput while the append-only file is rewritten again and again, and without."""
    waits: dict[bool, list[float]] = {True: [], False: []}
    rates: dict[bool, list[float]] = {True: [], False: []}
    async with _open(stage, "rewrite") as (poll, running), _filled(stage):
        for _ in range(stage.rounds):
            for rewriting in (False, True):
                async with _rewriting(stage, on=rewriting):
                    open_loop = await _cast(stage, poll, running, votes=RATE_VOTES, rate=RATE)
                    (file,) = await prepare(stage.found, poll, stage.directory, files=1, votes=CLOSED_VOTES)
                    path = poll.path("votes")
                    closed = await asyncio.to_thread(generate, _port(running), path, file, CLOSED_VOTERS)
                waits[rewriting].append(open_loop["p99_ms"])
                rates[rewriting].append(closed["per_second"])
    megabytes = FILLER_KEYS * FILLER_BYTES >> 20
    note = f"rewrites of {megabytes} MB, one after the other; p99 at {RATE} votes a second"
    without = "without a rewrite"
    return [
        Figure("latency p99 during a rewrite", "ms", waits[True], waits[False], without, note=note),
        Figure(
            "votes a second during a rewrite",
            "votes/s",
            rates[True],
            rates[False],
            without,
            note=f"{CLOSED_VOTERS} connections",
        ),
    ]


async def restart(stage: Stage) -> list[Figure]:
    """p99 while two processes are replaced one after the other, and without; any refusal or reset fails."""
    during: list[float] = []
    steady: list[float] = []
    async with _open(stage, "restart", processes=2) as (poll, running):
        for _ in range(stage.rounds):
            steady.append((await _cast(stage, poll, running, votes=RATE_VOTES, rate=RATE))["p99_ms"])
            before = set(running.children())
            os.kill(running.process.pid, signal.SIGHUP)
            during.append((await _cast(stage, poll, running, votes=2 * RATE_VOTES, rate=RATE))["p99_ms"])
            async with asyncio.timeout(REPLACED_S):
                while before & set(running.children()):  # noqa: ASYNC110  # processes set no event
                    await asyncio.sleep(0.1)
    note = f"two processes, {RATE} votes a second; every vote was accepted, no connection was reset"
    name = "latency p99 during a rolling restart"
    return [Figure(name, "ms", during, steady, "without a restart", note=note)]


@asynccontextmanager
async def _open(stage: Stage, name: str, *, processes: int = 1) -> AsyncIterator[tuple[Booth, EdgeProcess]]:
    """An open ballot and an edge in front of it."""
    async with booth(stage.found, f"bench-{name}") as poll:
        await poll.arm()
        await poll.publish()
        with edge(stage.env, processes=processes) as running:
            await ready(running.url, poll.path("document"))
            yield poll, running


async def _cast(
    stage: Stage, poll: Booth, running: EdgeProcess, *, votes: int, rate: float, one_at_a_time: bool = False
) -> dict[str, Any]:
    """Cast new votes at a rate; all must be accepted."""
    (file,) = await prepare(stage.found, poll, stage.directory, files=1, votes=votes)
    return await asyncio.to_thread(_drive, _port(running), poll.path("votes"), file, rate, one_at_a_time)


def _drive(port: int, path: str, file: Path, rate: float, one_at_a_time: bool) -> dict[str, Any]:
    arguments = [str(port), path, str(file), str(rate), str(int(one_at_a_time))]
    command = [sys.executable, "-m", "tests.benchmarks.open_loop", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=90)
    if done.returncode != 0:
        raise click.ClickException(f"The generator failed: {done.stderr.decode()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if list(found["statuses"]) != ["201"]:
        raise click.ClickException(f"Not every vote was accepted: {found['statuses']}")
    return found


def _port(running: EdgeProcess) -> int:
    return urlsplit(running.url).port or 0


@asynccontextmanager
async def _filled(stage: Stage) -> AsyncIterator[None]:
    """Something to rewrite: the bench's own ballots alone are written in no time."""
    admin: Any = valkey.connect(stage.found, "admin")
    names = [f"bench-filler:{number}" for number in range(FILLER_KEYS)]
    try:
        for name in names:
            await admin.set(name, os.urandom(FILLER_BYTES))
        yield
    finally:
        await admin.delete(*names)
        await admin.aclose()


@asynccontextmanager
async def _rewriting(stage: Stage, *, on: bool) -> AsyncIterator[None]:
    """Rewrite the append-only file, one time after the other, while the block runs."""
    admin: Any = valkey.connect(stage.found, "admin")

    async def again_and_again() -> None:
        while on:
            if not (await admin.info("persistence"))["aof_rewrite_in_progress"]:
                await admin.bgrewriteaof()
            await asyncio.sleep(0.05)

    rewriting = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        rewriting.cancel()
        with suppress(asyncio.CancelledError):
            await rewriting
        await admin.aclose()
