"""`ballot demo`: a whole published ballot, end to end, and its result beside the published figures."""

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from loadtests.lifetime.life import Figure, Life
from loadtests.lifetime.table import as_json, books_lines, differences, table
from loadtests.lifetime.tryout import Tryout
from loadtests.published import plan, scenario
from loadtests.published.scenario import ScenarioFault
from loadtests.staging.stage import Stage, StageFault
from loadtests.staging.telling import Telling, faults_told

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = "tube-two-questions"
LOOK_SECONDS = 0.5


@click.command()
@click.argument("name", metavar="[SCENARIO]", default=DEFAULT)
@click.option(
    "--stay",
    is_flag=True,
    help="Leave everything running after the result, with a ballot to try, until Ctrl-C.",
)
@click.option("--keep", is_flag=True, help="Keep the run's directory.")
@click.option(
    "--seed",
    type=int,
    default=None,
    help="Who votes what and who does what: another seed than the scenario's.",
)
@click.option("--json", "as_program", is_flag=True, help="The result as JSON on stdout, the steps on stderr.")
def demo(name: str, stay: bool, keep: bool, seed: int | None, as_program: bool) -> None:
    """Run a whole published ballot on embedded servers and compare the result with the published figures.

    Ends with the line `differences: 0`. Uses a BALLOT_HOME of its own, removed at the end, and free ports.
    """
    telling = Telling(to_stderr=as_program)
    # A closed terminal ends the run as SIGTERM does: everything that was started is stopped.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    started = time.monotonic()
    with faults_told():
        played = scenario.load(name)
        if played.paper is not None:
            raise ScenarioFault(f"Part of {played.name} votes on paper, which only `ballot load` plays.")
        with Stage(keep=keep) as stage:
            telling.say(f"{played.title}: {played.entitled:,} entitled, {played.votes:,} votes")
            telling.say(f"BALLOT_HOME={stage.home}")
            life = Life(stage, played, plan.draw(played, seed=seed), seed=seed)
            figures = play(life, telling)
            telling.say(f"{time.monotonic() - started:7.2f} s  in all")
            _show(life, figures, telling, as_program=as_program)
            if stay:
                _stay(stage, life, telling)
    if differences(figures):
        raise click.exceptions.Exit(1)


def play(life: Life, telling: Telling) -> list[Figure]:
    """Every step of the ballot's life, in order."""
    votes = f"{life.scenario.votes:,} voters vote, {len(life.plan.reissues):,} of them with a reissued code"
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("ballot up: servers, intake, workers, monitor", life.stage.up),
        ("ballot create", lambda: life.create(now_us=time.time_ns() // 1000)),
        ("ballot keys create: any 2 of 3 open it", life.keys),
        ("ballot roll import", life.roll),
        ("ballot codes issue", life.issue),
        ("ballot open", life.open),
        (votes, life.vote),
        ("ballot close: drained and balanced", life.close),
        ("ballot tally: exported, opened with 2 shares, counted, signed", life.tally),
        ("ballot verify: the result's signature", life.verify),
        ("ballot check: books, signatures, receipts", life.check),
    ]
    for what, step in steps:
        with telling.step(what):
            step()
    with telling.step("every receipt verified against the published keys"):
        receipts = life.receipts()
    return [*life.figures(), *receipts]


def _show(life: Life, figures: list[Figure], telling: Telling, *, as_program: bool) -> None:
    """The table, the books, what the voters did, and the last line."""
    if as_program:
        told = {
            "scenario": life.scenario.name,
            "differences": differences(figures),
            "figures": as_json(figures),
            "books": life.books(),
            "voters": life.summary,
            "seconds": telling.seconds,
        }
        click.echo(json.dumps(told, indent=2))
        return
    counts = ", ".join(f"{what} {times:,}" for what, times in life.summary["counts"].items() if times)
    took = life.summary["cast_milliseconds"]
    click.echo(f"\nvoters: {counts}; a cast took {took['p50']:.0f} ms (p50), {took['p99']:.0f} ms (p99)")
    click.echo(f"\n{table(figures)}\n\nbooks\n{books_lines(life.books())}\n")
    click.echo(f"differences: {differences(figures)}")


def _stay(stage: Stage, life: Life, telling: Telling) -> None:
    """Leave the stack up, with a small open ballot and an unused code to try, until Ctrl-C."""
    tryout = Tryout(stage)
    with telling.step("a ballot to try, open"):
        tryout.open(now_us=time.time_ns() // 1000)
    telling.say(f"\nAPI      {stage.url}/api/v1/ballots/{tryout.ballot}")
    telling.say(f"keys     {stage.url}/api/v1/keys")
    for what, port in (("intake", 0), ("workers", 1), ("monitor", 2), ("complaints", 3)):
        telling.say(f"metrics  http://127.0.0.1:{stage.metrics_port + port}/metrics  ({what})")
    telling.say(f"result   {life.result}")
    telling.say(f"\nTo vote on the page, open the link of a voter's letter:\n  {tryout.link()}")
    telling.say(f"\nTo cast a vote with another unused code:\n  {tryout.line()}\n\nCtrl-C stops everything.")
    try:
        while stage.running:
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        telling.say("stopping")
    else:
        raise StageFault("`ballot up` has ended by itself.")
