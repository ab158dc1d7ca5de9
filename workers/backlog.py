"""What is still to be done, as numbers for the metrics and as one answer for whoever waits for the end."""

from dataclasses import dataclass

from workers.entry import order
from workers.metrics import WorkerMetrics
from workers.published import Catalogue
from workers.queue import Queue
from workers.store import Store
from workers.turnout import caught_up


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries waiting by shard, the oldest one's time, and where each votes stream ends."""

    votes: dict[int, int]
    oldest_ms: int | None
    last_ids: dict[tuple[str, int], str]

    def show(self, metrics: WorkerMetrics, *, now_us: int) -> None:
        """Set the gauges."""
        for shard, waiting in self.votes.items():
            metrics.depth.labels(shard=str(shard)).set(waiting)
        age_s = 0.0 if self.oldest_ms is None else max(0.0, now_us / 1e6 - self.oldest_ms / 1e3)
        metrics.oldest.set(age_s)


async def measure(queue: Queue, catalogue: Catalogue) -> Backlog:
    """Ask every stream how far its group has come."""
    votes: dict[int, int] = {}
    last_ids: dict[tuple[str, int], str] = {}
    oldest: list[int] = []
    for ballot in catalogue.ballots.values():
        for stream, shard in ballot.votes.items():
            state = await queue.state(stream)
            votes[shard] = votes.get(shard, 0) + state.waiting
            last_ids[ballot.id, shard] = state.last_id
            if state.oldest_id is not None:
                oldest.append(order(state.oldest_id)[0])
    return Backlog(votes, min(oldest, default=None), last_ids)


async def drained(backlog: Backlog, store: Store) -> bool:
    """Whether no vote waits and the turnout has come to the end of every stream.

    Attempts are left out: anybody can make them for ever, and none of them is a vote. The desk, which knows
    which of them came before closing, asks again until those are stored.
    """
    if any(backlog.votes.values()):
        return False
    return caught_up(await store.marks(), backlog.last_ids)
