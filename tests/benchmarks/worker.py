"""One worker process on one core beside one edge process on one core: how far storing keeps up.

Each in turn has core A to itself, signature checks included, while generator, queue and databases share the
other. The worker is stopped while the edge accepts, and then finds a backlog; what it stores is timed.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from runtime import postgres
from runtime.addresses import OWNER
from runtime.servers import Servers
from tests.benchmarks import storing
from tests.benchmarks.driver import Stage, generate, prepare, ready
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import cpu_seconds, descendants
from tests.conftest import ballot_command
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, until

BALLOT = "bench-worker"
TIMES = 4
"""With a small backlog the figure is what it takes a worker to notice that there is one."""

GOAL, AIM = 0.5, 0.7
CONNECTIONS = 128
PARTS = ("worker", "database", "queue")


async def stored(stage: Stage) -> list[Figure]:
    """Accept a backlog, store it; the first round of both warms up and is not counted."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # one for what is measured, one for the rest
        raise click.ClickException("One core for the worker and one for the rest: two are needed.")
    votes = TIMES * stage.votes
    mine, others = cores[0], set(cores[1:])
    servers = {"database": stage.found.processes["voterdb"], "queue": stage.found.processes["valkey"]}
    rounds: list[dict[str, Any]] = []
    async with booth(stage.found, BALLOT) as poll:
        await poll.arm()
        await poll.publish()
        files = await prepare(stage.found, poll, stage.directory, files=stage.rounds + 1, votes=votes)
        with ExitStack() as stack:
            for pid in servers.values():
                stack.enter_context(_moved(pid, others))
            with _on({mine}):
                running = stack.enter_context(edge(stage.env))
                worker = stack.enter_context(_worker(stage.env))
            await ready(running.url, poll.path("document"))
            await storing.joined(poll)
            pids = {"worker": worker.pid, **servers}
            for file in files:
                with _stopped(worker):
                    accepted = await asyncio.to_thread(_accept, running, poll, file, others)
                    before, began_s = _cpu(pids), time.perf_counter()
                await _drained(stage.found, poll, (len(rounds) + 1) * votes)
                seconds = time.perf_counter() - began_s
                used = {part: cpu_s - before[part] for part, cpu_s in _cpu(pids).items()}
                rounds.append(accepted | used | {"stored": votes / seconds})
    return _figures(rounds[1:], votes)


def _accept(running: EdgeProcess, poll: Booth, file: Path, cores: set[int]) -> dict[str, float]:
    """One run of the generator, on `cores`; votes a second and the edge's CPU a vote."""
    port, pids = urlsplit(running.url).port or 0, running.children()
    before_s = sum(map(cpu_seconds, pids))
    with _on(cores):
        run = generate(port, poll.path("votes"), file, CONNECTIONS)
    cpu_s = sum(map(cpu_seconds, pids)) - before_s
    return {"accepted": run["per_second"], "edge": cpu_s, "generator_busy": run["generator_busy"]}


async def _drained(found: Servers, poll: Booth, votes: int) -> None:
    """Wait until `votes` votes of the ballot are stored; its mark says so without a count."""
    connection = await postgres.connect(found, "voterdb", OWNER)
    statement = "SELECT entries >= $2 FROM ballot.marks WHERE ballot = $1 AND side = 'stored'"

    async def stored() -> bool:
        return bool(await connection.fetchval(statement, poll.id, votes))

    try:
        await until(stored, seconds=storing.DRAIN_SECONDS_MAX)
    finally:
        await connection.close()


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    return {part: cpu_seconds(pid) for part, pid in pids.items()}


def _figures(rounds: list[dict[str, Any]], votes: int) -> list[Figure]:
    def column(name: str) -> list[float]:
        return [each[name] for each in rounds]

    def microseconds(*names: str) -> list[float]:
        return [sum(1e6 * each[name] / votes for name in names) for each in rounds]

    note = (
        f"a backlog of {votes} votes; each has one core for itself, its signature checks included, everything"
        " else is on the other"
    )
    name = "votes verified and stored a second, one worker process on one core"
    rate = Figure(
        name,
        "votes/s",
        column("stored"),
        column("accepted"),
        "accepted by one edge process on one core",
        GOAL,
        note,
        {"runs": rounds},
        aim=AIM,
    )
    of = "edge, a vote accepted"
    return [
        rate,
        Figure("CPU a stored vote, worker", "microseconds", microseconds("worker"), microseconds("edge"), of),
        Figure(
            "CPU a stored vote, PostgreSQL",
            "microseconds",
            microseconds("database"),
            microseconds("edge"),
            of,
        ),
        Figure(
            "CPU a stored vote, worker, PostgreSQL and queue",
            "microseconds",
            microseconds(*PARTS),
            microseconds("edge"),
            of,
        ),
    ]


@contextmanager
def _worker(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one `ballot worker`, checking signatures itself, until the block ends."""
    process = subprocess.Popen([sys.executable, ballot_command(), "worker"], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def _stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a process do nothing until the block ends."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and what it starts, to `cores` until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _moved(pid: int, cores: set[int]) -> Iterator[None]:
    """Keep a process and all that it started or will start to `cores` until the block ends."""
    before = os.sched_getaffinity(pid)
    _move(pid, cores)
    try:
        yield
    finally:
        _move(pid, before)


def _move(pid: int, cores: set[int]) -> None:
    for each in descendants(pid):
        for thread in Path(f"/proc/{each}/task").glob("[0-9]*"):
            os.sched_setaffinity(int(thread.name), cores)
