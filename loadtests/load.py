"""`ballot load`: a scenario's voters, headless, on a deployment; the exit code is the verdict."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from loadtests.crowds.crowd import SECONDS_MAX, USERS, Booking, Crowd, bar
from loadtests.published import plan, scenario
from loadtests.published.scenario import Scenario
from loadtests.staging.telling import Telling, faults_told

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
COMPARE = "compare"
GENERATORS_MAX, SPEED_MAX, TIMES_MAX = 16, 1_000, 100


class Load(click.Command):
    """The command, and behind the word `compare` the one that shows two runs side by side."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does it, for whichever of the two is meant."""
        if args and args[0] == COMPARE:
            from loadtests.report.compare import compare  # noqa: PLC0415  # it brings the plotting library

            context: click.Context = compare.make_context(f"{info_name} {COMPARE}", args[1:], parent, **extra)
            return context
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=Load)
@click.argument("name", metavar="SCENARIO[:VARIANT]", required=False)
@click.option("--list", "listing", is_flag=True, help="List the scenarios with their variants and stop.")
@click.option(
    "--scale", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Of its size."
)
@click.option("--only", type=click.Choice(["peak", "close"]), help="Only the worst quarter hour, or the end.")
@click.option(
    "--burst",
    type=click.FloatRange(1, TIMES_MAX),
    metavar="TIMES",
    help="Only a minute of so many times its worst second.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, SPEED_MAX),
    default=1.0,
    show_default=True,
    help="Play all of it so many times as fast, real time too.",
)
@click.option("--seed", type=int, default=None, help="Another seed than the scenario's.")
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    metavar="NAME",
    help="What goes on beside, besides the scenario's own; `all`, or `none`.",
)
@click.option(
    "--generators",
    type=click.IntRange(1, GENERATORS_MAX),
    default=1,
    show_default=True,
    help="Processes that send.",
)
@click.option("--processes", type=click.IntRange(1, 64), help="Edge processes, as `ballot up` has them.")
@click.option(
    "--report", type=FOLDER, default=Path("load-report"), show_default=True, help="The run's directory."
)
@click.option("--keep", is_flag=True, help="Keep the deployment's directory as well.")
@click.option("--json", "as_program", is_flag=True, help="The verdict as JSON on stdout.")
@click.option(
    "--prepare", type=FOLDER, help="Write the scenario's definition.toml and roll.csv there, and stop."
)
@click.option("--url", help="Voters only, on a running deployment where the scenario's ballot is open.")
@click.option("--codes", type=FILE, help="With --url: the dispatch file of `ballot codes issue`.")
@click.option("--reissued", type=FILE, help="With --url: where the dispatch file of new codes will appear.")
@click.option("--key", type=FILE, help="With --url: the desk's public key (public/desk.json), pinned.")
@click.option("--ca", type=FILE, help="With an https --url: certificate authorities (PEM) that vouch for it.")
@click.option(
    "--users", type=click.IntRange(1, 1000), default=USERS, show_default=True, help="With --url: at once."
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 3600),
    default=SECONDS_MAX,
    show_default=True,
    help="With --url: at most.",
)
def load(name: str | None, listing: bool, prepare: Path | None, url: str | None, **told: Any) -> None:
    """Let the voters of SCENARIO vote at their moments, and judge what became of every vote.

    On a deployment of its own, from `ballot create` to `ballot check`; the exit code is 0 only for the
    verdict pass, 3 for void. `ballot load compare A B` shows two runs side by side.
    """
    if listing:
        _list()
        return
    if name is None:
        raise click.UsageError("Name a scenario; --list shows them.")
    with faults_told():
        played = scenario.load(name)
        if told["scale"] != 1:
            played = scenario.scaled(played, told["scale"])
        if prepare is not None:
            _prepare(played, prepare, seed=told["seed"])
        elif url is None:
            _conduct(played, told)
        elif told["codes"] is None or told["key"] is None:
            raise click.UsageError("--url needs --codes and --key.")
        else:
            _only_voters(played, url, told)


def _list() -> None:
    """Every scenario with its title, the variants below it."""
    specs = [
        spec
        for name in scenario.names()
        for spec in (name, *(f"{name}:{variant}" for variant in scenario.variants(name) if variant))
    ]
    width = max(map(len, specs))
    for spec in specs:
        click.echo(f"{spec:{width}}  {scenario.load(spec).title}")


def _conduct(played: Scenario, told: dict[str, Any]) -> None:
    """The whole run, and its verdict."""
    from loadtests.conduct.beside import UnknownOverlay  # noqa: PLC0415  # all of a run, which --list does not need
    from loadtests.conduct.conductor import conduct  # noqa: PLC0415  # the same
    from loadtests.conduct.wanted import Wanted  # noqa: PLC0415  # the same
    from loadtests.staging.kept import FolderTaken  # noqa: PLC0415  # the same

    if told["burst"] and told["only"]:
        raise click.UsageError("--burst and --only leave nothing in common.")
    wanted = Wanted(
        scenario=played,
        report=told["report"],
        only=told["only"] or "",
        seed=told["seed"],
        overlays=told["overlays"],
        generators=told["generators"],
        processes=told["processes"],
        burst=told["burst"] or 0.0,
        speed=told["speed"],
        keep=told["keep"],
    )
    # A closed terminal ends the run as SIGTERM does: everything that was started is stopped.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    telling = Telling(to_stderr=told["as_program"])
    telling.say(f"{played.title}: {played.entitled:,} entitled, {played.votes:,} votes")
    try:
        verdict = conduct(wanted, telling)
    except (FolderTaken, UnknownOverlay) as error:
        raise click.ClickException(str(error)) from error
    if told["as_program"]:
        click.echo(json.dumps(verdict.as_json(), indent=2))
    else:
        click.echo("\n".join(["", *verdict.lines()]))
    sys.stdout.flush()
    telling.say(f"report: {_report(told['report'])}")
    if verdict.exit_code:
        raise click.exceptions.Exit(verdict.exit_code)


def _report(folder: Path) -> Path:
    """The page and the JSON that a person and a program read; the run's directory if they cannot be made."""
    from loadtests.report.making import ReportFault, make  # noqa: PLC0415  # it brings the plotting library

    try:
        return make(folder)
    except ReportFault as fault:
        click.echo(f"ballot: {fault}", err=True)
        return folder


def _only_voters(played: Scenario, url: str, told: dict[str, Any]) -> None:
    """Voters at once, on a deployment that somebody else runs."""
    booking = Booking(
        scenario=played.spec,
        url=url,
        codes=told["codes"],
        desk_key=told["key"],
        out=told["report"],
        reissued=told["reissued"],
        ca=told["ca"],
        seed=told["seed"],
        users=told["users"],
        seconds=told["seconds"],
    )
    with bar(played.votes) as shown, Crowd(booking, told=shown) as crowd:
        click.echo(json.dumps(crowd.finish(), indent=2))


def _prepare(played: Scenario, folder: Path, *, seed: int | None) -> None:
    """Write what `ballot create` and `ballot roll import` want."""
    folder.mkdir(parents=True, exist_ok=True)
    definition = played.definition_open_at(time.time_ns() // 1000)
    (folder / "definition.toml").write_text(definition, encoding="utf-8")
    (folder / "roll.csv").write_text(plan.draw(played, seed=seed).roll_csv(), encoding="utf-8")
    click.echo(f"{folder / 'definition.toml'}\n{folder / 'roll.csv'}")
