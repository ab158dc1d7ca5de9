"""The turnout as accepted, after a queue has lost entries that were counted: set to what is known.

What is stored, the database counts itself. What waits in the queue or is in quarantine is counted here as the
turnout's own reader counts it (workers/turnout.py), from the fields of its entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ballot import handoff
from ops.recovery import record
from ops.recovery.shard import TIME_DIGITS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from ops.recovery.streams import Waiting

ELECTRONIC: Final = "electronic"
RETURNED: Final = ("postal", "workplace")

Row = tuple[int, str, str | None, int, str]
"""Shard, entry, reference of a vote, time, method."""


async def set_turnout(
    database: asyncpg.Connection,
    ballot: str,
    ends: Mapping[int, tuple[str, int]],
    waiting: Sequence[Waiting],
) -> int:
    """Set the turnout and its marks; `ends` are the streams' last entries and counts of entries by shard.

    Gives how many votes and returns the turnout had counted that are gone.
    """
    rows = _waiting(waiting)
    for row in await database.fetch(record.KEPT, ballot):
        kept = _kept(record.held_fields(bytes(row["record"])))
        if kept is not None:
            rows.append((row["shard"], row["entry"], row["reference"], *kept))
    columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
    return int(
        await database.fetchval(
            record.TURNOUT,
            ballot,
            [*ends],
            [entry for entry, _ in ends.values()],
            [added for _, added in ends.values()],
            *columns,
        )
    )


def _waiting(waiting: Sequence[Waiting]) -> list[Row]:
    rows: list[Row] = []
    for shard, left in enumerate(waiting):
        for each in left.entries:
            if each.at_us and each.vote:
                rows.append((shard, each.id, each.reference, each.at_us, ELECTRONIC))
            elif each.at_us and each.won and each.method in RETURNED:
                rows.append((shard, each.id, None, each.at_us, each.method))
    return rows


def _kept(fields: Mapping[bytes, bytes]) -> tuple[int, str] | None:
    """When an entry in quarantine was accepted, and by what method; None if it counted for nothing."""
    at, kind = fields.get(handoff.ACCEPTED_FIELD, b""), fields.get(handoff.KIND_FIELD)
    if not at.isdigit() or len(at) > TIME_DIGITS_MAX:
        return None
    if kind == handoff.KIND_VOTE:
        return int(at), ELECTRONIC
    method = fields.get(handoff.METHOD_FIELD, b"").decode("ascii", "replace")
    return (int(at), method) if fields.get(handoff.WON_FIELD) == b"1" and method in RETURNED else None
