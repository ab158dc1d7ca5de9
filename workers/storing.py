"""From checked entries to committed and acknowledged ones, a batch at a time, in the order given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ballot import gate_layout, handoff
from runtime import logs
from runtime.clock import Clock
from workers.checking import Checked
from workers.entry import Entry
from workers.fuse import Fuse, FuseBlownError
from workers.guard import Guard
from workers.metrics import WorkerMetrics
from workers.published import PublishedBallot
from workers.queue import Queue
from workers.store import STORED, Outcome, Store

STATE_STORED: Final = "s"
STATE_HELD: Final = "h"

_log = logs.get("storing")


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one shard: all that were given out, and what became of those that are still there.

    `epoch` is what the queue said before they were read, `begun_s` when checking them began.
    """

    epoch: int
    ballot: PublishedBallot
    shard: int
    stream: str
    given: Sequence[str]
    checked: Sequence[Checked]
    begun_s: float


class Storing:
    """The half of a worker that waits: for the guard, the database and the queue."""

    def __init__(
        self, *, queue: Queue, store: Store, guard: Guard, metrics: WorkerMetrics, clock: Clock
    ) -> None:
        self._queue = queue
        self._store = store
        self._guard = guard
        self._metrics = metrics
        self._clock = clock

    async def store(self, batch: Batch) -> int:
        """(1) Leave out what waits for another key, (2) store and (3) acknowledge; how many were left."""
        left = self._guard.to_leave(batch.checked)  # (1)
        checked = [each for each in batch.checked if each.entry.id not in left] if left else batch.checked
        outcomes = await self._commit(batch, checked) if checked else []  # (2)
        self._metrics.store_seconds.observe(max(0.0, self._clock.monotonic() - batch.begun_s))
        entries = {each.entry.id: each.entry for each in checked}
        # At once: given again, these entries are no longer fresh, and nothing would be said of them.
        self._count(entries, outcomes)
        self._alarm(batch.ballot.id, batch.shard, outcomes)
        states = await self._states(batch.ballot.id, entries, outcomes)
        done = [entry_id for entry_id in batch.given if entry_id not in left]
        if done:
            # (3) Committed: from here the queue may forget these entries.
            await self._queue.acknowledge(
                batch.stream,
                done,
                references_key=handoff.references_key(batch.ballot.id, batch.shard),
                states={gate_layout.reference_field(each): state for each, state in states.items()},
            )
        return len(left)

    async def _commit(self, batch: Batch, checked: Sequence[Checked]) -> list[Outcome]:
        """Store all unless the fuse forbids."""
        fuse = Fuse()

        def judge(outcomes: list[Outcome]) -> None:
            nonlocal fuse
            fuse = self._guard.judged(outcomes)

        rows = [each.row for each in checked]
        try:
            outcomes = await self._store.store_batch(
                batch.ballot.id, batch.shard, rows, epoch=batch.epoch, judge=judge
            )
        except FuseBlownError as error:
            await self._guard.trip(str(error))
            raise
        self._guard.committed(fuse, checked)
        self._metrics.batch.observe(len(rows))
        return outcomes

    async def _states(
        self, ballot: str, entries: Mapping[str, Entry], outcomes: Sequence[Outcome]
    ) -> dict[str, str]:
        """What the receipts say from now on; a held entry that copies a stored reference says nothing."""
        states = {
            reference: STATE_HELD
            for outcome in outcomes
            if outcome.held and (reference := entries[outcome.entry].reference) is not None
        }
        if states:
            stored = await self._store.stored_references(ballot, states)
            states = {reference: held for reference, held in states.items() if reference not in stored}
        return states | {
            reference: STATE_STORED
            for outcome in outcomes
            if not outcome.held and (reference := entries[outcome.entry].reference) is not None
        }

    def _count(self, entries: Mapping[str, Entry], outcomes: Sequence[Outcome]) -> None:
        now_us = self._clock.now_us()
        stored = redelivered = 0
        for outcome in outcomes:
            entry = entries[outcome.entry]
            if not outcome.fresh:
                redelivered += 1
            elif outcome.status != STORED:
                self._metrics.quarantined.labels(reason=outcome.status).inc()
            elif entry.kind == "vote":
                stored += 1
                self._metrics.lag.observe(max(0, now_us - (entry.at_us or now_us)) / 1_000_000)
        self._metrics.stored.inc(stored)
        self._metrics.redelivered.inc(redelivered)

    def _alarm(self, ballot: str, shard: int, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.fresh and outcome.held:
                _log.alarm(
                    "quarantined", ballot=ballot, shard=shard, entry=outcome.entry, reason=outcome.status
                )
            if outcome.equal_sealed:
                _log.alarm("equal_sealed", ballot=ballot, shard=shard, entry=outcome.entry)
