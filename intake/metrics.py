"""What the edge counts: outcomes, waiting, batches; never by voter, code, address, reference or ballot.

A vote only adds to plain integers; once a second, and at the end, they are added to the numbers that all
processes share. Those are files in memory, and writing them costs more than all the rest of counting.
"""

from bisect import bisect_left
from collections import Counter as Plain
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from runtime import logs
from runtime.clock import Clock

log = logs.get("metrics")

FLUSH_S: Final = 1.0

_writing = True
"""Whether the last flush wrote everything."""


class Outcomes:
    """Answers by outcome."""

    def __init__(self, name: str, documentation: str) -> None:
        self._shared = Counter(name, documentation, ["outcome"])
        self._since: Plain[str] = Plain()

    def count(self, outcome: str) -> None:
        """One more of `outcome`."""
        self._since[outcome] += 1

    def flush(self) -> None:
        """Add what was counted since the last time; what could not be added stays for the next."""
        failed: Exception | None = None
        for outcome, count in list(self._since.items()):
            try:
                self._shared.labels(outcome).inc(count)
            except Exception as error:  # noqa: BLE001  # raised when the others have been added
                failed = error
            else:
                del self._since[outcome]
        if failed is not None:
            raise failed


class Spread:
    """Values by how large they are."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._shared = Histogram(name, documentation, buckets=bounds)
        self._bounds = tuple(bounds)
        self._since = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self._since[bisect_left(self._bounds, value)] += 1
        self._total += value

    def flush(self) -> None:
        """Add what was observed since the last time."""
        for bucket, count in zip(self._shared._buckets, self._since, strict=True):  # noqa: SLF001  # no other way
            if count:
                bucket.inc(count)
        self._shared._sum.inc(self._total)  # noqa: SLF001  # the same
        self._since = [0] * len(self._since)
        self._total = 0.0


VOTES: Final = Outcomes(
    "ballot_intake_votes", "Answers to submitted votes by outcome: accepted, repeated, or the error's name."
)
ACCESS: Final = Outcomes(
    "ballot_intake_access", "Answers to access requests by outcome: ready, or the error's name."
)
COMPLAINTS: Final = Outcomes(
    "ballot_intake_complaints", "Answers to complaints by outcome: recorded, or the error's name."
)
PAGES: Final = Outcomes(
    "ballot_intake_pages",
    "Answers to requests for pages by outcome: served, file_not_found (a script or style sheet that no "
    "version of the page kept here has), or the error's name.",
)
ENTRANCE: Final = Outcomes(
    "ballot_intake_entrance",
    "Connections by how they got through the proxy's header and the TLS handshake: entered, no_header, "
    "handshake (no TLS, or given up), late, displaced (too many at once), or failed (left early).",
)
CERTIFICATE_ENDS: Final = Gauge(
    "ballot_intake_certificate_ends_seconds",
    "When the served TLS certificate ends, in seconds since 1970; the earliest of all processes.",
    multiprocess_mode="livemin",
)
ACK_SECONDS: Final = Spread(
    "ballot_intake_ack_seconds",
    "From the whole request being read to the receipt being ready to send, for accepted and repeated votes.",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
BATCH_VOTES: Final = Spread(
    "ballot_intake_batch_votes",
    "Votes and access requests that shared one round trip and one fsync; it grows when the queue is slow.",
    (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
)
INFLIGHT: Final = Gauge(
    "ballot_intake_inflight",
    "Votes and access requests that wait for the queue's answer.",
    multiprocess_mode="livesum",
)
READY: Final = Gauge(
    "ballot_intake_ready",
    "Edge processes that would take a vote now: their queue is durable and a worker vouched for it.",
    multiprocess_mode="livesum",
)
QUEUE_FAILURES: Final = Counter(
    "ballot_intake_queue_failures",
    "Connections to the queue that were dropped or refused, by reason. Each loses no vote: voters try again.",
    ["reason"],
)


def flush() -> None:
    """Add everything counted here to the numbers that are shown, as far as they can be written."""
    global _writing  # noqa: PLW0603  # as the numbers, it is the process's
    failed = ""
    for counted in (VOTES, ACCESS, COMPLAINTS, PAGES, ENTRANCE, ACK_SECONDS, BATCH_VOTES):
        try:
            counted.flush()
        except Exception as error:  # noqa: BLE001  # a full disk or a bug there must not end the counting
            failed = type(error).__name__
    if failed and _writing:
        log.warning("metrics not written", error=failed)
    elif not failed and not _writing:
        log.info("metrics written again")
    _writing = not failed


async def flush_forever(clock: Clock) -> None:
    """Flush once a second, and at the end; after a failure the next second tries anew."""
    try:
        while True:
            await clock.sleep(FLUSH_S)
            flush()
    finally:
        flush()
