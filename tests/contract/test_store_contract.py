"""The model of the voter database answers the workers' own `Store` as PostgreSQL does, with the same rows."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runtime import postgres
from tests.contract.databases import modelled, real
from tests.contract.store_script import OPERATION, Given
from tests.simulation import database_functions
from tests.simulation.database_model import DatabaseModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.conftest import Stack
    from tests.contract.store_script import Op

RUNS = 25
LONG_RUNS = 1500
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
}


def both(stack: Stack, ops: Sequence[Op]) -> None:
    """Do the same to both and compare every answer, then every row."""
    ballot = f"c-{secrets.token_hex(6)}"
    ours, our_rows = modelled(ballot, ops)
    theirs, their_rows = real(stack.servers, ballot, ops)
    for op, came, expected in zip(ops, ours, theirs, strict=True):
        assert came == expected, f"{op}: model {came}, server {expected}"
    for table, rows in their_rows.items():
        assert our_rows[table] == rows, table


@settings(max_examples=RUNS, derandomize=True, phases=[Phase.generate], **COMMON)
@given(st.lists(OPERATION, max_size=20))
def test_the_model_stores_as_the_server(stack: Stack, ops: list[Op]) -> None:
    """Whatever batches, conflicts, odd rows and events come: every answer and every row is the same."""
    both(stack, ops)


@pytest.mark.parametrize("ends", ["commit", "rollback", "cut"])
async def test_what_a_transaction_did_is_seen_once_it_is_committed(
    stack: Stack, ballot_id: str, ends: str
) -> None:
    """Others see the marks of before until the commit, in both; a connection that is cut takes all back."""
    model = DatabaseModel()

    async def modelled_connection() -> Any:
        return model.connect()

    async def real_connection() -> Any:
        return await postgres.connect(stack.servers, "voterdb", "ballot_worker")

    seen = [await _watched(each, ballot_id, ends) for each in (modelled_connection, real_connection)]
    assert seen[0] == seen[1]
    assert seen[0][:2] == [[], [("3-0", 4)]]
    assert (seen[0][2] == seen[0][1]) == (ends == "commit")


async def _watched(connect: Callable[[], Awaitable[Any]], ballot: str, ends: str) -> list[Any]:
    """What another connection and our own see of a transaction, and what is left of it."""
    add = "SELECT ballot.turnout_add($1, $2, $3, $4, $5, $6, $7, $8)"
    ours, other = await connect(), await connect()

    async def marks(connection: Any) -> list[Any]:
        rows = await connection.fetch("SELECT * FROM ballot.worker_marks()")
        return [(row[3], row[4]) for row in rows if row[0] == ballot]

    try:
        transaction = ours.transaction()
        await transaction.start()
        assert await ours.fetchval(add, ballot, 0, "0-0", "3-0", 4, [0], ["postal"], [4])
        seen = [await marks(other), await marks(ours)]
        if ends == "cut":
            ours.terminate()
            await until_written(other, add, ballot)
        else:
            await getattr(transaction, ends)()
        return [*seen, await marks(other)]
    finally:
        await other.close()
        ours.terminate()


async def until_written(connection: Any, add: str, ballot: str) -> None:
    """Write behind the transaction that was cut: the server has noticed by then, or makes us wait for it."""
    assert not await connection.fetchval(add, ballot, 0, "9-0", "10-0", 1, [0], ["postal"], [1])


def test_a_model_that_is_wrong_is_seen(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes a second vote of a voter for a sound one is told from the server."""
    monkeypatch.setattr(database_functions, "_against_each_other", lambda _batch: None)
    votes = [
        Given("vote", entry=1, voter=1, code=0, reference=1, sealed=1, minute=1),
        Given("vote", entry=2, voter=1, code=0, reference=2, sealed=2, minute=1),
    ]
    with pytest.raises(AssertionError, match="server"):
        both(stack, [("store", 0, 1, votes, False)])


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=LONG_RUNS, **COMMON)
@given(st.lists(OPERATION, max_size=60))
def test_the_model_stores_as_the_server_for_long(stack: Stack, ops: list[Op]) -> None:
    """The same with many more and longer runs; new ones each time."""
    both(stack, ops)
