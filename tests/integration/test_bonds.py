"""Votes stay with the register, codes with electorate and roll: whatever the statement, whoever meets."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from runtime import postgres
from runtime.addresses import OWNER
from tests.integration.workers_ground import Ground, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.addresses import Cluster
    from tests.conftest import Stack

REGISTER = """
INSERT INTO ballot.register (ballot, credential_digest, uin, shard, channel, batch, position, issued_us)
VALUES ($1, sha256($2), $2, 0, 'email', 999, $3, 1)
"""
LEAVE = "DELETE FROM ballot.electorate WHERE ballot = $1 AND uin = $2"


@pytest.fixture
async def voted(stack: Stack, ballot_id: str) -> AsyncIterator[Ground]:
    """A ballot with one stored vote."""
    async with ground(stack, ballot_id) as made:
        (voter,) = await made.voters(1)
        await made.cast(voter)
        async with made.worker(Verifier(0)) as rig:
            await rig.drain()
        assert len(await made.rows("votes")) == 1
        yield made


@asynccontextmanager
async def another(stack: Stack, database: Cluster = "voterdb") -> AsyncIterator[asyncpg.Connection]:
    """Another connection of the owner."""
    connection = await postgres.connect(stack.servers, database, OWNER)
    try:
        yield connection
    finally:
        await connection.close()


async def refused(connection: asyncpg.Connection, statement: str, *arguments: object) -> str:
    """Say why `statement` is refused; whatever it does is undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        with pytest.raises(asyncpg.ForeignKeyViolationError) as failure:
            await connection.execute(statement, *arguments)
    finally:
        await transaction.rollback()
    return str(failure.value)


async def test_a_vote_is_moved_to_no_credential_outside_the_register(voted: Ground) -> None:
    """What an INSERT may not do, an UPDATE may not."""
    moved = "UPDATE ballot.votes SET credential_digest = sha256(uin) WHERE ballot = $1"

    assert await refused(voted.owner, moved, voted.ballot) == "a vote is for a credential in the register"


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("TRUNCATE ballot.register, ballot.revocations", "votes"),
        ("TRUNCATE ballot.register CASCADE", "votes"),
        ("TRUNCATE ballot.electorate, ballot.returns", "register"),
    ],
)
async def test_no_table_is_emptied_under_another(voted: Ground, statement: str, table: str) -> None:
    """A TRUNCATE fires no trigger of a row, and is refused all the same."""
    told = await refused(voted.owner, statement)

    assert told.endswith(f"is not emptied while {table} has rows")


async def test_the_roll_is_not_emptied_under_what_was_dispatched(stack: Stack, ballot_id: str) -> None:
    """The same in the user database."""
    async with another(stack, "userdb") as owner:
        transaction = owner.transaction()
        await transaction.start()
        # As replica: neither has to be a real voter for this.
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(
            "INSERT INTO people.dispatches (ballot, uin, channel, batch) VALUES ($1, $2, 'post', 1)",
            ballot_id,
            secrets.token_bytes(16),
        )
        await owner.execute("SET LOCAL session_replication_role = origin")
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="while dispatches has rows"):
            await owner.execute("TRUNCATE people.voters")
        await transaction.rollback()


async def test_of_a_code_issued_and_its_voter_leaving_one_waits_for_the_other(voted: Ground) -> None:
    """Whichever is first, the other is refused once it sees it; never do both commit."""
    uin, later = secrets.token_bytes(16), secrets.token_bytes(16)
    await voted.owner.executemany(
        "INSERT INTO ballot.electorate (ballot, uin) VALUES ($1, $2)",
        [(voted.ballot, uin), (voted.ballot, later)],
    )
    async with another(voted.stack) as other:
        async with voted.owner.transaction():
            await voted.owner.execute(REGISTER, voted.ballot, uin, 1)
            leaves = asyncio.create_task(other.execute(LEAVE, voted.ballot, uin))
            await _waiting(voted, other)
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="stays in the electorate"):
            await leaves

        async with voted.owner.transaction():
            await voted.owner.execute(LEAVE, voted.ballot, later)
            issued = asyncio.create_task(other.execute(REGISTER, voted.ballot, later, 2))
            await _waiting(voted, other)
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="a voter in the electorate"):
            await issued


async def _waiting(made: Ground, other: asyncpg.Connection) -> None:
    """Return once `other` waits for a lock."""
    waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10), another(made.stack) as looking:
        while not await looking.fetchval(waits, other.get_server_pid()):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)


async def test_none_of_them_is_written_by_who_cannot_see_what_was_committed(voted: Ground) -> None:
    """At another isolation than read committed the look at the other table would be an old one."""
    for statement in (
        "UPDATE ballot.votes SET channel = channel WHERE ballot = $1",
        "DELETE FROM ballot.register WHERE ballot = $1",
        "DELETE FROM ballot.electorate WHERE ballot = $1",
    ):
        with pytest.raises(asyncpg.RaiseError, match="at read committed"):
            async with voted.owner.transaction(isolation="repeatable_read"):
                await voted.owner.execute(statement, voted.ballot)


async def test_an_older_worker_still_stores_attempts(voted: Ground) -> None:
    """While workers are replaced one by one, those of the version before go on: one attempt a line."""
    connection = await postgres.connect(voted.stack.servers, "voterdb", "ballot_worker")
    older = "SELECT ballot.store_attempts($1, 0, $2, $3, $4, $5, $6, $7)"
    try:
        given = (["1-1", "1-2"], ["vote"] * 2, ["used"] * 2, [bytes(32)] * 2, [b"ip"] * 2, [5, 6])
        stored = [await connection.fetchval(older, voted.ballot, *given) for _ in range(2)]
        nothing = await connection.fetchval(older, voted.ballot, *[[] for _ in given])
    finally:
        await connection.close()

    rows = await voted.owner.fetch(
        "SELECT at_us, count, first_us FROM ballot.attempts WHERE ballot = $1 ORDER BY at_us", voted.ballot
    )
    assert (stored, nothing) == ([2, 0], 0)
    assert [tuple(row) for row in rows] == [(5, 1, None), (6, 1, None)]
