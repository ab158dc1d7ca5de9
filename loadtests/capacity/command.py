"""`ballot capacity`: votes a second, bytes, syncs and cores for an electorate and the shape of its voting."""

import json
from pathlib import Path

import click

from loadtests.capacity import measured, model, saying
from loadtests.capacity.measured import Costs, NoReport
from loadtests.capacity.model import Demand, Machine
from loadtests.published import scenario
from loadtests.published.arrivals import peaks
from loadtests.published.scenario import ScenarioFault

CURVE = "million-and-a-third:c"
PEOPLE_MAX = 1_000_000_000
MINUTE, HOUR = 60, 3_600
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--electorate", type=click.IntRange(1, PEOPLE_MAX), help="How many may vote.")
@click.option("--turnout", type=click.FloatRange(0, 100, min_open=True), help="Of them vote, in percent.")
@click.option("--curve", metavar="SCENARIO[:VARIANT]", help=f"Whose rush it is; {CURVE} if not given.")
@click.option("--peak-second", type=click.FloatRange(min=0, min_open=True), help="Votes, instead of a curve.")
@click.option("--cores", type=click.IntRange(1, 1024), default=2, show_default=True, help="Of one machine.")
@click.option(
    "--memory-gib",
    type=click.FloatRange(0.5, 65_536),
    default=16.0,
    show_default=True,
    help="Of one machine.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="On one machine.")
@click.option(
    "--measured", "learn", type=FILE, help="A load run's report.json: what its parts cost, instead of ours."
)
@click.option("--beside", type=FILE, help="A load run's report.json: the model beside what it measured.")
@click.option("--json", "as_program", is_flag=True, help="Print one JSON object.")
def capacity(
    electorate: int | None,
    turnout: float | None,
    curve: str | None,
    peak_second: float | None,
    cores: int,
    memory_gib: float,
    workers: int,
    learn: Path | None,
    beside: Path | None,
    *,
    as_program: bool,
) -> None:
    """Say what an electorate and its way of voting need of machines, and what to add first.

    The turnout is the curve's own if not given. Every constant with where it was measured: --json.
    """
    if curve is not None and peak_second is not None:
        raise click.UsageError("--curve and --peak-second are two ways to say the same.")
    machine = Machine(cores, memory_gib * 2**30, workers)
    try:
        costs = _learned(learn)
        if beside is not None:
            _beside(costs, beside, edges=cores, as_program=as_program)
            return
        if electorate is None:
            raise click.UsageError("Say how many may vote: --electorate.")
        demand = demanded(electorate, turnout, curve=curve or CURVE, peak_second=peak_second)
    except (NoReport, ScenarioFault) as fault:
        raise click.ClickException(str(fault)) from fault
    told = saying.as_json(costs, demand, machine)
    click.echo(json.dumps(told, indent=2) if as_program else "\n".join(saying.lines(told)))


def _learned(path: Path | None) -> Costs:
    if path is None:
        return Costs()
    run = measured.read(path)
    return measured.learned(Costs(), run, batches=model.calls(Costs(), run.rate))


def _beside(costs: Costs, path: Path, *, edges: int, as_program: bool) -> None:
    run = measured.read(path)
    rows = saying.beside(costs, run, edges=edges)
    click.echo(json.dumps(rows, indent=2) if as_program else "\n".join(saying.beside_lines(run, rows)))


def demanded(electorate: int, turnout: float | None, *, curve: str, peak_second: float | None) -> Demand:
    """The ballot: `electorate` voting like `curve`, or at most `peak_second` votes a second for an hour."""
    like = scenario.load(curve)
    share = like.votes / like.entitled if turnout is None else turnout / 100
    votes = max(1, round(electorate * share))
    if peak_second is not None:
        rate = min(peak_second, votes)
        return Demand(
            electorate, votes, rate, min(rate * MINUTE, votes), min(rate * HOUR, votes), "as was said"
        )
    peak, scale = peaks(like), votes / like.votes
    title = f"like {like.name}" + (f":{like.variant}" if like.variant else "")
    second, minute, hour = peak.second * scale, peak.minute * scale, peak.hour * scale
    return Demand(electorate, votes, second, minute, hour, title)
