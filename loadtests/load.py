"""`ballot load`: a scenario's voters, headless, on a deployment; the exit code is the verdict."""

import json
import time
from pathlib import Path

import click

from loadtests import plan, scenario
from loadtests.crowd import SECONDS_MAX, USERS, Booking, Crowd, bar
from loadtests.demo import Telling, faults_told, play
from loadtests.life import Life
from loadtests.scenario import Scenario
from loadtests.stage import Stage
from loadtests.table import as_json, differences

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("name", metavar="SCENARIO", required=False)
@click.option("--list", "listing", is_flag=True, help="List the scenarios and stop.")
@click.option(
    "--prepare", type=FOLDER, help="Write the scenario's definition.toml and roll.csv there, and stop."
)
@click.option(
    "--url", help="A running deployment where the scenario's ballot is open; without it, one of our own."
)
@click.option("--codes", type=FILE, help="With --url: the dispatch file of `ballot codes issue`.")
@click.option("--reissued", type=FILE, help="With --url: where the dispatch file of new codes will appear.")
@click.option("--key", type=FILE, help="With --url: the desk's public key (public/desk.json), pinned.")
@click.option("--ca", type=FILE, help="With an https --url: certificate authorities (PEM) that vouch for it.")
@click.option(
    "--report", type=FOLDER, default=Path("load-report"), show_default=True, help="For receipts and summary."
)
@click.option("--seed", type=int, default=None, help="Another seed than the scenario's.")
@click.option(
    "--users", type=click.IntRange(1, 1000), default=USERS, show_default=True, help="Voters at once."
)
@click.option(
    "--seconds", type=click.IntRange(1, 3600), default=SECONDS_MAX, show_default=True, help="Longest run."
)
def load(
    name: str | None,
    listing: bool,
    prepare: Path | None,
    url: str | None,
    codes: Path | None,
    reissued: Path | None,
    key: Path | None,
    ca: Path | None,
    report: Path,
    seed: int | None,
    users: int,
    seconds: int,
) -> None:
    """Let the voters of SCENARIO vote, and keep every receipt.

    Without --url the whole ballot is played on a deployment of its own, which ends with the checker.
    """
    if listing:
        for known in scenario.names():
            click.echo(f"{known:24} {scenario.load(known).title}")
        return
    if name is None:
        raise click.UsageError("Name a scenario; --list shows them.")
    with faults_told():
        played = scenario.load(name)
        if prepare is not None:
            _prepare(played, prepare, seed=seed)
        elif url is None:
            _whole(played, report, seed=seed)
        elif codes is None or key is None:
            raise click.UsageError("--url needs --codes and --key.")
        else:
            where = {
                "url": url,
                "codes": codes,
                "desk_key": key,
                "out": report,
                "reissued": reissued,
                "ca": ca,
            }
            booking = Booking(scenario=name, **where, seed=seed, users=users, seconds=seconds)  # type: ignore[arg-type]
            with bar(played.votes) as told, Crowd(booking, told=told) as crowd:
                click.echo(json.dumps(crowd.finish(), indent=2))


def _prepare(played: Scenario, folder: Path, *, seed: int | None) -> None:
    """Write what `ballot create` and `ballot roll import` want."""
    folder.mkdir(parents=True, exist_ok=True)
    definition = played.definition_open_at(time.time_ns() // 1000)
    (folder / "definition.toml").write_text(definition, encoding="utf-8")
    plan.draw(played, seed=seed).write_roll(folder / "roll.csv")
    click.echo(f"{folder / 'definition.toml'}\n{folder / 'roll.csv'}")


def _whole(played: Scenario, report: Path, *, seed: int | None) -> None:
    """The whole ballot on a deployment of its own; the report keeps receipts, summary and figures."""
    telling = Telling(to_stderr=True)
    with Stage() as stage:
        life = Life(stage, played, plan.draw(played, seed=seed), seed=seed)
        figures = play(life, telling)
        report.mkdir(parents=True, exist_ok=True)
        for kept in ("receipts.jsonl", "sealed.jsonl", "summary.json"):
            (report / kept).write_bytes((life.files / "voters" / kept).read_bytes())
        (report / "result.json").write_bytes(life.result.read_bytes())
        (report / "figures.json").write_text(json.dumps(as_json(figures), indent=2) + "\n", encoding="utf-8")
    click.echo(f"differences: {differences(figures)}")
    if differences(figures):
        raise click.exceptions.Exit(1)
