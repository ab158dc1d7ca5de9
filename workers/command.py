"""`ballot worker`: one worker process in the foreground."""

import os

import click

from runtime import logs, metrics
from runtime.home import Home
from runtime.lifecycle import Stop, run_service
from runtime.servers import servers
from workers.metrics import WorkerMetrics
from workers.service import Worker, WorkerSettings

PORT_MAX = 65535


@click.command()
@click.option("--metrics-port", type=click.IntRange(0, PORT_MAX), help="Serve metrics on this port (0: any).")
@click.option("--until-drained", is_flag=True, help="End once everything queued is stored and counted.")
@click.option(
    "--overrule-fuse",
    is_flag=True,
    help="Set aside whatever fails, however much: only if the entries are at fault and not the keys.",
)
def worker(metrics_port: int | None, until_drained: bool, overrule_fuse: bool) -> None:
    """Store queued votes in the voter database and keep the turnout.

    Several may run at once: each entry is stored once. What a worker that dies leaves undone is taken over by
    another, or by its next start.
    """
    settings = WorkerSettings.of(os.environ)
    home = Home.from_environment()
    logs.configure("worker", home)
    with servers(home) as found:
        port = metrics.serve(metrics_port) if metrics_port is not None else None

        async def main(stop: Stop) -> int:
            made = Worker(found, settings, WorkerMetrics(), overruled=overrule_fuse)
            return await made.run(stop, until_drained=until_drained)

        try:
            code = run_service(main)
        finally:
            if port is not None:
                port.close()
    raise SystemExit(code)
