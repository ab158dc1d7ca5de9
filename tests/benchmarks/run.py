"""`./run bench`: our figures, each beside a baseline measured in turn in the same run, and their ratio.

Ours validates, encrypts, queues with an fsync before every answer, and signs receipts. The baselines: bare
aiohttp, which parses and answers; the conventional design, which is durable too; and the raw ceilings.
What else the machine does hits both halves alike.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from runtime.home import Home
from runtime.servers import servers
from tests.benchmarks import ceilings, codes, gate_size, latency, machine, memory, processes, rates, worker
from tests.benchmarks.driver import ROOT, Stage
from tests.benchmarks.figure import Figure
from tests.conftest import environment_for

SECTIONS: dict[str, Callable[[Stage], Awaitable[list[Figure]]]] = {
    "votes": rates.throughput,
    "group": processes.group,
    "latency": latency.latency,
    "rewrite": latency.rewrite,
    "restart": latency.restart,
    "gate": ceilings.gate,
    "copy": ceilings.copy,
    "crypto": ceilings.crypto,
    "worker": worker.stored,
    "codes": codes.issued,
    "codes-in-gate": gate_size.size,
    "attempts": gate_size.attempts,
    "memory": memory.memory,
}
STEPS = "steps"
SECONDS_MAX = 1_800


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option(
    "--only", type=click.Choice([*SECTIONS, STEPS]), multiple=True, help="Only these; may be repeated."
)
@click.option("--rounds", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--votes", type=click.IntRange(100, 20_000), default=4_000, show_default=True, help="A round.")
@click.option("--connections", type=click.IntRange(1, 1_000), default=512, show_default=True)
@click.option(
    "--pool", type=click.IntRange(1, 48), default=32, show_default=True, help="The conventional design's."
)
def bench(
    json_file: Path | None, only: tuple[str, ...], rounds: int, votes: int, connections: int, pool: int
) -> None:
    """Measure ours and the baselines in turn; print both and their ratio."""
    about = machine.describe()
    chosen = [name for name in SECTIONS if name in only or not only]
    figures = []
    if chosen:
        with tempfile.TemporaryDirectory(prefix="ballot-bench-") as name:
            env = environment_for(Path(name) / "home")
            with servers(Home.from_environment(env), env) as found:
                stage = Stage(found, env, Path(name), rounds, votes, connections, pool)
                figures = asyncio.run(_measure(chosen, stage))
    click.echo(f"\n{about['cores']} cores, shared by all of it; load before: {about['load_average'][0]}")
    for figure in figures:
        click.echo("\n".join(figure.lines()))
    click.echo("\n".join(table([figure for figure in figures if figure.goal is not None])))
    if json_file is not None:
        found_all = {"machine": about, "figures": [figure.to_dict() for figure in figures]}
        json_file.write_text(json.dumps(found_all, indent=2) + "\n")
    if not only or STEPS in only:
        sys.exit(_steps())


async def _measure(chosen: list[str], stage: Stage) -> list[Figure]:
    """Measure one section after the other, all of them in bounded time."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            figures = []
            for place, name in enumerate(chosen, start=1):
                click.echo(f"{place} of {len(chosen)}: {name}", err=True)
                figures += await SECTIONS[name](stage)
            return figures
    except TimeoutError:
        raise click.ClickException(f"The benchmarks did not end in {SECONDS_MAX} s.") from None


def table(figures: list[Figure]) -> list[str]:
    """The figures that have a goal: one line each, what to reach and what to go for beside what was found."""
    rows = [("figure", "found", "reach", "then go for", ""), *(figure.row() for figure in figures)]
    if not figures:
        return []
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "",
        *(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
    ]


def _steps() -> int:
    """Time the single steps of a vote."""
    pytest = [sys.executable, "-m", "pytest", "-q", "tests/benchmarks", "--benchmark-enable"]
    columns = ["--benchmark-columns=min,median,ops", "--benchmark-max-time=0.5", "--benchmark-warmup=off"]
    return subprocess.run([*pytest, *columns], cwd=ROOT, check=False, timeout=120).returncode


if __name__ == "__main__":
    bench()
