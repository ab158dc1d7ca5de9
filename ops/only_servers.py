"""`ballot servers`: the home's own servers in the foreground, for whoever runs the rest elsewhere.

They are kept as `ballot up` keeps them: one that dies is started again. Only those who have the passwords in
this home's `secrets/` can use them.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import click

from ops.supervisor import Supervisor
from runtime.addresses import CLUSTERS
from runtime.home import URL_VARIABLES, Home
from runtime.lifecycle import child_of_parent
from runtime.servers import servers

if TYPE_CHECKING:
    from runtime.servers import Servers


@click.command("servers")
def only_servers() -> None:
    """Run this home's own servers in the foreground until Ctrl-C or SIGTERM; print `ready` once they answer.

    Their addresses are printed, and again when one of them has changed.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    child_of_parent()
    home = Home.from_environment(os.environ)
    if not home.embedded:
        raise click.ClickException(
            f"{', '.join(URL_VARIABLES)} say that the servers are run by somebody else; unset them to run "
            f"those of {home.path}."
        )
    with servers(home, supervise=True) as running:
        click.echo(f"BALLOT_HOME {home.path}")
        told: dict[str, str] = {}
        _tell(running, told)
        click.echo("ready")
        Supervisor([], running).run(stop, each_round=lambda: _tell(running, told))


def _tell(running: Servers, told: dict[str, str]) -> None:
    """Print the addresses that are not `told` yet."""
    found = {"valkey": f"{running.valkey.host}:{running.valkey.port}"}
    for cluster in CLUSTERS:
        address = running.postgres(cluster)
        found[cluster] = f"{address.host}:{address.port}"
    for name, address_now in found.items():
        if told.get(name) != address_now:
            click.echo(f"{name:11} {address_now}")
            told[name] = address_now
