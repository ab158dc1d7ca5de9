"""`python -m tests.simulation.run`: plays seeds, says how many a minute, and shows a failing one's history.

The same code plays a seed the same whenever and wherever: `--from 17 --seeds 1 --history` plays one again.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from tests.simulation import sums as adding
from tests.simulation.mutations import BY_NAME, MUTATIONS, SEEDS_MAX, Mutation
from tests.simulation.plan import LEVELS, Level, drawn
from tests.simulation.world import PEACE_S, Verdict, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK_SEEDS: Final = 50
COLLECT_SEEDS: Final = 10
HISTORY_LINES: Final = 60
FAILURES_SHOWN: Final = 3
FAILED: Final = 1
FILE: Final = click.Path(dir_okay=False, path_type=Path)
SHORT_PEACE_S: Final = 12.0
"""With a mutation nobody waits as long: what is well is over in half the time."""


@dataclass(slots=True)
class Played:
    """What came of some seeds: how many, which failed and why, and one digest of all that happened."""

    count: int = 0
    receipts: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    failed: list[tuple[int, list[str]]] = field(default_factory=list)
    digest: str = ""

    def add(self, other: Played) -> None:
        """Take in what came of further seeds."""
        self.count += other.count
        self.receipts += other.receipts
        self.simulated_s += other.simulated_s
        self.cpu_s += other.cpu_s
        self.failed += other.failed
        self.digest = sha256((self.digest + other.digest).encode()).hexdigest()


def play(
    seed: int,
    level: Level,
    *,
    mutation: str | None = None,
    keep: bool = False,
    peace_s: float = PEACE_S,
) -> Verdict:
    """Play one seed; with a mutation, whatever comes of it."""
    if mutation is None:
        return World(drawn(seed, level), keep=keep, peace_s=peace_s).run()
    found = BY_NAME[mutation]
    with found.in_place():
        return World(drawn(seed, level), gate_source=found.source(), keep=keep, peace_s=peace_s).run()


def play_some(seeds: Sequence[int], level: Level, mutation: str | None = None) -> Played:
    """Play some seeds, in this process."""
    warnings.simplefilter("ignore", RuntimeWarning)  # killed processes leave coroutines that nobody waits for
    played = Played()
    digest = sha256()
    begun_s = time.process_time()
    gc.disable()  # a seed is over in milliseconds, and a collection in the middle would only take time
    gc.freeze()  # what was there before needs no look at each collection
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
    played.cpu_s = time.process_time() - begun_s
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
    """Begin again with fixed hashes: without them sets of texts have another order in each process."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        arguments = [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606  # ourselves


@click.command()
@click.option("--seeds", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True)
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--level", type=click.Choice(LEVELS), multiple=True, help="One level only; both otherwise.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option("--mutation", type=click.Choice(sorted(BY_NAME)), help="Break one promise on purpose.")
@click.option("--mutations", is_flag=True, help="Break each promise, and say which seed notices it.")
@click.option("--history", is_flag=True, help="Show the whole history of each seed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
@click.option("--sums", type=FILE, help="Append a JSON line for each level to this file.")
@click.option("--sum", "summed", type=FILE, help="Play nothing; print what such a file comes to.")
def run(
    seeds: int,
    first: int,
    level: tuple[Level, ...],
    jobs: int,
    mutation: str | None,
    *,
    mutations: bool,
    history: bool,
    as_json: bool,
    sums: Path | None,
    summed: Path | None,
) -> None:
    """Play seeds of the simulation: each is a small ballot with its own faults, checked at the end."""
    if summed is not None:
        click.echo("\n".join(adding.told(summed)))
        return
    fixed_hashes()
    chosen = range(first, first + seeds)
    if mutations:
        _break_everything(as_json=as_json)
    if history:
        told = [_shown(seed, each, mutation) for each in level or LEVELS for seed in chosen]
        raise SystemExit(FAILED if any(told) else 0)
    summaries = [_summary(chosen, each, jobs, mutation) for each in level or LEVELS]
    if sums is not None and mutation is None:
        for each in summaries:
            adding.append(sums, each)
    if as_json:
        click.echo(json.dumps(summaries))
    failures = [(seed, each["level"]) for each in summaries for seed in each["failed"]]
    for seed, of_level in () if as_json else failures[:FAILURES_SHOWN]:
        show(play(seed, of_level, mutation=mutation, keep=True), HISTORY_LINES, mutation)
    if not as_json:
        for each in summaries:
            begin, end = each["seeds"]
            click.echo(
                f"{each['level']}: {end - begin + 1:,} histories (seeds {begin} to {end}), "
                f"{len(each['failed'])} failed, {each['receipts']:,} receipts, "
                f"{each['a_minute']:,} a minute, {each['cpu_ms_a_seed']} ms of CPU each, "
                f"digest {each['digest'][:16]}"
            )
    raise SystemExit(FAILED if failures else 0)


def noticed(mutation: Mutation) -> tuple[int, str] | None:
    """The first seed that notices a mutation and is well without it, and what it says; None if none does."""
    for seed in (mutation.seed, *range(SEEDS_MAX)):
        found = play(seed, mutation.level, mutation=mutation.name, peace_s=SHORT_PEACE_S).problems
        if found and not play(seed, mutation.level, peace_s=SHORT_PEACE_S).problems:
            return seed, found[0]
        gc.collect()
    return None


def _break_everything(*, as_json: bool) -> NoReturn:
    """Try every mutation; exit 1 when one goes unnoticed."""
    gc.disable()  # as in `play_some`
    gc.freeze()
    warnings.simplefilter("ignore", RuntimeWarning)
    told = {}
    for mutation in MUTATIONS:
        told[mutation.name] = found = noticed(mutation)
        if not as_json:
            said = "NOT NOTICED" if found is None else f"seed {found[0]}: {found[1][:100]}"
            click.echo(f"{mutation.name} ({mutation.breaks})\n    {said}")
    if as_json:
        click.echo(json.dumps(told))
    raise SystemExit(0 if all(told.values()) else FAILED)


def _shown(seed: int, level: Level, mutation: str | None) -> bool:
    """Play a seed and show all of it; whether anything is wrong."""
    verdict = play(seed, level, mutation=mutation, keep=True)
    show(verdict, len(verdict.lines), mutation)
    return bool(verdict.problems)


def _summary(seeds: range, level: Level, jobs: int, mutation: str | None) -> dict[str, Any]:
    """Play seeds, with a word of how far it is for whoever looks on."""
    begun_s = time.monotonic()
    total = Played()
    for some in played_by(jobs, seeds, level, mutation):
        total.add(some)
        if sys.stderr.isatty():
            click.echo(
                f"\r{level}: {total.count:,} of {len(seeds):,} ", nl=total.count == len(seeds), err=True
            )
    seconds = time.monotonic() - begun_s
    return {
        "level": level,
        "seeds": [seeds[0], seeds[-1]],
        "failed": [seed for seed, _ in total.failed],
        "receipts": total.receipts,
        "simulated_seconds": round(total.simulated_s),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(total.cpu_s, 3),
        "cpu_ms_a_seed": round(total.cpu_s / total.count * 1000, 1),
        "a_minute": round(total.count / seconds * 60),
        "digest": total.digest,
    }


if __name__ == "__main__":
    run()
