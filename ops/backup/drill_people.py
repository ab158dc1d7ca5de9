"""What userdb would lack if only its backups were left: people, what was sent to them, complaints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ballot.encoding import format_time
from runtime import postgres
from runtime.lifecycle import run_async

if TYPE_CHECKING:
    from runtime.servers import Servers

ROLE: Final = "ballot_people"
KEPT: Final = """
SELECT (SELECT count(*) FROM people.voters WHERE imported_at <= $1) AS people,
       (SELECT count(*) FROM people.dispatches WHERE dispatched_at <= $1) AS dispatches,
       (SELECT count(*) FROM complaints.complaints WHERE stored_at <= $1) AS complaints,
       (SELECT count(*) FROM complaints.history WHERE at <= $1) AS "lines about complaints"
"""
EPOCH: Final = datetime.fromtimestamp(0, UTC)

People = dict[str, int]
"""How many of each kind were there long enough to be in every backup."""


def of(running: Servers, settled_us: int) -> People:
    """What userdb of these servers holds that came up to `settled_us`."""

    async def ask() -> People:
        connection = await postgres.connect(running, "userdb", ROLE)
        try:
            row = await connection.fetchrow(KEPT, EPOCH + timedelta(microseconds=settled_us))
            return {kind: int(count) for kind, count in row.items()}
        finally:
            await connection.close()

    return run_async(ask)


def faults(living: People, restored: People, settled_us: int) -> list[str]:
    """A sentence for each kind of which some would be lost."""
    return [
        f"userdb: {count - restored.get(kind, 0):,} {kind} would be lost that were there before "
        f"{format_time(settled_us)}."
        for kind, count in sorted(living.items())
        if count > restored.get(kind, 0)
    ]
