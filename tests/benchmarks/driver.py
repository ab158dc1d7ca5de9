"""Starts what is measured and the generator that drives it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click

from runtime.servers import Servers
from tests.benchmarks.conventional import load_codes
from tests.benchmarks.storing import register
from tests.integration.intake_rig import Booth, until

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the whole-process figures are measured."""

    found: Servers
    env: dict[str, str]
    directory: Path
    rounds: int
    votes: int
    connections: int
    pool: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """A running baseline."""

    port: int
    pid: int


@contextmanager
def baseline(module: str, *arguments: str, env: dict[str, str]) -> Iterator[Baseline]:
    """Run a baseline of this folder until the block ends."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=env)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise click.ClickException(f"The baseline {module} did not start.")
        yield Baseline(int(line), process.pid)
    finally:
        process.kill()
        process.communicate()


def generate(port: int, path: str, bodies: Path, connections: int) -> dict[str, Any]:
    """Run the generator once; every vote must be accepted."""
    arguments = [str(port), path, str(bodies), str(connections)]
    command = [sys.executable, "-m", "tests.benchmarks.generator", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=90)
    if done.returncode != 0:
        raise click.ClickException(f"The generator failed: {done.stderr.decode()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if list(found["statuses"]) != ["201"]:
        raise click.ClickException(f"Not every vote was accepted: {found['statuses']}")
    return found


async def prepare(found: Servers, poll: Booth, directory: Path, *, files: int, votes: int) -> list[Path]:
    """Issue, register and seal ahead: files of request bodies, each good for one run."""
    made = []
    for _ in range(files):
        voters = await poll.issue(votes)
        await register(found, poll, voters)
        file = directory / f"votes-{voters[0].uin.hex()}"
        file.write_bytes(b"\n".join(voter.vote(poll.document).to_json() for voter in voters))
        made.append(file)
    return made


async def ready(url: str, path: str) -> None:
    """Wait until the edge would take a vote on the ballot."""
    async with aiohttp.ClientSession(url) as web:

        async def there() -> bool:
            async with web.get("/readyz") as response, web.get(path) as document:
                return response.status == 200 and document.status == 200

        await until(there)


async def armed_files(stage: Stage, poll: Booth, *, files: int, votes: int) -> list[Path]:
    """Arm, publish and issue: one ballot, at the gate and in the conventional design's table."""
    await poll.arm()
    await poll.publish()
    made = await prepare(stage.found, poll, stage.directory, files=files, votes=votes)
    await load_codes(stage.found, poll.id, made)
    return made
