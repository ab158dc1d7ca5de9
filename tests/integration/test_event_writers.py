"""Who writes which event: no role signs for another, and what explains losses comes from recovery alone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from runtime import postgres
from runtime.addresses import OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Stack

INSERT = "INSERT INTO ballot.events (kind, actor, detail) VALUES ($1, $2, '{}')"


@asynccontextmanager
async def undone(stack: Stack, role: str) -> AsyncIterator[asyncpg.Connection]:
    """A role's connection, in a transaction that is taken back."""
    connection = await postgres.connect(stack.servers, "voterdb", role)
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("role", "kind", "actor"),
    [
        ("ballot_monitor", "recovery.performed", "recovery"),
        ("ballot_monitor", "recovery.performed", "monitor"),
        ("ballot_monitor", "drill.performed", "monitor"),
        ("ballot_monitor", "armed", "desk"),
        ("ballot_desk", "recovery.performed", "desk"),
        ("ballot_desk", "recovery.performed", "recovery"),
        ("ballot_desk", "restore.performed", "desk"),
        ("ballot_desk", "backup.verified", "desk"),
        ("ballot_desk", "fuse_cleared", "worker"),
        ("ballot_monitor", "fuse_cleared", "monitor"),
        ("ballot_monitor", "fuse", "monitor"),
        ("ballot_monitor", "trust_refused", "monitor"),
        ("ballot_desk", "trust_given", "desk"),
        ("ballot_recovery", "recovery.performed", "desk"),
        ("ballot_recovery", "backup.made", "recovery"),
        ("ballot_recovery", "armed", "recovery"),
    ],
)
async def test_no_role_writes_what_is_anothers(stack: Stack, role: str, kind: str, actor: str) -> None:
    """Neither the kinds of another nor in its name, whatever rights on the table it has."""
    async with undone(stack, role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"{role} writes no event"):
            await connection.execute(INSERT, kind, actor)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ballot_monitor", "INSERT INTO ballot.events (kind, actor) VALUES ('ended', 'monitor')"),
        ("ballot_desk", "INSERT INTO ballot.events (kind, actor) VALUES ('return.not_counted', 'desk')"),
        (
            "ballot_recovery",
            "INSERT INTO ballot.events (kind, actor) VALUES ('recovery.performed', 'recovery')",
        ),
        ("ballot_worker", "SELECT ballot.worker_event(NULL, 'fuse', '{}')"),
        ("ballot_backup", "SELECT ballot.backup_event('backup.made', '{}')"),
        ("ballot_checker", "SELECT ballot.drill_event('drill.performed', '{}')"),
        (OWNER, "INSERT INTO ballot.events (kind, actor) VALUES ('restore.performed', 'restore')"),
    ],
)
async def test_each_role_writes_its_own(stack: Stack, role: str, statement: str) -> None:
    """What each writes today is still written; the owner may write all."""
    async with undone(stack, role) as connection:
        await connection.execute(statement)


async def test_the_time_of_an_event_is_the_databases(stack: Stack) -> None:
    """A role cannot put an event into the past: what a recovery explains came before it."""
    async with undone(stack, "ballot_recovery") as connection:
        assert await connection.fetchval(
            "INSERT INTO ballot.events (at, kind, actor)"
            " VALUES ('1999-01-01', 'recovery.performed', 'recovery') RETURNING at > now() - interval '1 h'"
        )
