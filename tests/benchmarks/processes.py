"""The figures of whole processes: votes a second, CPU a vote, votes an fsync, each beside its baselines."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from runtime import postgres
from runtime.addresses import OWNER
from runtime.servers import Servers
from tests.benchmarks import storing
from tests.benchmarks.conventional import load_codes
from tests.benchmarks.driver import Stage, baseline, generate, prepare, ready
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import cpu_seconds
from tests.integration.intake_rig import Booth, booth, edge, until

BALLOT = "bench"
BARE_GOAL, BARE_AIM = 0.60, 0.80
CONVENTIONAL_GOAL, CONVENTIONAL_AIM = 5.0, 8.0
GROUP_GOAL, GROUP_AIM = 20.0, 40.0
BUSY_MIN, GENERATOR_BUSY_MAX = 0.95, 0.95
"""A run counts only when the cores were busy and the generator was not what held it up."""
GROUP_VOTERS = 64
GROUP_VOTES_MAX = 3_000
COUNTED = (
    "ours: FCALLs of the run, from INFO commandstats; the one edge sends the next only after the answer to "
    "the last, which comes after its fsync, so each is one fsync. Conventional: WAL fsyncs from pg_stat_io"
)

Rounds = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a comparison: where it listens, and the processes whose CPU counts as which part of it."""

    port: int
    pids: dict[str, list[int]]


async def throughput(stage: Stage) -> list[Figure]:
    """Ours, bare aiohttp and the conventional design in turn, same bodies, same generator.

    Beside ours a worker stores at nice 10, as does the cluster behind it; its backlog is waited for before
    the next half begins. Beside bare aiohttp, which stores nothing, a busy loop takes the worker's place.
    """
    async with booth(stage.found, BALLOT) as poll:
        files = await _files(stage, poll, files=stage.rounds, votes=stage.votes)
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
            halves = {
                "bare": Half(bare.port, {"handler": [bare.pid]}),
                "ours": Half(
                    urlsplit(running.url).port or 0,
                    {
                        "edge": running.children(),
                        "queue": [queue],
                        "worker": [worker.pid],
                        "worker's PostgreSQL": [voterdb],
                    },
                ),
                "conventional": Half(
                    conventional.port, {"handler": [conventional.pid], "database": [userdb]}
                ),
            }
            for turn, file in enumerate(files, start=1):
                for name, half in halves.items():
                    rounds[name].append(await _half(stage, poll, name, half, file, turn * stage.votes))
    return [*_rates(stage, rounds), *_cpu_figures(rounds)]


async def _half(stage: Stage, poll: Booth, name: str, half: Half, file: Path, stored: int) -> dict[str, Any]:
    """One run of the generator; `stored` votes of the ballot are in the voter database when ours is done."""
    before = _cpu(half.pids)
    with storing.filler(stage.env) if name == "bare" else nullcontext():
        run = await asyncio.to_thread(generate, half.port, poll.path("votes"), file, stage.connections)
    if name == "ours":
        run["drain_seconds"] = await storing.drained(stage.found, poll, stored)
    used = {part: seconds - before[part] for part, seconds in _cpu(half.pids).items()}
    run["cpu_us_per_vote"] = {part: 1e6 * seconds / stage.votes for part, seconds in used.items()}
    run["counts"] = run["cores_busy"] >= BUSY_MIN and run["generator_busy"] <= GENERATOR_BUSY_MAX
    return run


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


async def group(stage: Stage) -> list[Figure]:
    """Accepted votes an fsync at 64 concurrent voters."""
    votes = min(stage.votes, GROUP_VOTES_MAX)
    ours, conventional = [], []
    async with booth(stage.found, f"{BALLOT}-group") as poll:
        files = await _files(stage, poll, files=stage.rounds, votes=votes)
        with edge(stage.env) as running:
            await ready(running.url, poll.path("document"))
            port = urlsplit(running.url).port or 0
            for file in files:
                before = await _calls(poll)
                await asyncio.to_thread(generate, port, poll.path("votes"), file, GROUP_VOTERS)
                ours.append(votes / (await _calls(poll) - before))
                conventional.append(votes / await _conventional_fsyncs(stage, poll, file))
    name = f"accepted votes an fsync at {GROUP_VOTERS} concurrent voters"
    return [
        Figure(
            name,
            "votes",
            ours,
            conventional,
            "conventional",
            GROUP_GOAL,
            COUNTED,
            goal_is_for_ours=True,
            aim=GROUP_AIM,
        )
    ]


async def _conventional_fsyncs(stage: Stage, poll: Booth, file: Path) -> int:
    """How often PostgreSQL synced its log in one run; its processes report when they end."""
    before = await _wal_fsyncs(stage.found)
    with baseline("conventional", str(stage.pool), env=stage.env) as running:
        await asyncio.to_thread(generate, running.port, poll.path("votes"), file, GROUP_VOTERS)
    return await _wal_fsyncs(stage.found) - before


async def _wal_fsyncs(found: Servers) -> int:
    connection = await postgres.connect(found, "userdb", OWNER)
    try:

        async def alone() -> bool:
            others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            return bool(await connection.fetchval(others) == 1)

        await until(alone)
        return int(await connection.fetchval("SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"))
    finally:
        await connection.close()


async def _files(stage: Stage, poll: Booth, *, files: int, votes: int) -> list[Path]:
    """Arm, publish and issue: one ballot, at the gate and in the conventional design's table."""
    await poll.arm()
    await poll.publish()
    made = await prepare(stage.found, poll, stage.directory, files=files, votes=votes)
    await load_codes(stage.found, poll.id, made)
    return made


async def _calls(poll: Booth) -> int:
    stats = await poll.worker.info("commandstats")
    return int(stats["cmdstat_fcall"]["calls"])


def _cpu(parts: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(cpu_seconds(pid) for pid in pids) for name, pids in parts.items()}
