"""`ballot monitor`: what is connected to what."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import click
from prometheus_client import CollectorRegistry

from ops.availability.service_record import ServiceRecord
from ops.availability.unconfirmed import Unconfirmed
from ops.monitor.books import PERIOD_SECONDS, BooksCheck, BooksGauges
from ops.monitor.codes import CodeStore, NoCodes, code_files
from ops.monitor.gauges import Gauges
from ops.monitor.journal import Journal
from ops.monitor.service import Monitor, Ready
from ops.monitor.voter import PROBE_BALLOT, Pace, ProbeFailed, Voter
from ops.monitor.writer import Writer
from ops.pinned import pinned_key
from ops.private import private
from runtime import lifecycle, logs, metrics
from runtime.certificate import OwnCertificate
from runtime.clock import Clock, SystemClock
from runtime.environment import Environment
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.lifecycle import Stop


FOLLOW_SECONDS = 1.0


@click.command()
@click.option(
    "--url", default="http://127.0.0.1:8080", show_default=True, help="The public address, as voters use it."
)
@click.option(
    "--own-certificate",
    is_flag=True,
    help="Believe just the certificate in BALLOT_TLS_CERTIFICATE, whatever the address.",
)
@click.option(
    "--edges-metrics",
    metavar="URL",
    help="Where this host's edges serve their metrics: what they could not confirm goes on record.",
)
@click.option("--metrics-port", default=9102, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--period",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    help="Seconds between probes.",
)
@click.option(
    "--deadline", default=3.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds to a receipt."
)
@click.option(
    "--store-deadline",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Seconds from the receipt until the vote is in the voter database.",
)
@click.option(
    "--name", default="monitor", show_default=True, help="Whose record this is, where several monitors watch."
)
def monitor(
    url: str,
    edges_metrics: str | None,
    metrics_port: int,
    period: float,
    deadline: float,
    store_deadline: float,
    name: str,
    *,
    own_certificate: bool,
) -> None:
    """Cast a real vote on the probe ballot every few seconds and record availability.

    Up means accepted within the deadline; slow, accepted but not stored in time; down, not accepted; unknown,
    nobody looked. Intervals go to voterdb, and to a local journal while that is away. Every
    BALLOT_CHECK_SECONDS it also runs `ballot check` on every published ballot.
    """
    home = Home.from_environment(os.environ)
    settings = Environment(os.environ)
    check_s = settings.seconds("BALLOT_CHECK_SECONDS", PERIOD_SECONDS)
    settings.done()
    own = OwnCertificate.from_environment(os.environ) if own_certificate else None
    pace = Pace(period_s=period, deadline_s=deadline, store_deadline_s=store_deadline)
    directory = home.monitor
    with _alone(directory):
        status = lifecycle.run_service(
            lambda stop: _serve(
                stop,
                home=home,
                url=url,
                edges_metrics=edges_metrics,
                own=own,
                pace=pace,
                name=name,
                metrics_port=metrics_port,
                check_s=check_s,
            ),
        )
    raise SystemExit(status)


async def _serve(
    stop: Stop,
    *,
    home: Home,
    url: str,
    edges_metrics: str | None,
    own: OwnCertificate | None,
    pace: Pace,
    name: str,
    metrics_port: int,
    check_s: float,
) -> int:
    logs.configure("monitor", home)
    log = logs.get("monitor")
    registry = CollectorRegistry()
    gauges = Gauges(registry)
    directory = home.monitor
    journal = Journal(directory)
    clock = SystemClock()
    service = ServiceRecord(directory)
    writer = Writer(home, name=name, journal=journal, gauges=gauges, log=log, service=service)
    books = BooksCheck(gauges=BooksGauges(registry), clock=clock, log=log)
    served = metrics.serve(metrics_port, registry=registry)
    # A connection of its own for each request: a new voter has none to reuse, and none to find broken.
    connector = aiohttp.TCPConnector(force_close=True, ssl=(own and own.context) or True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def prepare() -> Ready:
            return await _prepare(home, session, url=url, pace=pace)

        watch = Monitor(prepare=prepare, journal=journal, gauges=gauges, pace=pace, clock=clock, log=log)
        log.info("monitor started", period_seconds=pace.period_s)
        beside = [
            asyncio.create_task(writer.run(stop)),
            asyncio.create_task(books.run(stop, period_s=check_s)),
            asyncio.create_task(_follow(own, clock)),
        ]
        counted = None
        if edges_metrics is not None:
            counted = Unconfirmed(session, url=edges_metrics, record=service, clock=clock, log=log)
            beside.append(asyncio.create_task(counted.run(stop)))
        try:
            await watch.run(stop)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            if counted is not None:
                await counted.finish()
            await writer.finish()
            served.close()
    return 0


async def _follow(own: OwnCertificate | None, clock: Clock) -> None:
    """Believe a renewed certificate before the edges serve it."""
    while own is not None:
        await clock.sleep(FOLLOW_SECONDS)
        own.refresh()


async def _prepare(home: Home, session: aiohttp.ClientSession, *, url: str, pace: Pace) -> Ready:
    """Raise NoCodes while nothing can be cast or judged, ProbeFailed without an answer."""
    directory = home.monitor
    try:
        desk_public = pinned_key(home.public_key_file)
        receipts_public = pinned_key(home.public / "receipts.json")
    except click.ClickException as error:
        logs.get("monitor").error("key not readable", error=error)
        raise NoCodes("a published key is damaged") from error
    if desk_public is None or not code_files(directory):
        raise NoCodes("the probe ballot is not prepared yet")
    voter = Voter(
        session,
        url=url,
        desk_public=desk_public,
        pace=pace,
        clock=SystemClock(),
        receipts_public=receipts_public,
    )
    try:
        ballot = await voter.fetch_document()
    except ProbeFailed as error:
        if str(error) == "http 404":
            raise NoCodes("the probe ballot is not open yet") from error
        raise
    shards = probe_shards(directory)
    codes = CodeStore(
        directory,
        ballot_id=PROBE_BALLOT,
        shards=shards,
        digest_key=home.secret("credential-digest"),
    )
    await asyncio.to_thread(codes.load)
    return Ready(voter, ballot, codes, shards=shards)


def probe_shards(directory: Path) -> int:
    """Return the shard count that `ballot probe prepare` noted at `create`; 1 if it noted none."""
    path = directory / "shards"
    return int(path.read_text()) if path.exists() else 1


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the monitor's directory: two monitors on one home would use the same codes."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(private(directory / "lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise click.ClickException("another monitor is already running on this BALLOT_HOME") from error
        yield
