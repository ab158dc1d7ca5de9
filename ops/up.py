"""`ballot up`: everything that takes votes, in the foreground, until told to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ops.availability.service_record import ServiceRecord
from ops.backup.settings import BackupSettings, hindrances, what_is_backed_up
from ops.complaints_form import see_to_form
from ops.knock import Front
from ops.probe import ProbeKeeper
from ops.supervisor import ChildSpec, Supervisor, ballot_command
from runtime.home import Home
from runtime.lifecycle import child_of_parent
from runtime.servers import servers

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = ("intake", "worker", "monitor", "complaints")
METRICS_PORTS = len(METRICS)
STORING = ("worker", "complaints")
TRIMMER_PASSWORDS = ("valkey-trimmer", "voterdb-ballot_trimmer")
WORKER_NICE = 10
"""Storing can wait while voters press Submit: the queue holds what is accepted."""

READY_POLL_SECONDS = 0.2
PORT_TRIES_MAX = 50
PORTS = 65536


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where voters and dashboards connect. Metrics: edges, then workers, the monitor, the complaints."""

    host: str
    port: int
    metrics_port: int
    scheme: str = "http"

    @property
    def local_host(self) -> str:
        """Return a host by which this machine itself reaches the API."""
        everywhere = {"", "0.0.0.0", "::"}  # noqa: S104  # compared, not bound
        return "127.0.0.1" if self.host in everywhere else self.host

    @property
    def url(self) -> str:
        """Return the API's address as the monitor uses it."""
        return f"{self.scheme}://{self.local_host}:{self.port}"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the API listens on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--metrics-port",
    default=9100,
    show_default=True,
    type=click.IntRange(0, 65532),
    help="Edges' metrics; then one each for workers, monitor and complaints. 0 takes free ones.",
)
@click.option(
    "--processes", type=click.IntRange(1, 64), help="Edge processes; as `ballot intake` decides if not given."
)
@click.option(
    "--monitor/--no-monitor", "with_monitor", default=True, show_default=True, help="Probe votes every 5 s."
)
def up(host: str, port: int, metrics_port: int, processes: int | None, *, with_monitor: bool) -> None:
    """Run all that takes votes and complaints until Ctrl-C or SIGTERM; print `ready` once votes are taken."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    child_of_parent()
    home = Home.from_environment(os.environ)
    front = Front.from_environment(os.environ)
    addresses = replace(choose_addresses(host, port, metrics_port), scheme=front.scheme)
    children = _children(home, addresses, front, processes, with_monitor=with_monitor)
    children += [*_trimming(home), *_backups(home)]
    see_to_form(home)
    with servers(home, supervise=True) as running:
        click.echo(f"BALLOT_HOME {home.path}")
        click.echo(f"api         {addresses.url}")
        for offset, name in enumerate(METRICS):
            if with_monitor or name != "monitor":
                click.echo(f"metrics     http://127.0.0.1:{addresses.metrics_port + offset}/metrics ({name})")
        announcer = threading.Thread(
            target=_announce, args=(addresses, front, announced := threading.Event(), stop), daemon=True
        )
        announcer.start()
        probe = ProbeKeeper(home)

        def each_round() -> None:
            if with_monitor and announced.is_set():
                probe.tend()

        try:
            record = ServiceRecord(home.monitor)
            _kept(record.started)
            Supervisor(children, running).run(
                stop,
                each_round=each_round,
                stopping=lambda asked: _kept(lambda: record.stopped(asked=asked)),
            )
        finally:
            stop.set()
            probe.stop()
            announcer.join()


def _kept(record: Callable[[], None]) -> None:
    """Write a start or stop down, so that an outage has its why; what hinders that hinders nothing else."""
    try:
        record()
    except OSError as error:
        click.echo(f"WARNING: this start or stop is not on record: {error}", err=True)


def _children(
    home: Home, addresses: Addresses, front: Front, processes: int | None, *, with_monitor: bool
) -> list[ChildSpec]:
    """The children in the order they are stopped: no probe of a stopping edge, no edge without a worker."""
    metrics = addresses.metrics_port
    edge = ["intake", "--host", addresses.host, "--port", str(addresses.port), "--metrics-port", str(metrics)]
    if processes is not None:
        edge += ["--processes", str(processes)]
    commands = [
        edge,
        ["worker", "--metrics-port", str(metrics + 1)],
        ["complaints", "serve", "--metrics-port", str(metrics + 3)],
    ]
    if with_monitor:
        edges = f"http://127.0.0.1:{metrics}/metrics"
        watching = ["--edges-metrics", edges, "--metrics-port", str(metrics + 2)]
        commands.insert(0, ["monitor", *front.monitored(addresses.url), *watching])
    logs = home.logs
    return [
        ChildSpec(
            name=command[0],
            command=ballot_command(*command),
            output=logs / f"{command[0]}.out",
            nice=WORKER_NICE if command[0] in STORING else 0,
        )
        for command in commands
    ]


def _trimming(home: Home) -> list[ChildSpec]:
    """The trimmer, unless somebody else's servers have not given this home its two passwords."""
    if not home.embedded:
        missing = [name for name in TRIMMER_PASSWORDS if not home.has_password(name)]
        if missing:
            click.echo(f"the queue is not trimmed from here: {' and '.join(missing)} missing", err=True)
            return []
    output = home.logs / "trim.out"
    return [ChildSpec(name="trim", command=ballot_command("trim"), output=output, nice=WORKER_NICE)]


