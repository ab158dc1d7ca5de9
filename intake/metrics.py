"""What the edge counts: outcomes, waiting, batches; never by voter, code, address, reference or ballot."""

from prometheus_client import Counter, Gauge, Histogram

VOTES = Counter(
    "ballot_intake_votes",
    "Answers to submitted votes by outcome: accepted, repeated, or the error's name.",
    ["outcome"],
)
ACCESS = Counter(
    "ballot_intake_access",
    "Answers to access requests by outcome: ready, or the error's name.",
    ["outcome"],
)
ACK_SECONDS = Histogram(
    "ballot_intake_ack_seconds",
    "From the whole request being read to the receipt being ready to send, for accepted and repeated votes.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
INFLIGHT = Gauge(
    "ballot_intake_inflight",
    "Votes and access requests that wait for the queue's answer.",
    multiprocess_mode="livesum",
)
BATCH_VOTES = Histogram(
    "ballot_intake_batch_votes",
    "Votes and access requests that shared one round trip and one fsync; it grows when the queue is slow.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
)
READY = Gauge(
    "ballot_intake_ready",
    "Edge processes that would take a vote now: their queue is durable and a worker vouched for it.",
    multiprocess_mode="livesum",
)
QUEUE_FAILURES = Counter(
    "ballot_intake_queue_failures",
    "Connections to the queue that were dropped or refused, by reason. Each loses no vote: voters try again.",
    ["reason"],
)
