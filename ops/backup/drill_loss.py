"""What would be gone if everything but the backups were: the living compared with the restored, by ballot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click
from redis.exceptions import RedisError

from ballot import handoff
from ballot.encoding import format_time
from ops.backup import drill_people
from runtime import postgres, valkey
from runtime.lifecycle import run_async
from runtime.servers import Servers, servers

if TYPE_CHECKING:
    from runtime.home import Home

DATABASE_FAULTS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError)
ROLE: Final = "ballot_checker"
USER: Final = "checker"
STORED: Final = """
SELECT b.ballot, b.shards, count(v.uin) AS stored, max(v.accepted_us) AS newest_us,
       count(v.uin) FILTER (WHERE v.accepted_us <= $1) AS settled
  FROM ballot.ballots b LEFT JOIN ballot.votes v USING (ballot) GROUP BY b.ballot, b.shards ORDER BY b.ballot
"""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one ballot has: accepted at the gate, stored, and when the newest stored vote was accepted."""

    accepted: int
    stored: int
    newest_us: int | None
    settled: int = 0
    """Stored, and accepted so long ago that every backup should have it."""


Holdings = dict[str, Holding]


@dataclass(frozen=True, slots=True)
class Held:
    """What servers have: by ballot, and of people."""

    ballots: Holdings
    people: drill_people.People


def of(running: Servers, settled_us: int) -> Held:
    """All on these servers; what came up to `settled_us` is settled."""
    with valkey.plainly():
        ballots = run_async(lambda: _read(running, settled_us))
    return Held(ballots, drill_people.of(running, settled_us))


def of_the_living(home: Home, settled_us: int) -> Held | None:
    """All on the home's own servers; nothing if they cannot be asked."""
    try:
        with servers(home) as running:
            return of(running, settled_us)
    except (click.ClickException, OSError, TimeoutError, RedisError, *DATABASE_FAULTS) as error:
        said = error.message if isinstance(error, click.ClickException) else type(error).__name__
        click.echo(
            f"The living servers cannot be asked ({said}), so nothing is compared with them.", err=True
        )
        return None


async def _read(running: Servers, settled_us: int) -> Holdings:
    connection = await postgres.connect(running, "voterdb", ROLE)
    client: Any = valkey.connect(running, USER)
    try:
        rows = await connection.fetch(STORED, settled_us)
        found = {}
        for row in rows:
            accepted = 0
            for shard in range(row["shards"]):
                accepted += int(await client.hget(handoff.gate_key(row["ballot"], shard), "accepted") or 0)
            found[row["ballot"]] = Holding(accepted, row["stored"], row["newest_us"], row["settled"])
        return found
    finally:
        await client.aclose()
        await connection.close()


def lost(living: Holdings, restored: Holdings) -> list[dict[str, Any]]:
    """A row a ballot; `lost` are votes that the gate has accepted and the restored one does not know of."""
    rows = []
    for ballot, now in sorted(living.items()):
        then = restored.get(ballot, Holding(0, 0, None))
        rows.append(
            {
                "ballot": ballot,
                "living_accepted": now.accepted,
                "living_stored": now.stored,
                "restored_accepted": then.accepted,
                "restored_stored": then.stored,
                "lost": max(0, now.accepted - then.accepted),
                "lost_settled": max(0, now.settled - then.settled),
                "missing": ballot not in restored,
                "living_newest": None if now.newest_us is None else format_time(now.newest_us, decimals=6),
                "restored_newest": None
                if then.newest_us is None
                else format_time(then.newest_us, decimals=6),
            }
        )
    return rows


def faults(rows: list[dict[str, Any]], settled_us: int, lost_max: int | None) -> list[str]:
    """What makes a drill fail: a ballot that is in no backup, and more votes lost than may be.

    Without a number that is any vote that was settled.
    """
    found = []
    for row in rows:
        if row["missing"]:
            found.append(f"The living ballot {row['ballot']} is not in what was restored.")
        elif lost_max is not None and row["lost"] > lost_max:
            found.append(f"{row['ballot']}: {row['lost']} votes would be lost, more than {lost_max}.")
        elif lost_max is None and row["lost_settled"]:
            found.append(
                f"{row['ballot']}: {row['lost_settled']} stored votes would be lost that were accepted "
                f"before {format_time(settled_us)}."
            )
    return found


def as_text(rows: list[dict[str, Any]]) -> str:
    """The comparison for a person."""
    lines = ["what would be lost if only the backups were left:"]
    for row in rows:
        newest = f"; newest stored {row['restored_newest'] or 'none'} of {row['living_newest'] or 'none'}"
        lines.append(
            f"  {row['ballot']}: {row['lost']} of {row['living_accepted']} accepted votes"
            f" (stored {row['restored_stored']} of {row['living_stored']}{newest})"
        )
    return "\n".join(lines)
