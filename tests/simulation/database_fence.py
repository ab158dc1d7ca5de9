"""The fence before the storing functions (016_queue_epoch.sql): what is of another queue is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.database_tables import Tables


def storing_fence(tables: Tables, epoch: int) -> None:
    """Refuse what was read from another queue than the one in use."""
    if epoch != tables["queue_epoch"].get("number", 0):
        refused = asyncpg.exceptions.UnknownPostgresError("these entries are not of the queue that is in use")
        refused.sqlstate = "QE001"
        raise refused


def fenced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the queue's epoch before its arguments; an older worker gives none, which is 0."""

    def call(tables: Tables, *arguments: Any) -> Any:
        older = isinstance(arguments[0], str)
        storing_fence(tables, 0 if older else arguments[0])
        return function(tables, *(arguments if older else arguments[1:]))

    return call
