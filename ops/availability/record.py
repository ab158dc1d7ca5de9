"""What is on record of a ballot's window: monitors' intervals and the service's starts and stops.

Read from `voterdb` as `ballot_checker`, which can write nothing; on the monitor's own host also what it has
seen and not brought there yet.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ballot.encoding import format_time
from ops.availability.service_record import STARTED, STOPPED, UNCONFIRMED, ServiceRecord
from ops.availability.timeline import Turn
from ops.monitor.intervals import Interval, State
from ops.monitor.journal import seen_here

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import asyncpg

ROLE = "ballot_checker"
INTERVALS_MAX = 500_000
TURNS_MAX = 5_000
HOUR_US = 3_600_000_000
#: The lane of what only this host's monitor has on its disk.
HERE = "here, not in voterdb"

WINDOW = """
SELECT opens_us, closes_us FROM ballot.lifecycle WHERE ballot = $1 ORDER BY seq DESC LIMIT 1
"""
INTERVALS = """
SELECT monitor, started_us, ended_us, state, reason FROM ballot.availability
 WHERE ended_us > $1 AND started_us < $2 ORDER BY monitor, started_us LIMIT $3
"""
#: Summed where they are; a minute that a kill brought over twice counts once.
MINUTES = """
SELECT at_us / 3600000000 AS hour, sum(votes)::bigint AS votes, sum(access)::bigint AS access FROM (
 SELECT DISTINCT (detail ->> 'at_us')::bigint AS at_us, detail ->> 'host' AS host,
  (detail ->> 'votes')::bigint AS votes, (detail ->> 'access')::bigint AS access
 FROM ballot.events WHERE kind = $1) AS minutes
 WHERE at_us > $2 AND at_us <= $3 GROUP BY 1 ORDER BY 1
"""
TURNS = "SELECT kind, detail FROM ballot.events WHERE kind = ANY ($1) ORDER BY seq DESC LIMIT $2"


@dataclass(frozen=True, slots=True)
class Window:
    """When a ballot takes votes, and the part of that time which is asked about."""

    opens_us: int
    closes_us: int
    from_us: int
    to_us: int
    now_us: int

    @property
    def state(self) -> str:
        """`scheduled`, `open` or `closed`, by this machine's clock."""
        if self.now_us < self.opens_us:
            return "scheduled"
        return "open" if self.now_us < self.closes_us else "closed"


@dataclass(frozen=True, slots=True)
class UnconfirmedHour:
    """Attempts of all ballots that edges could not confirm in one hour, the monitors' own included."""

    hour_us: int
    votes: int
    access: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything on record of that time."""

    window: Window
    lanes: Mapping[str, Sequence[Interval]]
    turns: Sequence[Turn]
    unconfirmed: Sequence[UnconfirmedHour] = ()


async def read_window(
    connection: asyncpg.Connection, ballot: str, *, from_us: int | None, to_us: int | None
) -> Window:
    """The ballot's window as it stands now; the part asked about ends now at the latest."""
    if not await connection.fetchval("SELECT count(*) FROM ballot.ballots WHERE ballot = $1", ballot):
        raise click.ClickException(f"there is no ballot {ballot!r}")
    row = await connection.fetchrow(WINDOW, ballot)
    if row is None:
        raise click.ClickException(f"ballot {ballot!r} was never opened, so it was never available")
    opens_us, closes_us, now_us = row["opens_us"], row["closes_us"], time.time_ns() // 1000
    from_us = opens_us if from_us is None else from_us
    to_us = min(closes_us if to_us is None else to_us, now_us)
    if from_us >= to_us:
        begins = format_time(from_us)
        raise click.ClickException(f"there is nothing to tell yet: the time asked about begins at {begins}")
    return Window(opens_us, closes_us, from_us, to_us, now_us)


async def read(connection: asyncpg.Connection, window: Window, *, monitor_directory: Path) -> Record:
    """Everything that says something about the window."""
    rows = await connection.fetch(INTERVALS, window.from_us, window.to_us, INTERVALS_MAX + 1)
    if len(rows) > INTERVALS_MAX:
        raise click.ClickException(
            f"there are more than {INTERVALS_MAX:,} intervals; ask about less with --from and --to"
        )
    lanes: dict[str, list[Interval]] = defaultdict(list)
    for row in rows:
        lanes[row["monitor"]].append(
            Interval(row["started_us"], row["ended_us"], State(row["state"]), row["reason"])
        )
    known = {interval for lane in lanes.values() for interval in lane}
    if here := [
        each
        for each in seen_here(monitor_directory)
        if each not in known and each.ended_us > window.from_us and each.started_us < window.to_us
    ]:
        lanes[HERE].extend(here)
    turns = [_turn(row) for row in await connection.fetch(TURNS, [STARTED, STOPPED], TURNS_MAX)]
    # Each host's monitor writes under its own name; with one alone it is clear whose this host's lines are.
    hosts = {turn.host for turn in turns} or lanes.keys() - {HERE} or {HERE}
    if len(hosts) == 1:
        (host,) = hosts
        lines = ServiceRecord(monitor_directory).all()
        turns += [line.turn(host) for line in lines if line.kind != UNCONFIRMED]
    minutes = await connection.fetch(MINUTES, UNCONFIRMED, window.from_us, window.to_us)
    hours = [UnconfirmedHour(row["hour"] * HOUR_US, row["votes"], row["access"]) for row in minutes]
    return Record(window, lanes, turns, hours)


def _turn(row: Any) -> Turn:
    detail = json.loads(row["detail"])
    return Turn(
        int(detail["at_us"]), str(detail["host"]), started=row["kind"] == STARTED, asked=bool(detail["asked"])
    )
