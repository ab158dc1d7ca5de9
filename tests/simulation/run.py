"""`python -m tests.simulation.run`: plays seeds, says how many a minute, and shows the short history of one that fails.

A seed plays the same whenever and wherever it is played, by the same code: `--from 17 --seeds 1 --history` plays one again.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat
from typing import TYPE_CHECKING, Final

import click

from tests.simulation.mutations import BY_NAME
from tests.simulation.plan import LEVELS, Level, drawn
from tests.simulation.world import Verdict, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK_SEEDS: Final = 50
COLLECT_SEEDS: Final = 10
HISTORY_LINES: Final = 60
FAILURES_SHOWN: Final = 3
FAILED: Final = 1


@dataclass(slots=True)
class Played:
    """What came of some seeds: how many, which failed and why, and one digest of all that happened."""

    count: int = 0
    receipts: int = 0
    simulated_s: float = 0.0
    failed: list[tuple[int, list[str]]] = field(default_factory=list)
    digest: str = ""

    def add(self, other: Played) -> None:
        """Take in what came of further seeds."""
        self.count += other.count
        self.receipts += other.receipts
        self.simulated_s += other.simulated_s
        self.failed += other.failed
        self.digest = sha256((self.digest + other.digest).encode()).hexdigest()


def play(seed: int, level: Level, *, mutation: str | None = None, keep: bool = False) -> Verdict:
    """Play one seed; with a mutation, whatever comes of it."""
    if mutation is None:
        return World(drawn(seed, level), keep=keep).run()
    found = BY_NAME[mutation]
    with found.in_place():
        return World(drawn(seed, level), gate_source=found.source(), keep=keep).run()


def play_some(seeds: Sequence[int], level: Level, mutation: str | None = None) -> Played:
    """Play some seeds, in this process."""
    warnings.simplefilter("ignore", RuntimeWarning)  # killed processes leave coroutines that nobody waits for
    played = Played()
    digest = sha256()
    gc.disable()  # a seed is over in milliseconds, and a collection in the middle would only take time
    for number, seed in enumerate(seeds):
        verdict = play(seed, level, mutation=mutation)
        digest.update(verdict.digest.encode())
        played.count += 1
        played.receipts += verdict.receipts
        played.simulated_s += verdict.simulated_s
        if verdict.problems:
            played.failed.append((seed, verdict.problems))
        if number % COLLECT_SEEDS == COLLECT_SEEDS - 1:
            gc.collect()
    gc.collect()
    gc.enable()
    played.digest = digest.hexdigest()
    return played


def played_by(jobs: int, seeds: Sequence[int], level: Level, mutation: str | None) -> Iterator[Played]:
    """The seeds' outcomes, some at a time and in order."""
    chunks = [seeds[begin : begin + CHUNK_SEEDS] for begin in range(0, len(seeds), CHUNK_SEEDS)]
    if jobs == 1:
        yield from map(play_some, chunks, repeat(level), repeat(mutation))
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(play_some, chunks, repeat(level), repeat(mutation))


def command(seed: int, level: Level, mutation: str | None) -> str:
    """How to play a seed again."""
    more = f" --mutation {mutation}" if mutation else ""
    return f"python -m tests.simulation.run --from {seed} --seeds 1 --level {level}{more} --history"


def show(verdict: Verdict, lines: int, mutation: str | None) -> None:
    """A seed's last lines, what is wrong with it, and how to play it again."""
    for line in verdict.lines[-lines:]:
        click.echo(line)
    for problem in verdict.problems:
        click.echo(f"WRONG: {problem}")
    faults = ", ".join(fault.kind for fault in verdict.plan.faults) or "none"
    click.echo(f"seed {verdict.plan.seed} at level {verdict.plan.level}, faults: {faults}")
    click.echo(f"play it again: {command(verdict.plan.seed, verdict.plan.level, mutation)}")


def fixed_hashes() -> None:
    """Begin again with fixed hashes of texts: without them sets of texts have another order in each process."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        arguments = [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606  # ourselves


@click.command()
@click.option("--seeds", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True)
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--level", type=click.Choice(LEVELS), multiple=True, help="One level only; both otherwise.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option("--mutation", type=click.Choice(sorted(BY_NAME)), help="Break one promise on purpose.")
@click.option("--history", is_flag=True, help="Show the whole history of each seed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def run(
    seeds: int,
    first: int,
    level: tuple[Level, ...],
    jobs: int,
    mutation: str | None,
    *,
    history: bool,
    as_json: bool,
) -> None:
    """Play seeds of the simulation: each is a small ballot with its own faults, checked at the end."""
    fixed_hashes()
    chosen = range(first, first + seeds)
    told = {}
    failures: list[tuple[int, Level]] = []
    for each in level or LEVELS:
        if history:
            for seed in chosen:
                verdict = play(seed, each, mutation=mutation, keep=True)
                show(verdict, len(verdict.lines), mutation)
                failures += [(seed, each)] * bool(verdict.problems)
            continue
        begun_s = time.monotonic()
        total = Played()
        for some in played_by(jobs, chosen, each, mutation):
            total.add(some)
            if sys.stderr.isatty():
                click.echo(f"\r{each}: {total.count:,} of {seeds:,}", nl=False, err=True)
        took_s = time.monotonic() - begun_s
        told[each] = {
            "seeds": [first, first + seeds - 1],
            "failed": [seed for seed, _ in total.failed],
            "receipts": total.receipts,
            "simulated_seconds": round(total.simulated_s),
            "a_minute": round(total.count / took_s * 60),
            "digest": total.digest,
        }
        failures += [(seed, each) for seed, _ in total.failed]
        if not as_json:
            click.echo(
                f"{each}: {total.count:,} histories ({first} to {first + seeds - 1}), {len(total.failed)} failed, "
                f"{total.receipts:,} receipts, {round(total.count / took_s * 60):,} a minute, "
                f"digest {total.digest[:16]}"
            )
    if as_json:
        click.echo(json.dumps(told))
    elif not history:
        for seed, each in failures[:FAILURES_SHOWN]:
            show(play(seed, each, mutation=mutation, keep=True), HISTORY_LINES, mutation)
    if failures:
        raise SystemExit(FAILED)


if __name__ == "__main__":
    run()
