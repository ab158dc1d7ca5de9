"""The voter database is destroyed while people vote: backups and queue have every acknowledged vote."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff, receipt
from ballot.suite import SigningKey
from intake.gate import decisions
from ops.backup.restore_cluster import ask
from runtime import postgres, processes, valkey
from runtime.postgres_server import PostgresServer
from runtime.servers import Servers, servers
from tests.benchmarks.filling import Sealer
from tests.conftest import ballot_command
from tests.integration.restore_rig import (
    BALLOT,
    COMMAND_WAIT_S,
    ROLL,
    VOTERS,
    Ground,
    Origin,
    back_up,
    receiving,
    report_of,
    switch,
    the_origin,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.filling import SealedVote

VOTES = "SELECT count(*)::text AS answer FROM ballot.votes"
PART = 4


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A home with a ballot in which half have voted, a full backup and an incremental one."""
    return the_origin(tmp_path_factory)


class Crowd:
    """Those who have not voted yet; each vote that the gate accepts is acknowledged with a receipt."""

    def __init__(self, ground: Ground, running: Servers, codes: tuple[str, ...], receipts: Path) -> None:
        self._running = running
        self._receipts = receipts
        self._key = SigningKey.from_seed(ground.home.secret("receipts"))
        self._votes = Sealer(ground.home, BALLOT, 1).seal(codes)

    def vote(self, count: int) -> None:
        """The next `count` of them vote."""
        now, self._votes = self._votes[:count], self._votes[count:]
        asyncio.run(self._cast(now))

    async def _cast(self, votes: list[SealedVote]) -> None:
        client: Any = valkey.connect(self._running, "admin")
        keys = handoff.shard_keys(BALLOT, 0)
        try:
            for vote in votes:
                reply = await client.fcall("ballot_cast", len(keys), *keys, *vote[1:6], b"")
                (made,) = decisions(reply)
                assert made.outcome == "accepted"
                leaf = receipt.Leaf(
                    BALLOT, made.reference, made.accepted_us, hashlib.sha256(vote[8]).digest()
                )
                (body,) = receipt.issue_bodies([leaf], self._key)
                with self._receipts.open("ab") as file:
                    file.write(body + b"\n")
        finally:
            await client.aclose()


def stored(running: Servers) -> int:
    """Votes in the voter database."""

    async def count() -> int:
        connection = await postgres.connect(running, "voterdb", "ballot_checker")
        try:
            return int(await connection.fetchval("SELECT count(*) FROM ballot.votes"))
        finally:
            await connection.close()

    return asyncio.run(count())


def test_a_database_destroyed_in_the_middle_of_the_load_loses_no_acknowledged_vote(
    origin: Origin, tmp_path: Path
) -> None:
    """Full + incremental + WAL are restored, workers store again: every receipt has its vote, none two."""
    ground = origin.copied(tmp_path, "voterdb", "userdb", "valkey")
    receipts = tmp_path / "receipts.jsonl"
    shutil.copyfile(origin.receipts, receipts)
    database = PostgresServer(ground.home, "voterdb")
    with servers(ground.home, {}) as running:
        crowd = Crowd(ground, running, origin.unspent, receipts)
        worker = subprocess.Popen([ballot_command(), "worker"], env=ground.env, stderr=subprocess.DEVNULL)
        try:
            with receiving(ground, running) as archive:
                crowd.vote(PART)
                until(lambda: stored(running) == VOTERS + PART)
                added = back_up(ground, running, "voterdb")
                assert added.kind == "incremental"
                crowd.vote(PART // 2)
                until(lambda: stored(running) == VOTERS + PART + PART // 2)
                switch(running, archive, ground)  # these are in the WAL, and no later ones
                crowd.vote(PART // 2)
                until(lambda: stored(running) == VOTERS + 2 * PART)
            for process in processes.in_directory(database.data, executable=database.executable):
                processes.stop(process, signal.SIGKILL, wait_s=COMMAND_WAIT_S)
            shutil.rmtree(database.data)
            crowd.vote(PART)  # the gate goes on without it
        finally:
            worker.terminate()
            worker.wait(COMMAND_WAIT_S)
    shutil.rmtree(ground.home.data / "voterdb.wal-spool")

    assert ground.restore("voterdb").exit_code == 0
    report = report_of(ground)
    assert (report["backups"][0], report["backups"][-1]) == (origin.full.id, added.id)
    assert ask(database, VOTES) == [str(VOTERS + PART + PART // 2)]
    with servers(ground.home, {}) as running:
        done = ground.run("worker", "--until-drained")
        assert done.returncode == 0, done.stderr
        assert stored(running) == ROLL == len(receipts.read_bytes().splitlines())
        checked = ground.run("check", BALLOT, "--receipts", str(receipts))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "differences: 0" in checked.stdout
