"""What comes after a vote: the register it is checked against, one worker at nice 10, and its backlog."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from redis.exceptions import ResponseError

from ballot import handoff
from runtime import postgres
from runtime.addresses import OWNER
from runtime.servers import Servers
from tests.conftest import ballot_command
from tests.integration.intake_rig import Booth, Voter, shard_of, until

NICE: Final = 10
DRAIN_SECONDS_MAX: Final = 120.0


async def register(found: Servers, poll: Booth, voters: Sequence[Voter]) -> None:
    """Enter the voters and their credentials in the voter database, where the worker looks them up."""
    connection = await postgres.connect(found, "voterdb", OWNER)
    try:
        await connection.execute(
            "INSERT INTO ballot.ballots (ballot, kind, definition, definition_sha256, shards)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            poll.id,
            poll.document.definition.kind,
            poll.document.definition.canonical,
            poll.document.definition.sha256,
            poll.shards,
        )
        await connection.copy_records_to_table(
            "electorate",
            schema_name="ballot",
            columns=["ballot", "uin"],
            records=[(poll.id, voter.uin) for voter in voters],
        )
        batch = 1 + int(
            await connection.fetchval(
                "SELECT coalesce(max(batch), 0) FROM ballot.register WHERE ballot = $1", poll.id
            )
        )
        columns = ["ballot", "credential_digest", "uin", "shard", "channel", "batch", "position", "issued_us"]
        rows = [
            (poll.id, voter.digest, voter.uin, shard_of(voter, poll.shards), "email", batch, place, 1)
            for place, voter in enumerate(voters)
        ]
        await connection.copy_records_to_table(
            "register", schema_name="ballot", columns=columns, records=rows
        )
    finally:
        await connection.close()


@contextmanager
def worker(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one `ballot worker` at nice 10 until the block ends."""
    with _nice([sys.executable, ballot_command(), "worker"], env) as made:
        yield made


@contextmanager
def _nice(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=env)
    os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


async def joined(poll: Booth) -> None:
    """Wait until the worker reads the ballot's stream."""

    async def reads() -> bool:
        try:
            groups = await poll.worker.xinfo_groups(handoff.votes_key(poll.id, 0))
        except ResponseError:
            return False
        return any(group["consumers"] for group in groups)

    await until(reads)


async def stored(found: Servers, poll: Booth) -> int:
    """How many votes of the ballot are in the voter database."""
    connection = await postgres.connect(found, "voterdb", OWNER)
    try:
        count = await connection.fetchval("SELECT count(*) FROM ballot.votes WHERE ballot = $1", poll.id)
    finally:
        await connection.close()
    return int(count)


async def drained(found: Servers, poll: Booth, votes: int) -> float:
    """Wait until `votes` votes of the ballot are stored; the seconds it took."""
    started_s = time.perf_counter()

    async def all_stored() -> bool:
        return await stored(found, poll) >= votes

    await until(all_stored, seconds=DRAIN_SECONDS_MAX)
    return time.perf_counter() - started_s
