"""`./run bench`: durable votes a second through one edge process, as a share of bare aiohttp in the same run.

Both are driven by the same generator with the same bodies, in turn, so that what else the machine does hits
both alike. Ours validates, encrypts, queues with an fsync before every answer, and signs receipts; the
baseline parses and answers.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from runtime.home import Home
from runtime.servers import Servers, servers
from tests.conftest import environment_for
from tests.integration.intake_rig import Booth, booth, edge, until

ROOT = Path(__file__).resolve().parent.parent.parent
BALLOT = "bench"


@contextmanager
def bare() -> Iterator[int]:
    """Run the baseline; gives its port."""
    command = [sys.executable, "-m", "tests.benchmarks.bare"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def generate(port: int, path: str, bodies: Path, connections: int) -> dict[str, Any]:
    """Run the generator once."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.generator",
        str(port),
        path,
        str(bodies),
        str(connections),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=90)
    if done.returncode != 0:
        raise click.ClickException(f"The generator failed: {done.stderr.decode()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if list(found["statuses"]) != ["201"]:
        raise click.ClickException(f"Not every vote was accepted: {found['statuses']}")
    return found


async def prepare(poll: Booth, directory: Path, *, rounds: int, votes: int) -> list[Path]:
    """Arm, publish, issue and seal ahead: a file of request bodies a round."""
    await poll.arm()
    await poll.publish()
    files = []
    for number in range(rounds):
        voters = await poll.issue(votes)
        file = directory / f"round-{number}"
        file.write_bytes(b"\n".join(voter.vote(poll.document).to_json() for voter in voters))
        files.append(file)
    return files


async def ready(url: str, path: str) -> None:
    """Wait until the edge would take a vote on the ballot."""
    async with aiohttp.ClientSession(url) as web:

        async def there() -> bool:
            async with web.get("/readyz") as response, web.get(path) as document:
                return response.status == 200 and document.status == 200

        await until(there)


async def measure(
    found: Servers, env: dict[str, str], directory: Path, *, rounds: int, votes: int, connections: int
) -> dict[str, Any]:
    """Ours and the baseline in turn; the medians, their ratio, and every round."""
    async with booth(found, BALLOT) as poll:
        files = await prepare(poll, directory, rounds=rounds, votes=votes)
        ours, baseline = [], []
        with edge(env) as running, bare() as bare_port:
            await ready(running.url, poll.path("document"))
            port = urlsplit(running.url).port or 0
            for file in files:
                baseline.append(generate(bare_port, poll.path("votes"), file, connections))
                ours.append(generate(port, poll.path("votes"), file, connections))
    figure = {
        "name": "durable accepted votes a second, one edge process, over bare aiohttp",
        "ours": median(each["per_second"] for each in ours),
        "baseline": median(each["per_second"] for each in baseline),
        "connections": connections,
        "rounds": {"ours": ours, "baseline": baseline},
    }
    return {**figure, "ratio": figure["ours"] / figure["baseline"]}


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--rounds", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--votes", type=click.IntRange(100, 20_000), default=4_000, show_default=True, help="A round.")
@click.option("--connections", type=click.IntRange(1, 1_000), default=128, show_default=True)
@click.option("--small/--no-small", default=True, help="Also time the single steps of a vote.")
def bench(json_file: Path | None, rounds: int, votes: int, connections: int, *, small: bool) -> None:
    """Measure ours and the baseline in turn; print both and their ratio."""
    with tempfile.TemporaryDirectory(prefix="ballot-bench-") as name:
        env = environment_for(Path(name) / "home")
        home = Home.from_environment(env)
        with servers(home, env) as found:
            figure = asyncio.run(
                measure(found, env, Path(name), rounds=rounds, votes=votes, connections=connections)
            )
    cores = os.cpu_count()
    click.echo(f"{figure['name']} ({cores} cores shared with queue and generator, {connections} connections)")
    click.echo(f"{'ours':>12} {'baseline':>12} {'ratio':>8}")
    click.echo(f"{figure['ours']:>10.0f}/s {figure['baseline']:>10.0f}/s {figure['ratio']:>8.2f}")
    if json_file is not None:
        json_file.write_text(json.dumps({"cores": cores, "figures": [figure]}, indent=2) + "\n")
    if small:
        pytest = [sys.executable, "-m", "pytest", "-q", "tests/benchmarks", "--benchmark-enable"]
        columns = ["--benchmark-columns=min,median,ops", "--benchmark-max-time=0.5", "--benchmark-warmup=off"]
        sys.exit(subprocess.run([*pytest, *columns], cwd=ROOT, check=False, timeout=120).returncode)


if __name__ == "__main__":
    bench()
