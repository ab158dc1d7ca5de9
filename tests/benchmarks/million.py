"""Makes a home with an open ballot in which everyone has voted, each vote genuine in every check.

The desk's own commands set it up, real keys sign and seal, the gate's own function accepts. What a worker
would then have done is written at once, because a million votes are wanted in minutes: votes and IP records
by COPY, then entries acknowledged, references told stored, marks and turnout set. `ballot check BALLOT
--signatures` on the home ends in `differences: 0`; workers, backups and recovery find nothing unusual in it.
"""

import asyncio
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from runtime import children, progress
from runtime.home import Home
from runtime.servers import servers
from tests.benchmarks.filling import Filling, Wanted
from tests.conftest import ballot_command, environment_for

VOTES_MAX = 5_000_000
SETUP_S_MAX = 3_600
CODES_A_BATCH = 2_000
DEFINITION = """
[ballot]
id = "{id}"
title = "A ballot in which everyone has voted"
kind = "industrial-action"
union = "Union"
employer = "Employer"
scrutineer = "Scrutineer"
contact = "help@scrutineer.example"
opens = 2020-01-01T00:00:00Z
closes = 2099-01-01T00:00:00Z
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}} ]
"""


@click.command()
@click.option("--votes", type=click.IntRange(1, VOTES_MAX), required=True, help="Voters, all of whom vote.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The BALLOT_HOME to make it in; codes and key shares go to DIR-files beside it.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=children.cores(), help="Processes that seal.")
@click.option("--ballot", default="million", show_default=True)
@click.option("--shards", type=click.Choice(["1", "2", "4", "8", "16", "32"]), default="1", show_default=True)
@click.option("--entries/--trimmed", default=False, help="Leave all entries in the stream; trimmed if not.")
@click.option("--receipts", type=click.Path(path_type=Path), help="Also write every voter's receipt here.")
def million(
    votes: int, home: Path, jobs: int, ballot: str, shards: str, *, entries: bool, receipts: Path | None
) -> None:
    """Make a home with an open ballot of as many voters as asked, all of whom have voted."""
    env = environment_for(home.resolve())
    files = home.resolve().with_name(home.name + "-files")
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = Home.from_environment(env)
    seconds: dict[str, float] = {}
    with servers(place, env) as found:
        codes = set_up(env, files, ballot, votes=votes, shards=shards, seconds=seconds)
        wanted = Wanted(ballot, votes, int(shards), jobs=jobs, entries=entries, receipts=receipts)
        with _timed(seconds, "votes"), progress.bar(length=votes, label="casting and storing") as bar:
            filling = Filling(place, found, wanted, advance=bar.update)
            asyncio.run(filling.fill(batches(codes)))
    summary = {name: round(took, 1) for name, took in seconds.items()}
    click.echo(json.dumps({"ballot": ballot, "votes": votes, "seconds": summary}))


def set_up(
    env: dict[str, str], files: Path, ballot: str, *, votes: int, shards: str, seconds: dict[str, float]
) -> Path:
    """Run the desk's commands up to `open`; gives the dispatch file."""
    definition, roll, codes = (files / f"{ballot}{ending}" for ending in (".toml", "-roll.csv", "-codes.csv"))
    definition.write_text(DEFINITION.format(id=ballot))
    with roll.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["member_id", "name", "email", "mobile", "address"])
        writer.writerows(
            [f"m{number}", f"Voter {number}", f"voter{number}@members.example", "", ""]
            for number in range(votes)
        )
    shares = ["--threshold", "2", "--shares", "3", "--out", str(files / f"{ballot}-shares")]
    commands = {
        "create": ["create", str(definition), "--shards", shards],
        "keys": ["keys", "create", ballot, *shares],
        "roll": ["roll", "import", ballot, str(roll)],
        "codes": ["codes", "issue", ballot, "--out", str(codes)],
        "open": ["open", ballot],
    }
    for name, command in commands.items():
        with _timed(seconds, name):
            done = subprocess.run(
                [ballot_command(), *command],
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=None if sys.stderr.isatty() else subprocess.PIPE,
                text=True,
                check=False,
                timeout=SETUP_S_MAX,
            )
        if done.returncode != 0:
            raise click.ClickException(f"ballot {command[0]} ended with {done.returncode}: {done.stderr}")
    return codes


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started_s
    click.echo(f"{name}: {seconds[name]:.1f} s", err=True)


def batches(codes: Path) -> Iterator[list[str]]:
    """The codes in a dispatch file, a batch at a time."""
    with codes.open(encoding="utf-8", newline="") as file:
        batch = []
        for row in csv.DictReader(file):
            batch.append(row["code"])
            if len(batch) == CODES_A_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


if __name__ == "__main__":
    million()
