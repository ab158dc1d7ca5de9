"""What a worker shows on its metrics port; no label names a ballot, a voter or a vote."""

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

REASONS: Final = ("unreadable", "bad_signature", "not_in_register", "conflict")

LAG_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""From an idle stack's few milliseconds to a quarter of an hour's outage of the database."""

BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class WorkerMetrics:
    """The numbers of one worker process, in `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.depth = Gauge(
            "ballot_queue_depth", "Entries not yet acknowledged by a worker", ["shard"], registry=registry
        )
        self.oldest = Gauge(
            "ballot_queue_oldest_seconds", "Age of the oldest entry not yet acknowledged", registry=registry
        )
        self.stored = Counter("ballot_stored_votes", "Votes stored in the voter database", registry=registry)
        self.lag = Histogram(
            "ballot_store_lag_seconds",
            "From a vote's acceptance at the gate to its commit in the voter database",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.quarantined = Counter(
            "ballot_quarantined", "Entries set aside instead of stored", ["reason"], registry=registry
        )
        self.redelivered = Counter(
            "ballot_redelivered", "Entries delivered again after they were handled", registry=registry
        )
        self.batch = Histogram(
            "ballot_store_batch_entries",
            "Entries stored in one transaction",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.store_seconds = Histogram(
            "ballot_store_batch_seconds",
            "Checking and storing one batch, commit included",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.attempts = Counter("ballot_attempts_stored", "Attempts stored", registry=registry)
        self.retries = Counter(
            "ballot_worker_retries", "Times a task backed off and tried again", ["task"], registry=registry
        )
        for reason in REASONS:
            self.quarantined.labels(reason=reason)  # a rate needs a zero to rise from
        self.trusted = Gauge(
            "ballot_queue_trusted",
            "1 if the present run of every primary of the queue has been compared with the voter database",
            registry=registry,
        )
        self.fused = Gauge(
            "ballot_store_fused", "1 while the fuse keeps this worker from storing", registry=registry
        )
        self.held = Gauge(
            "ballot_entries_held",
            "Entries left in the queue because they are encrypted with another key",
            registry=registry,
        )
        self.vanished = Counter(
            "ballot_entries_vanished",
            "Entries that the queue lost before they were stored",
            registry=registry,
        )
        self.turnout_stuck = Counter(
            "ballot_turnout_stuck", "Shards found uncounted while another held the place", registry=registry
        )
        self.turnout_reader = Gauge(
            "ballot_turnout_reader", "1 in the worker that counts the turnout", registry=registry
        )
