"""One edge process from start to drained stop; the listening socket is its parent's."""

import asyncio
import gc
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from ballot import receipt
from ballot.suite import AeadKey, SigningKey
from intake import answer, metrics, tls
from intake.ballots import Ballots
from intake.batch import Batcher
from intake.child import READY
from intake.complaint_link import ComplaintLink
from intake.complaints import Complaints
from intake.durability import Durability
from intake.edge import Edge
from intake.entropy import Entropy
from intake.failures import Failures
from intake.faults import place
from intake.journal import Journal
from intake.node import Node, Trusted
from intake.page_finder import Finder, KeptFiles
from intake.pages import Pages
from intake.reads import Reads
from intake.routing import Address
from intake.scout import Scout
from intake.server import Server
from intake.settings import Settings
from intake.votes import Intake
from runtime import logs, valkey
from runtime.clock import Clock, SystemClock
from runtime.home import Home
from runtime.lifecycle import Fatal, Stop, end
from runtime.nodes import Nodes
from runtime.servers import Servers

log = logs.get("process")

USER: Final = "intake"
READ_S: Final = 2.0
"""Reads that no vote waits for give up earlier."""

READY_POLL_S: Final = 0.02
TASKS_END_S: Final = 1.0
"""Of the three seconds that we have after the last answer; the journal is closed in the others."""

EXIT_STUCK: Final = 70
OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
"""Hardly anything a request makes is part of a cycle: looking for those more often only takes time."""


async def serve(
    listening: socket.socket,
    *,
    servers: Servers,
    settings: Settings,
    stop: Stop,
    page_named_in: Path | None = None,
    say_ready: int | None = None,
) -> int:
    """Answer requests until asked to stop, then finish those under way. The exit code is always 0."""
    clock = SystemClock()
    home = servers.home
    wrapped = tls.configured(settings.tls_certificate, settings.tls_key)
    receipts_key = SigningKey.from_seed(home.secret("receipts"))
    reads = Reads(valkey.connect(servers, USER, timeout_s=READ_S))
    ballots = Ballots(reads, desk_key_file=home.public_key_file, clock=clock)
    journal = Journal(home.journal, clock=clock)
    batcher = _batcher(servers, settings=settings, clock=clock, receipts_key=receipts_key, journal=journal)
    intake = _intake(home, settings=settings, ballots=ballots, batcher=batcher, clock=clock)
    complaints = _complaints(servers, settings=settings, clock=clock)
    served = Pages(
        ballots,
        complaints,
        kept=KeptFiles(home.page, clock=clock),
        receipts_public=receipts_key.public,
        clock=clock,
    )
    finder = Finder(served.adopt, home.page, page_named_in)
    finder.look()
    answer.over_tls(on=wrapped is not None)
    edge = Edge(
        intake,
        ballots=ballots,
        batcher=batcher,
        complaints=complaints,
        pages=served,
        receipts_public=receipts_key.public,
        clock=clock,
    )
    server = Server(
        edge,
        head_s=settings.head_s,
        body_s=settings.body_s,
        connections_max=settings.connections_max,
    )
    queue = asyncio.create_task(batcher.run())
    others = (metrics.flush_forever(clock), finder.look_until_found(clock))
    background = [queue, *map(asyncio.create_task, others)]
    _settle_memory()
    journal.start()
    try:
        if wrapped is not None:
            metrics.CERTIFICATE_ENDS.set(wrapped.ends_s)
        context = None if wrapped is None else wrapped.context
        if say_ready is None or await _would_take_votes(batcher, stop, queue):
            await server.listen(listening, tls=context, proxied=settings.proxied)
            log.info("listening", port=listening.getsockname()[1], pid=os.getpid(), page=served.version)
            _say(say_ready)
        await _until_asked(stop, queue)
    finally:
        # New connections go to the other processes from here; votes under way are still sent and answered.
        await server.stop(settings.drain_s)
        await _end(background, reads, complaints, journal)
    log.info("stopped")
    return 0


async def _end(
    background: Sequence[asyncio.Task[None]], reads: Reads, complaints: Complaints, journal: Journal
) -> None:
    """End what no voter waits for any more, and write the journal's last lines, whatever does not end."""
    stuck = await end(background, within_s=TASKS_END_S)
    await reads.close()
    await complaints.close()
    await asyncio.to_thread(journal.close)
    if stuck:
        # Leaving the loop would wait for it, for ever.
        log.alarm("what sends votes does not end")
        os._exit(EXIT_STUCK)


async def _would_take_votes(batcher: Batcher, stop: Stop, queue: "asyncio.Task[None]") -> bool:
    """Wait until a vote would be taken; False when we are to end before that.

    A process that replaces another takes no connection earlier: it could only refuse what the others would
    take, for instance while the queue rewrites its file.
    """
    while not (batcher.ready or stop.requested or queue.done()):  # noqa: ASYNC110  # while the parent waits
        await asyncio.sleep(READY_POLL_S)
    return batcher.ready


def _say(descriptor: int | None) -> None:
    """Tell the parent, which waits for it, that we take votes."""
    if descriptor is not None:
        with suppress(OSError):
            os.write(descriptor, READY)
            os.close(descriptor)


async def _until_asked(stop: Stop, queue: "asyncio.Task[None]") -> None:
    """Return when asked to stop; Fatal when nothing sends the votes any more, which is a bug."""
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({asked, queue}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if queue.done():
        error = None if queue.cancelled() else queue.exception()
        where = "" if error is None else place(error)
        raise Fatal(f"sending votes to the queue has ended: {type(error).__name__} {where}")


def _batcher(
    servers: Servers, *, settings: Settings, clock: Clock, receipts_key: SigningKey, journal: Journal
) -> Batcher:
    """The way to the queue: to one server, or to as many primaries as the Cluster has."""
    address = servers.valkey
    connect = partial(valkey.node, servers, USER, timeout_s=settings.confirm_s)

    def node(where: Address, trusted: Trusted | None) -> Node:
        return Node(
            partial(connect, *where),
            durability=Durability(settings.replicas),
            clock=clock,
            timeout_s=settings.confirm_s,
            trusted=trusted,
        )

    return Batcher(
        node,
        alone=None if address.cluster else (address.host, address.port),
        scout=Scout(connect, address.seeds, tls=address.tls) if address.cluster else None,
        settings=settings,
        clock=clock,
        issue_receipts=partial(receipt.issue_bodies, key=receipts_key),
        note=journal.note,
    )


def _intake(home: Home, *, settings: Settings, ballots: Ballots, batcher: Batcher, clock: Clock) -> Intake:
    """Votes and access requests, with the keys that they are wrapped and looked up with."""
    return Intake(
        settings=settings,
        ballots=ballots,
        batcher=batcher,
        failures=Failures(per_minute=settings.failures_per_minute, clock=clock),
        queue_key=AeadKey(home.secret("queue")),
        digest_key=home.secret("credential-digest"),
        clock=clock,
        random=Entropy(),
    )


def _complaints(servers: Servers, *, settings: Settings, clock: Clock) -> Complaints:
    """Complaints, with a way to the queue of their own."""
    link = ComplaintLink(
        Nodes(servers, USER, timeout_s=settings.confirm_s),
        partial(valkey.node, servers, USER, timeout_s=settings.confirm_s),
        durability=Durability(settings.replicas),
        clock=clock,
        timeout_s=settings.confirm_s,
    )
    return Complaints(
        link,
        budget=Failures(per_minute=settings.complaints_per_minute, clock=clock),
        settings=settings,
        key_file=servers.home.complaints_key_file,
    )


def _settle_memory() -> None:
    """What was made until now lives as long as we do: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
