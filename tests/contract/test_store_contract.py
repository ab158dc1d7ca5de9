"""The model of the voter database answers the workers' own `Store` as PostgreSQL does, with the same rows."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.databases import modelled, real
from tests.contract.store_script import OPERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

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


@settings(max_examples=RUNS, derandomize=True, **COMMON)
@given(st.lists(OPERATION, max_size=20))
def test_the_model_stores_as_the_server(stack: Stack, ops: list[Op]) -> None:
    """Whatever batches, conflicts, odd rows and events come: every answer and every row is the same."""
    both(stack, ops)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=LONG_RUNS, **COMMON)
@given(st.lists(OPERATION, max_size=60))
def test_the_model_stores_as_the_server_for_long(stack: Stack, ops: list[Op]) -> None:
    """The same with many more and longer runs; new ones each time."""
    both(stack, ops)