def _backups(home: Home) -> list[ChildSpec]:
    """A process for each of what is backed up: none has another cluster's key in its memory.

    Votes come first: what keeps a backup from being made is said here and by its process, and stops nothing.
    """
    settings = BackupSettings.of(os.environ)
    for sentence in hindrances(home, settings):
        click.echo(f"WARNING: {sentence}", err=True)
    return [
        ChildSpec(
            name=f"backup-{what}",
            command=ballot_command("backup", "serve", what),
            output=home.logs / f"backup-{what}.out",
            nice=WORKER_NICE,
        )
        for what in what_is_backed_up(home, settings)
    ]


def _announce(addresses: Addresses, front: Front, announced: threading.Event, stop: threading.Event) -> None:
    """Print `ready` once, as soon as the edge says that votes would be accepted."""
    while not stop.wait(READY_POLL_SECONDS):
        if front.is_ready(addresses.local_host, addresses.port):
            click.echo("ready")
            announced.set()
            return


def choose_addresses(host: str, port: int, metrics_port: int) -> Addresses:
    """Return free addresses, or say in one sentence which is taken."""
    if port == 0:
        port = _any_free(host, run=1)
    elif not _free(host, port):
        raise click.ClickException(
            f"port {port} on {host} is in use or not allowed; choose another with --port"
        )
    if metrics_port == 0:
        metrics_port = _any_free("127.0.0.1", run=METRICS_PORTS)
    for number in range(metrics_port, metrics_port + METRICS_PORTS):
        if number == port or not _free("127.0.0.1", number):
            raise click.ClickException(
                f"port {number} for metrics is in use; choose others with --metrics-port"
            )
    return Addresses(host=host, port=port, metrics_port=metrics_port)


def _any_free(host: str, *, run: int) -> int:
    """Return the first of `run` free ports in a row."""
    for _ in range(PORT_TRIES_MAX):
        with socket.socket() as listener:
            listener.bind((host, 0))
            first = int(listener.getsockname()[1])
        if first + run <= PORTS and all(_free(host, number) for number in range(first, first + run)):
            return first
    raise click.ClickException("found no free ports")


def _free(host: str, port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a port whose last connections are still closing counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except socket.gaierror as error:
            raise click.ClickException(f"{host} is not an address of this machine") from error
        except OSError:
            return False
    return True
