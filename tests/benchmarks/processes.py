"""The figures of whole processes: votes a second, CPU a vote, votes an fsync, each beside its baselines."""

import asyncio
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from runtime import postgres
from runtime.addresses import OWNER
from runtime.servers import Servers
from tests.benchmarks.conventional import load_codes
from tests.benchmarks.driver import Stage, baseline, generate, prepare, ready
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import cpu_seconds
from tests.integration.intake_rig import Booth, booth, edge, until

BALLOT = "bench"
BARE_GOAL, CONVENTIONAL_GOAL, GROUP_GOAL = 0.60, 5.0, 20.0
GROUP_VOTERS = 64
GROUP_VOTES_MAX = 3_000
COUNTED = (
    "ours: FCALLs of the run, from INFO commandstats; the one edge sends the next only after the answer to "
    "the last, which comes after its fsync, so each is one fsync. Conventional: WAL fsyncs from pg_stat_io"
)

Rounds = dict[str, list[dict[str, Any]]]


async def throughput(stage: Stage) -> list[Figure]:
    """Ours, bare aiohttp and the conventional design in turn, same bodies, same generator."""
    async with booth(stage.found, BALLOT) as poll:
        files = await _files(stage, poll, files=stage.rounds, votes=stage.votes)
        rounds: Rounds = {"ours": [], "bare": [], "conventional": []}
        with (
            edge(stage.env) as running,
            baseline("bare", env=stage.env) as bare,
            baseline("conventional", str(stage.pool), env=stage.env) as conventional,
        ):
            await ready(running.url, poll.path("document"))
            ports = {
                "bare": bare.port,
                "ours": urlsplit(running.url).port or 0,
                "conventional": conventional.port,
            }
            queue, database = stage.found.processes["valkey"], stage.found.processes["voterdb"]
            pids = {
                "bare": {"handler": [bare.pid]},
                "ours": {"edge": running.children(), "queue": [queue]},
                "conventional": {"handler": [conventional.pid], "database": [database]},
            }
            for file in files:
                for name, port in ports.items():
                    before = _cpu(pids[name])
                    run = await asyncio.to_thread(generate, port, poll.path("votes"), file, stage.connections)
                    used = {part: seconds - before[part] for part, seconds in _cpu(pids[name]).items()}
                    run["cpu_us_per_vote"] = {
                        part: 1e6 * seconds / stage.votes for part, seconds in used.items()
                    }
                    rounds[name].append(run)
    return [*_rates(stage, rounds), *_cpu_figures(rounds)]


def _rates(stage: Stage, rounds: Rounds) -> list[Figure]:
    name = "durable accepted votes a second, one edge process"
    conditions = f"{stage.connections} connections, {stage.votes} votes a round, generator on the same cores"
    halves = "; ".join(_conditions(which, runs) for which, runs in rounds.items())
    per_second = {which: [run["per_second"] for run in runs] for which, runs in rounds.items()}
    ours, bare, conventional = per_second["ours"], per_second["bare"], per_second["conventional"]
    runs = {"runs": rounds, "connections": stage.connections}
    pool = f"{conditions}; pool of {stage.pool}"
    return [
        Figure(name, "votes/s", ours, bare, "bare aiohttp", BARE_GOAL, f"{conditions}; {halves}", runs),
        Figure(name, "votes/s", ours, conventional, "conventional", CONVENTIONAL_GOAL, pool),
    ]


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
        "without the worker, which stores later; user and system",
    )
    return [
        Figure(f"{name}, edge", unit, part("ours", "edge"), part("bare", "handler"), "bare aiohttp"),
        Figure(
            f"{name}, queue", unit, part("ours", "queue"), part("conventional", "database"), "its PostgreSQL"
        ),
        Figure(
            f"{name}, edge and queue",
            unit,
            part("ours", "edge", "queue"),
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
        Figure(name, "votes", ours, conventional, "conventional", GROUP_GOAL, COUNTED, goal_is_for_ours=True)
    ]


async def _conventional_fsyncs(stage: Stage, poll: Booth, file: Path) -> int:
    """How often PostgreSQL synced its log in one run; its processes report when they end."""
    before = await _wal_fsyncs(stage.found)
    with baseline("conventional", str(stage.pool), env=stage.env) as running:
        await asyncio.to_thread(generate, running.port, poll.path("votes"), file, GROUP_VOTERS)
    return await _wal_fsyncs(stage.found) - before


async def _wal_fsyncs(found: Servers) -> int:
    connection = await postgres.connect(found, "voterdb", OWNER)
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
    made = await prepare(poll, stage.directory, files=files, votes=votes)
    await load_codes(stage.found, poll.id, made)
    return made


async def _calls(poll: Booth) -> int:
    stats = await poll.worker.info("commandstats")
    return int(stats["cmdstat_fcall"]["calls"])


def _cpu(parts: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(cpu_seconds(pid) for pid in pids) for name, pids in parts.items()}
