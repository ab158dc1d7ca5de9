"""`ballot intake`: the edge on one port, as a parent and as many processes as asked for."""

import os
import socket
import sys
from pathlib import Path

import click

from ballot.encoding import canonical_json
from ballot.suite import SigningKey
from intake import parent, process, tls
from intake.edge import key_entry
from intake.settings import Settings
from runtime import logs
from runtime.clock import SystemClock
from runtime.home import Home
from runtime.lifecycle import Stop, run_service
from runtime.servers import servers

PROCESSES_MAX = 128
PORT = click.IntRange(0, 65_535)


@click.command()
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on; 0 for any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    default=1,
    show_default=True,
    help="How many processes share the port.",
)
@click.option(
    "--metrics-port", type=PORT, default=9100, show_default=True, help="Port for metrics; never public."
)
@click.option("--inherit-socket", type=int, hidden=True, help="Be one of the processes, on this descriptor.")
@click.option(
    "--page-named-in",
    type=click.Path(path_type=Path),
    hidden=True,
    help="The file that names the page's version to serve.",
)
@click.option("--say-ready", type=int, hidden=True, help="Say on this descriptor when a vote would be taken.")
def intake(
    port: int,
    host: str,
    processes: int,
    metrics_port: int,
    inherit_socket: int | None,
    page_named_in: Path | None,
    say_ready: int | None,
) -> None:
    """Take votes in over HTTP and answer when they are on disk."""
    settings = Settings.from_environment(os.environ)
    home = Home.from_environment()
    logs.configure("intake", home)
    if inherit_socket is None:
        tls.configured(settings.tls_certificate, settings.tls_key)
        listening = parent.bind(host, port)
        with listening, servers(home):
            publish_receipts_key(home)
            code = run_service(lambda stop: _parent(listening, settings, processes, metrics_port, home, stop))
    else:
        listening = socket.socket(fileno=inherit_socket)
        own = settings.of_one(processes)
        with listening, servers(home) as found:
            code = run_service(
                lambda stop: process.serve(
                    listening,
                    servers=found,
                    settings=own,
                    page_named_in=page_named_in,
                    say_ready=say_ready,
                    stop=stop,
                )
            )
    sys.exit(code)


def publish_receipts_key(home: Home) -> None:
    """Leave the receipts key's public half in `public/receipts.json`, for whoever verifies a receipt here."""
    public = SigningKey.from_seed(home.secret("receipts")).public
    draft = home.public / f".receipts.{os.getpid()}.json"
    draft.write_bytes(canonical_json(key_entry("receipts", public)) + b"\n")
    draft.replace(home.public / "receipts.json")


async def _parent(
    listening: socket.socket, settings: Settings, processes: int, metrics_port: int, home: Home, stop: Stop
) -> int:
    return await parent.keep(
        listening,
        scheme="http" if settings.tls_certificate is None else "https",
        processes=processes,
        metrics_port=metrics_port,
        run=home.run,
        page=home.page,
        clock=SystemClock(),
        stop=stop,
        stop_s=settings.stop_s,
    )
