"""How fast votes are tallied on all cores, and in how much memory, beside bare HPKE opens of the same run.

`ballot tally` runs as a program, from its start to the signed result, on a signed export whose votes are
really sealed. Of `--votes` as many as `--distinct` are different, and they are repeated: each line is opened
on its own, so this takes as long and is made in a tenth of the time. The baseline is what one process opens
a second when it does nothing else, times the cores: measured before and after.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import click
import psutil  # type: ignore[import-untyped]  # it has no stubs

from ballot import export_file
from ballot.sealing import hpke_info
from runtime import progress
from tests.benchmarks import machine
from tests.benchmarks.figure import Figure
from tests.conftest import ballot_command
from tests.unit.tally.sealed_ballot import SealedBallot

BALLOT = "bench-tally"
QUESTION = """
[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]
"""
VOTES_MAX = 5_000_000
TALLY_S_MAX = 3_600
LOOK_S = 0.1
OPENS_S = 3.0
MIB = 1 << 20
REACH_OF_OPENS = 0.8
MEMORY_MIB_MAX = 300.0


@click.command()
@click.option("--votes", type=click.IntRange(1, VOTES_MAX), default=1_000_000, show_default=True)
@click.option(
    "--distinct", type=click.IntRange(1, 100_000), default=20_000, show_default=True, help="Votes sealed."
)
@click.option("--rounds", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def tallying(votes: int, distinct: int, rounds: int, json_file: Path | None) -> None:
    """Tally so many votes, and compare with the cores times HPKE opens a second."""
    about = machine.describe()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="ballot-tallying-") as name:
        ballot = sealed_ballot(Path(name), distinct=min(votes, distinct))
        export = write_export(ballot, Path(name) / "export", votes=votes)
        opens, tallied, memory = [opens_a_second(ballot)], [], []
        for number in range(rounds):
            seconds, peak_bytes = tally(ballot, export, Path(name) / f"result-{number}.json", votes=votes)
            opens.append(opens_a_second(ballot))
            tallied.append(votes / seconds)
            memory.append(peak_bytes / MIB)
    bare = [cores * (before + after) / 2 for before, after in pairwise(opens)]
    figures = [
        Figure(
            f"votes tallied a second, {votes:,} of them, {cores} cores",
            "votes/s",
            tallied,
            bare,
            "cores x HPKE opens",
            goal=REACH_OF_OPENS,
            note="from the start of `ballot tally --from EXPORT` to its end, result signed",
        ),
        Figure(
            f"memory of all processes of a tally of {votes:,} votes",
            "MiB",
            memory,
            [],
            "",
            goal=MEMORY_MIB_MAX,
            goal_is_for_ours=True,
            at_most=True,
            note="the largest sum of resident memory that was seen, what they share counted in each",
        ),
    ]
    click.echo(f"\n{about['cores']} cores, shared by all of it; load before: {about['load_average'][0]}")
    for figure in figures:
        click.echo("\n".join(figure.lines()))
    if json_file is not None:
        told = {"machine": about, "figures": [figure.to_dict() for figure in figures]}
        json_file.write_text(json.dumps(told, indent=2) + "\n")


def sealed_ballot(directory: Path, *, distinct: int) -> SealedBallot:
    """A ballot with its keys and so many different votes, its document published in a home of its own."""
    ballot = SealedBallot.make(directory / "shares", ballot=BALLOT, questions=QUESTION)
    ballot.publish(directory / "home")
    with progress.bar(length=distinct, label="sealing") as bar:
        for number in range(distinct):
            ballot.cast({"strike": ["yes" if number % 3 else "no"]})
            bar.update(1)
    return ballot


def write_export(ballot: SealedBallot, path: Path, *, votes: int) -> Path:
    """Write an export of so many votes: the ballot's own, over and over, signed by its desk."""
    lines = [export_file.vote_line(bind, sealed) for bind, sealed in ballot.votes]
    digest = hashlib.sha256()
    for line in _repeated(lines, votes):
        digest.update(line)

    def grown(manifest: dict[str, Any]) -> None:
        manifest["votes"] = manifest["by_method"]["electronic"] = votes
        manifest["votes_sha256"] = digest.hexdigest()
        manifest["entitled"] = votes
        books = manifest["books"]
        books |= dict.fromkeys(
            ("entitled", "issued", "used", "accepted", "stored", "voted_electronic"), votes
        )
        books["unused"] = 0

    ballot.export(path, change=grown)
    manifest = path.read_bytes().partition(b"\n")[0]
    with path.open("wb") as file:
        file.write(manifest + b"\n")
        file.writelines(_repeated(lines, votes))
    return path


def _repeated(lines: list[bytes], votes: int) -> Iterator[bytes]:
    return islice(cycle(lines), votes)


def opens_a_second(ballot: SealedBallot) -> float:
    """How many votes one process opens a second if it does nothing else with them."""
    key, definition = ballot.keys.opening.key(), ballot.definition
    votes = cycle(
        [(sealed, hpke_info(definition.id, definition.sha256, bind)) for bind, sealed in ballot.votes[:1_000]]
    )
    opened, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < OPENS_S:
        for sealed, info in islice(votes, 100):
            key.open(sealed, info=info)
        opened += 100
    return opened / took_s


def tally(ballot: SealedBallot, export: Path, out: Path, *, votes: int) -> tuple[float, int]:
    """Tally as a program; gives the seconds it took and the most memory its processes had together."""
    shares = [word for share in ballot.shares[:2] for word in ("--share", str(share))]
    command = [ballot_command(), "tally", BALLOT, *shares, "--from", str(export), "--out", str(out)]
    env = {**os.environ, "BALLOT_HOME": str(export.parent / "home")}
    began_s = time.perf_counter()
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=None if sys.stderr.isatty() else subprocess.PIPE
    ) as process:
        peak_bytes = 0
        while process.poll() is None:
            if time.perf_counter() - began_s > TALLY_S_MAX:
                process.terminate()
                raise click.ClickException(f"The tally did not end in {TALLY_S_MAX} s.")
            peak_bytes = max(peak_bytes, _resident_bytes(process.pid))
            with_patience(process)
        seconds = time.perf_counter() - began_s
        said = process.stderr.read().decode() if process.stderr else ""
    if process.returncode != 0:
        raise click.ClickException(f"`ballot tally` ended with {process.returncode}: {said[-300:]}")
    counted = json.loads(out.read_bytes())
    if counted["votes_cast"] != votes:
        raise click.ClickException(f"{counted['votes_cast']:,} of {votes:,} votes were counted.")
    return seconds, peak_bytes


def with_patience(process: subprocess.Popen[bytes]) -> None:
    """Wait a little, or until it ends."""
    try:
        process.wait(LOOK_S)
    except subprocess.TimeoutExpired:
        return


def _resident_bytes(pid: int) -> int:
    total = 0
    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    tallying()
