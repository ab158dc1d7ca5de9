"""One edge process from start to drained stop; the listening socket is its parent's."""

import asyncio
import gc
import os
import socket
from contextlib import suppress
from functools import partial
from typing import Final

from ballot import receipt
from ballot.suite import AeadKey, SigningKey
from intake import metrics
from intake.ballots import Ballots
from intake.batch import Batcher
from intake.edge import Edge
from intake.failures import Failures
from intake.gate import Queue
from intake.reads import Reads
from intake.server import Server
from intake.settings import Settings
from intake.votes import Intake
from runtime import logs, valkey
from runtime.clock import SystemClock
from runtime.lifecycle import Stop
from runtime.servers import Servers

log = logs.get("process")

USER: Final = "intake"
READ_S: Final = 2.0
"""Reads that no vote waits for give up earlier."""

OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
"""Hardly anything a request makes is part of a cycle: looking for those more often only takes time."""


async def serve(listening: socket.socket, *, servers: Servers, settings: Settings, stop: Stop) -> int:
    """Answer requests until asked to stop, then finish those under way. The exit code is always 0."""
    clock = SystemClock()
    home = servers.home
    receipts_key = SigningKey.from_seed(home.secret("receipts"))
    reads = Reads(valkey.connect(servers, USER, timeout_s=READ_S))
    ballots = Ballots(reads, desk_key_file=home.public_key_file, clock=clock)
    batcher = Batcher(
        Queue(
            partial(valkey.dedicated, servers, USER, timeout_s=settings.confirm_s),
            timeout_s=settings.confirm_s,
        ),
        settings=settings,
        clock=clock,
        issue_receipts=partial(receipt.issue, key=receipts_key),
    )
    intake = Intake(
        settings=settings,
        ballots=ballots,
        batcher=batcher,
        failures=Failures(per_minute=settings.failures_per_minute, clock=clock),
        queue_key=AeadKey(home.secret("queue")),
        digest_key=home.secret("credential-digest"),
        clock=clock,
    )
    edge = Edge(intake, ballots=ballots, batcher=batcher, receipts_public=receipts_key.public, clock=clock)
    server = Server(
        edge,
        head_s=settings.head_s,
        body_s=settings.body_s,
        connections_max=settings.connections_max,
    )
    background = [asyncio.create_task(each) for each in (batcher.run(), metrics.flush_forever(clock))]
    _settle_memory()
    try:
        await server.listen(listening)
        log.info("listening", port=listening.getsockname()[1], pid=os.getpid())
        await stop.wait()
    finally:
        # New connections go to the other processes from here; votes under way are still sent and answered.
        await server.stop(settings.confirm_s + 1.0)
        for task in background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await reads.close()
    log.info("stopped")
    return 0


def _settle_memory() -> None:
    """What was made until now lives as long as we do: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
