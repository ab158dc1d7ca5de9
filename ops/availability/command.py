"""`ballot availability`: the record of when voters could vote, and of those who tried and did not succeed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ballot.encoding import Malformed, parse_time
from ops.availability import attempts as log
from ops.availability import forms, page, record
from ops.availability.timeline import draw
from runtime import postgres
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import servers

if TYPE_CHECKING:
    from ops.availability.attempts import Attempts
    from ops.availability.record import Record
    from ops.availability.timeline import Timeline
    from runtime.servers import Servers


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    ballot: str
    from_us: int | None
    to_us: int | None
    attempts: bool
    result: Path | None


@click.command()
@click.argument("ballot")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the intervals, or with --attempts these, as CSV.")
@click.option(
    "--from", "from_", metavar="TIME", help="Begin there, not at the opening (2025-07-01T09:00:00Z)."
)
@click.option("--to", metavar="TIME", help="End there, not at the close.")
@click.option(
    "--attempts", is_flag=True, help="Also who tried and did not succeed, when and why; only counts."
)
@click.option(
    "--result",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --attempts: the signed result, to set them against the margin.",
)
def availability(
    ballot: str,
    from_: str | None,
    to: str | None,
    result: Path | None,
    *,
    as_json: bool,
    as_csv: bool,
    attempts: bool,
) -> None:
    """Show when voters could vote on BALLOT, and when not: by day, each outage with its reason.

    Up means that a monitor's vote was accepted; unknown, that nobody looked. An outage is planned if
    `ballot up` was asked to stop. The record reaches voterdb at most ten minutes late.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms of the same; choose one")
    if result is not None and not attempts:
        raise click.UsageError("--result says something only with --attempts")
    wanted = Wanted(ballot, _time(from_, "--from"), _time(to, "--to"), attempts, result)
    home = Home.from_environment(os.environ)
    with servers(home) as running:
        found, timeline, tried = run_async(lambda: examine(home, running, wanted))
    if as_csv:
        click.echo(forms.as_csv(found, timeline, tried), nl=False)
    else:
        form = forms.as_json if as_json else page.as_text
        click.echo(form(ballot, found, timeline, tried))


def _time(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else parse_time(text)
    except Malformed as error:
        raise click.UsageError(f"{option}: {error}") from error


async def examine(home: Home, running: Servers, wanted: Wanted) -> tuple[Record, Timeline, Attempts | None]:
    """Read and draw; one connection that can write nothing."""
    connection = await postgres.connect(running, "voterdb", record.ROLE)
    try:
        window = await record.read_window(
            connection, wanted.ballot, from_us=wanted.from_us, to_us=wanted.to_us
        )
        found = await record.read(connection, window, monitor_directory=home.monitor)
        timeline = draw(found.lanes.values(), found.turns, from_us=window.from_us, to_us=window.to_us)
        tried = None
        if wanted.attempts:
            begin_us, end_us = log.EVER_US
            tried = await log.read(
                connection,
                wanted.ballot,
                opens_us=window.opens_us,
                outages=timeline.outages,
                between_us=(
                    begin_us if wanted.from_us is None else wanted.from_us,
                    end_us if wanted.to_us is None else wanted.to_us,
                ),
                result=wanted.result,
            )
    finally:
        await connection.close()
    return found, timeline, tried
