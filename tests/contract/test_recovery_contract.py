"""What the simulation answers `ballot recover` of the voter database is what PostgreSQL answers it."""

from __future__ import annotations

import asyncio
import secrets
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ops.recovery import conflicts, jumps, record
from ops.recovery.numbers import NUMBER_MAX
from runtime import postgres
from tests.contract.databases import NEVER_REBUILT, ModelDesk, RealDesk
from tests.contract.store_script import OPERATION, Script
from tests.contract.test_store_contract import COMMON
from tests.simulation.database_model import DatabaseModel
from tests.simulation.recovery_record import RecoveryRecord
from workers.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Stack
    from tests.contract.store_script import Op

RUNS: Final = 4
LONG_RUNS: Final = 150
QUERIES: Final = (
    *(record.CREDENTIALS, record.VOTES, record.RETURNS, record.HELD),
    *(record.MARKS, record.ATTEMPTS, record.KEPT),
)
ENDS: Final = ([0, 1], ["900-0", "7-7"], [31, 2])
WAITING: Final = (
    [0, 1],
    ["901-0", "902-0"],
    ["0123-4567-89AB-CDEF", None],
    [60_000_001, 5],
    ["electronic", "postal"],
)


async def asked(database: Any, ballot: str, tables: dict[str, list[Any]]) -> list[list[Any]]:
    """Every answer to what a recovery asks, the turnout set, and the rows of it afterwards."""
    votes, held, returns = (tables[name] for name in ("votes", "quarantine", "returns"))
    places = [(row[11], row[12], row[1]) for row in votes] + [(row[0], row[1], row[3]) for row in held]
    places += [(row[0], row[1], None) for row in returns] + [(0, "999-9", "ZZZZ-ZZZZ-ZZZZ-ZZZZ")]
    found = [plain(await database.fetch(query, ballot)) for query in QUERIES]
    for shard in (0, 1):
        names = [[place[1] for place in places], [place[2] or "" for place in places]]
        found.append(plain(await database.fetch(record.UNSTORED, ballot, shard, *names)))
    found.append(plain(await database.fetch(jumps.STORED, ballot, [0, 1], [NUMBER_MAX, 2])))
    references = [reference for _, _, reference in places if reference]
    found.append(plain(await database.fetch(conflicts.KNOWN, ballot, references)))
    found.append(plain(await database.fetch(conflicts.RETURNED, ballot, [row[2] for row in returns])))
    found.append([await database.fetchval(record.TURNOUT, ballot, *ENDS, *WAITING)])
    return found


def plain(rows: Sequence[Any]) -> list[Any]:
    """Rows as tuples, in an order of their own."""
    return sorted((tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows), key=repr)


async def of_model(ballot: str, ops: Sequence[Op]) -> Any:
    """What the simulation says."""
    model = DatabaseModel()
    desk = ModelDesk(model, ballot)

    async def connect() -> Any:
        return model.connect()

    await played(Script(ballot, desk, (Store(connect), Store(connect))), ops)
    database: Any = SimpleNamespace(committed=lambda name: model.tables[name])
    world: Any = SimpleNamespace(database=database)
    answers = await asked(RecoveryRecord(world, model.connect()), ballot, await desk.tables())
    return answers, await counts(desk)


async def of_server(stack: Stack, ballot: str, ops: Sequence[Op]) -> Any:
    """What PostgreSQL says."""

    async def connect() -> Any:
        return await postgres.connect(stack.servers, "voterdb", "ballot_worker")

    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    recovery = await record.connect(stack.servers)
    try:
        desk = RealDesk(owner, ballot)
        await desk.prepare()
        await owner.execute(NEVER_REBUILT)
        await played(Script(ballot, desk, (Store(connect), Store(connect))), ops)
        answers = await asked(recovery, ballot, await desk.tables())
        return answers, await counts(desk)
    finally:
        await owner.execute(NEVER_REBUILT)
        await owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", ballot)
        await recovery.close()
        await owner.close()


async def counts(desk: ModelDesk | RealDesk) -> dict[str, list[Any]]:
    """Turnout and marks; a count of nothing is none."""
    tables = await desk.tables()
    return {"turnout": [row for row in tables["turnout"] if row[-1]], "marks": tables["marks"]}


async def played(script: Script, ops: Sequence[Op]) -> None:
    """Do the operations."""
    try:
        await script.begin()
        for op in ops:
            await script.answer(op)
    finally:
        await script.end()


def both(stack: Stack, ops: Sequence[Op]) -> None:
    """Ask both."""
    ballot = f"r-{secrets.token_hex(6)}"
    ours, theirs = asyncio.run(of_model(ballot, ops)), asyncio.run(of_server(stack, ballot, ops))
    for place, (came, expected) in enumerate(zip(ours[0], theirs[0], strict=True)):
        assert came == expected, place
    assert ours[1] == theirs[1]


@settings(max_examples=RUNS, derandomize=True, phases=[Phase.generate], **COMMON)
@given(st.lists(OPERATION, min_size=3, max_size=20))
def test_the_model_tells_a_recovery_what_the_server_does(stack: Stack, ops: list[Op]) -> None:
    """After any batches, conflicts and odd rows: the same rows to every query, and the same turnout set."""
    both(stack, ops)


@pytest.mark.long
@settings(max_examples=LONG_RUNS, derandomize=True, phases=[Phase.generate], **COMMON)
@given(st.lists(OPERATION, max_size=30))
def test_the_model_tells_a_recovery_what_the_server_does_in_many_cases(stack: Stack, ops: list[Op]) -> None:
    """The same, many times."""
    both(stack, ops)
