"""Accepted votes an fsync, beside what the conventional design makes of the same votes."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from runtime import postgres
from runtime.addresses import OWNER
from runtime.servers import Servers
from tests.benchmarks.driver import Stage, armed_files, baseline, generate, ready
from tests.benchmarks.figure import Figure
from tests.integration.intake_rig import Booth, booth, edge, until

BALLOT = "bench-group"
GROUP_GOAL, GROUP_AIM = 20.0, 40.0
GROUP_VOTERS = 64
GROUP_VOTES_MAX = 3_000
COUNTED = (
    "ours: FCALLs of the run, from INFO commandstats; the one edge sends the next only after the answer to "
    "the last, which comes after its fsync, so each is one fsync. Conventional: WAL fsyncs from pg_stat_io"
)


async def group(stage: Stage) -> list[Figure]:
    """Accepted votes an fsync at 64 concurrent voters."""
    votes = min(stage.votes, GROUP_VOTES_MAX)
    ours, conventional = [], []
    async with booth(stage.found, BALLOT) as poll:
        files = await armed_files(stage, poll, files=stage.rounds, votes=votes)
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


async def _calls(poll: Booth) -> int:
    stats = await poll.worker.info("commandstats")
    return int(stats["cmdstat_fcall"]["calls"])
