"""`ballot faults`: break everything there is, at seeded moments, under load; the exit code is the verdict."""

import json
import signal
import sys
from pathlib import Path

import click

from loadtests.faults import account as accounts
from loadtests.faults.account import HistoryFault, summed, table
from loadtests.faults.clock import SteppedClock, steppable
from loadtests.faults.draw import draw
from loadtests.faults.events import Account
from loadtests.faults.ground import Ground
from loadtests.faults.kinds import KINDS, UnknownKind, chosen
from loadtests.faults.play import Play, Settings
from loadtests.staging.telling import Telling, faults_told

FILE = click.Path(dir_okay=False, path_type=Path)
SECONDS_A_FAULT = 8
DRAIN_SECONDS = 60
SPARE_VOTERS = 500
VOTERS_MAX = 500_000


@click.command()
@click.option(
    "--kills",
    default=20,
    show_default=True,
    type=click.IntRange(1, 2000),
    help="Processes to kill, at least.",
)
@click.option("--seed", default=1, show_default=True, help="What is broken when, and who votes what.")
@click.option(
    "--voters", type=click.IntRange(10, VOTERS_MAX), help="Electorate; as large as needed if not given."
)
@click.option(
    "--rate", default=50.0, show_default=True, type=click.FloatRange(1, 500), help="Voters a second."
)
@click.option(
    "--minutes-max",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Faults are done no longer.",
)
@click.option("--only", default="", metavar="KIND,…", help="Only these kinds of fault, by name or by deed.")
@click.option("--away-seconds", type=click.FloatRange(1, 3600), help="How long the voter database is away.")
@click.option("--json", "json_file", type=FILE, help="Write every fault and the run there, a line each.")
@click.option("--history", type=FILE, help="Append the run to that file, one line.")
@click.option("--sum", "sum_file", type=FILE, help="Print what the runs in a history come to, and stop.")
@click.option("--list", "listing", is_flag=True, help="List the kinds of fault and stop.")
@click.option(
    "--keep", is_flag=True, help="Keep the run's directory; it is kept anyway if something is wrong."
)
def faults(
    kills: int,
    seed: int,
    voters: int | None,
    rate: float,
    minutes_max: float,
    only: str,
    away_seconds: float | None,
    json_file: Path | None,
    history: Path | None,
    sum_file: Path | None,
    listing: bool,
    keep: bool,
) -> None:
    """Break things under load, and prove that no vote was lost or doubled.

    Kills, freezes and restarts processes, tears connections and spoils files, alone and in pairs, on a
    deployment of its own while voters vote; then closes, checks, counts and compares with every receipt.
    """
    if listing:
        _list()
        return
    if sum_file is not None:
        _sum(sum_file)
        return
    try:
        kinds = chosen([name for name in only.split(",") if name])
    except UnknownKind as error:
        raise click.UsageError(str(error)) from error
    if any(kind.deed == "step" for kind in kinds) and not steppable():
        click.echo("libfaketime is not installed: clocks are not stepped.", err=True)
        kinds = tuple(kind for kind in kinds if kind.deed != "step")
    drawn = tuple(draw(kinds, seed=seed, kills=kills))
    if not drawn:
        raise click.ClickException("There is nothing left to do.")
    aways = sum(fault.kind.deed == "away" for fault in drawn)
    seconds = len(drawn) * SECONDS_A_FAULT + aways * ((away_seconds or 0) + DRAIN_SECONDS)
    seconds = min(seconds, minutes_max * 60)
    settings = Settings(
        seed=seed,
        faults=drawn,
        voters=voters or min(VOTERS_MAX, int(seconds * rate) + SPARE_VOTERS),
        rate=rate,
        seconds_max=minutes_max * 60,
        away_seconds=away_seconds,
    )
    # A closed terminal ends the run as SIGTERM does: everything that was started is stopped.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    with faults_told():
        account = _run(settings, keep=keep)
    if json_file is not None:
        json_file.write_text("".join(json.dumps(line) + "\n" for line in account.lines()), encoding="utf-8")
    if history is not None:
        accounts.keep(account, history)
    _show(account)
    if account.wrong or account.lost or account.doubled:
        raise click.exceptions.Exit(1)


def _run(settings: Settings, *, keep: bool) -> Account:
    """The run, on a deployment of its own, which goes unless something is wrong."""
    telling = Telling(to_stderr=True)
    clock = None
    with Ground(keep=keep) as ground:
        if settings.has("step"):
            clock = SteppedClock(ground.files / "clock")
            ground.add(clock.environment)
        telling.say(f"seed {settings.seed}: {len(settings.faults):,} faults, in {ground.folder}")
        account = Play(ground, settings, telling, clock=clock).whole()
        if account.wrong:
            ground.keep()
            telling.say(f"Something is wrong; everything was kept in {ground.folder}.")
    return account


def _show(account: Account) -> None:
    """The table, what it means, and the last line."""
    click.echo(table(account.events))
    click.echo("\n".join(["", *accounts.LEGEND, ""]))
    for what, value in account.notes.items():
        click.echo(f"{what}: {value:,g}")
    for what in account.wrong:
        click.echo(f"WRONG: {what}")
    for name, references in (("lost", account.lost), ("doubled", account.doubled)):
        for reference in references:
            click.echo(f"{name}: {reference}")
    losses = f"lost {len(account.lost):,}, doubled {len(account.doubled):,}"
    done = f"{len(account.events):,} faults, {account.kills:,} kills, {account.votes:,} votes"
    click.echo(f"seed {account.seed}: {done} in {account.seconds:,.0f} s; {losses}")
    sys.stdout.flush()


def _list() -> None:
    """Every kind with what it does."""
    width = max(len(kind.name) for kind in KINDS)
    for kind in KINDS:
        asked = "; only when asked for" if kind.optional else ""
        click.echo(f"{kind.name.ljust(width)}  {kind.what}{asked}")


def _sum(history: Path) -> None:
    """The sums of a history; exit 1 when anything in it was wrong."""
    try:
        text, good = summed(history)
    except HistoryFault as error:
        raise click.ClickException(str(error)) from error
    click.echo(text)
    if not good:
        raise click.exceptions.Exit(1)
