"""Votes a second and CPU a vote, one edge process, beside bare aiohttp and the conventional design.

Both halves of the comparison with bare aiohttp run beside the same thing: one worker at nice 10, with the
cluster behind it, that stores from a backlog laid up before. What is left of it afterwards is waited for.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from tests.benchmarks import storing
from tests.benchmarks.driver import Stage, armed_files, baseline, generate, ready
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import cpu_seconds
from tests.integration.intake_rig import Booth, booth, edge

BALLOT: Final = "bench"
BARE_GOAL, BARE_AIM = 0.60, 0.80
CONVENTIONAL_GOAL, CONVENTIONAL_AIM = 5.0, 8.0
BUSY_MIN, GENERATOR_BUSY_MAX = 0.95, 0.95
"""A run counts only when the cores were busy and the generator was not what held it up."""

Rounds = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a comparison: where it listens, and the processes whose CPU counts as which part of it."""

    port: int
    pids: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What all halves share: the ballot, and the worker with its backlog."""

    stage: Stage
    poll: Booth
    worker: int
    halves: dict[str, Half]
    after: dict[str, list[int]]

    async def turn(self, rounds: Rounds, backlog: Path, file: Path, *, stored: int) -> None:
        """Ours and bare aiohttp beside the storing worker, then the conventional design alone.

        Before it `stored` votes are in the voter database, afterwards those of both files too.
        """
        before = _cpu(self.after)
        os.kill(self.worker, signal.SIGSTOP)
        await self._generate("ours", backlog)
        for name in ("ours", "bare"):
            with self._storing():
                rounds[name].append(await self._half(name, file))
            left = stored + 2 * self.stage.votes - await storing.stored(self.stage.found, self.poll)
            rounds[name][-1]["backlog_left"] = left
            rounds[name][-1]["counts"] &= left > 0
        os.kill(self.worker, signal.SIGCONT)
        ours = rounds["ours"][-1]
        ours["drain_seconds"] = await storing.drained(
            self.stage.found, self.poll, stored + 2 * self.stage.votes
        )
        for part, seconds in _cpu(self.after).items():
            ours["cpu_us_per_vote"][part] = 1e6 * (seconds - before[part]) / (2 * self.stage.votes)
        rounds["conventional"].append(await self._half("conventional", file))

    @contextmanager
    def _storing(self) -> Iterator[None]:
        os.kill(self.worker, signal.SIGCONT)
        try:
            yield
        finally:
            os.kill(self.worker, signal.SIGSTOP)

    async def _half(self, name: str, file: Path) -> dict[str, Any]:
        pids = self.halves[name].pids
        before = _cpu(pids)
        run = await self._generate(name, file)
        used = {part: seconds - before[part] for part, seconds in _cpu(pids).items()}
        run["cpu_us_per_vote"] = {part: 1e6 * seconds / self.stage.votes for part, seconds in used.items()}
        run["counts"] = run["cores_busy"] >= BUSY_MIN and run["generator_busy"] <= GENERATOR_BUSY_MAX
        return run

    async def _generate(self, name: str, file: Path) -> dict[str, Any]:
        port = self.halves[name].port
        return await asyncio.to_thread(generate, port, self.poll.path("votes"), file, self.stage.connections)


async def throughput(stage: Stage) -> list[Figure]:
    """Ours, bare aiohttp and the conventional design in turn, same bodies, same generator."""
    async with booth(stage.found, BALLOT) as poll:
        files = await armed_files(stage, poll, files=2 * stage.rounds, votes=stage.votes)
        rounds: Rounds = {"ours": [], "bare": [], "conventional": []}
        with (
            edge(stage.env) as running,
            storing.worker(stage.env) as worker,
            baseline("bare", env=stage.env) as bare,
            baseline("conventional", str(stage.pool), env=stage.env) as conventional,
        ):
            await ready(running.url, poll.path("document"))
            await storing.joined(poll)
            queue, voterdb, userdb = (stage.found.processes[name] for name in ("valkey", "voterdb", "userdb"))
            port = urlsplit(running.url).port or 0
            halves = {
                "ours": Half(port, {"edge": running.children(), "queue": [queue]}),
                "bare": Half(bare.port, {"handler": [bare.pid]}),
                "conventional": Half(
                    conventional.port, {"handler": [conventional.pid], "database": [userdb]}
                ),
            }
            after = {"worker": [worker.pid], "worker's PostgreSQL": [voterdb]}
            ground = Ground(stage, poll, worker.pid, halves, after)
            for turn in range(stage.rounds):
                backlog, file = files[2 * turn : 2 * turn + 2]
                await ground.turn(rounds, backlog, file, stored=2 * turn * stage.votes)
    return [*_rates(stage, rounds), *_cpu_figures(rounds)]


def _counting(rounds: Rounds, *halves: str) -> list[int]:
    """The rounds that count, by place: generator with idle time, cores busy, in each of these halves."""
    return [
        place
        for place, runs in enumerate(zip(*(rounds[half] for half in halves), strict=True))
        if all(run["counts"] for run in runs)
    ]


def _rates(stage: Stage, rounds: Rounds) -> list[Figure]:
    name = "durable accepted votes a second, one edge process"
    conditions = f"{stage.connections} connections, {stage.votes} votes a round, generator on the same cores"
    spoken = "; ".join(_conditions(which, runs) for which, runs in rounds.items())
    drain = median(run["drain_seconds"] for run in rounds["ours"])
    figures = []
    for half, title, goal, aim in (
        ("bare", "bare aiohttp", BARE_GOAL, BARE_AIM),
        ("conventional", f"conventional, pool of {stage.pool}", CONVENTIONAL_GOAL, CONVENTIONAL_AIM),
    ):
        counting = _counting(rounds, "ours", half)
        used = counting or range(stage.rounds)
        note = f"{len(counting)} of {stage.rounds} rounds count" + (
            "" if counting else ": NONE does, shown are all"
        )
        ours, theirs = ([rounds[which][place]["per_second"] for place in used] for which in ("ours", half))
        note = f"{note}; {conditions}; {spoken}; worker drained {drain:.1f} s after"
        detail = {"runs": rounds, "connections": stage.connections} if half == "bare" else {}
        figures.append(Figure(name, "votes/s", ours, theirs, title, goal, note, detail, aim=aim))
    return figures


def _conditions(which: str, runs: list[dict[str, Any]]) -> str:
    """How busy machine and generator were and how long voters waited, as medians over the rounds."""
    busy, generator, p99 = (
        median(run[field] for run in runs) for field in ("cores_busy", "generator_busy", "p99_ms")
    )
    return f"{which}: cores {busy:.0%} busy, generator {generator:.0%} of one, p99 {p99:.0f} ms"


def _cpu_figures(rounds: Rounds) -> list[Figure]:
    def part(which: str, *names: str) -> list[float]:
        return [sum(run["cpu_us_per_vote"][name] for name in names) for run in rounds[which]]

    name, unit, whole = (
        "CPU a vote",
        "microseconds",
        "user and system, until the last vote is stored; the conventional design has stored by then",
    )
    after = ("worker", "worker's PostgreSQL")
    return [
        Figure(f"{name}, edge", unit, part("ours", "edge"), part("bare", "handler"), "bare aiohttp"),
        Figure(
            f"{name}, queue", unit, part("ours", "queue"), part("conventional", "database"), "its PostgreSQL"
        ),
        Figure(f"{name}, worker", unit, part("ours", "worker"), [], "none"),
        Figure(f"{name}, worker's PostgreSQL", unit, part("ours", "worker's PostgreSQL"), [], "none"),
        Figure(
            f"{name}, edge, queue, worker and its PostgreSQL together",
            unit,
            part("ours", "edge", "queue", *after),
            part("conventional", "handler", "database"),
            "conventional",
            note=whole,
        ),
    ]


def _cpu(parts: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(cpu_seconds(pid) for pid in pids) for name, pids in parts.items()}
