"""From the queue to the voter database: claim, open, verify, store, commit, and only then acknowledge.

While the database stores one batch the next is read and checked; a shard's batches are stored in the order
this worker was given them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from runtime import logs
from runtime.clock import Clock
from runtime.lifecycle import Retry
from workers.checking import Checked, Checks
from workers.entry import order
from workers.fuse import WINDOW_ENTRIES, FuseBlownError
from workers.guard import Guard
from workers.metrics import WorkerMetrics
from workers.published import Catalogue, PublishedBallot
from workers.queue import Delivery, Given, Queue
from workers.reading import HELD_CLAIM_FACTOR, ConsumerSettings, Reading
from workers.store import Outcome, Store
from workers.storing import Batch, Storing

ROUND_S: Final = 1.0
"""A round goes on reading for so long while there is a backlog; then other duties have their turn."""
REFRESH_S: Final = 1.0
STOPPED_LOOK_S: Final = 1.0
__all__ = ["Consumer", "ConsumerSettings"]

_log = logs.get("consumer")


class Consumer:
    """Stores the votes of every published ballot; recovery is the first step of every `run_once`."""

    def __init__(
        self,
        *,
        name: str,
        queue: Queue,
        store: Store,
        checks: Checks,
        guard: Guard,
        catalogue: Catalogue,
        metrics: WorkerMetrics,
        clock: Clock,
        settings: ConsumerSettings | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._storing = Storing(queue=queue, store=store, guard=guard, metrics=metrics, clock=clock)
        self._checks = checks
        self._guard = guard
        self._catalogue = catalogue
        self._metrics = metrics
        self._clock = clock
        self._settings = settings or ConsumerSettings()
        self._reading = Reading(prefix=name, queue=queue, guard=guard, clock=clock, settings=self._settings)
        self._unpinned_said = self._remembered = False
        self._epoch = -1
        self._refreshed_s = -REFRESH_S

    @property
    def name(self) -> str:
        """What the groups call this worker now."""
        return self._reading.name

    async def run_once(self) -> int:
        """Handle one round of entries and tell how many; 0 after a short wait when there is nothing.

        Retry leaves everything unacknowledged; the next round begins with what this one left.
        """
        await self._refresh()
        streams = self._streams()
        if not streams:
            if self._catalogue.unpinned:
                raise Retry("the desk's public key is not pinned here yet: no ballot can be believed")
            return 0
        if not self._remembered:
            await self._remember(streams)
            self._remembered = True
        self._epoch = await self._queue.epoch()  # before anything that is stored with it is read
        if not await self._guard.may_store(self._judge_waiting):
            await self._clock.sleep(STOPPED_LOOK_S)
            return 0
        deliveries = await self._reading.first(streams)
        round_ = _Round(self._storing)
        try:
            await self._handle(round_, streams, deliveries)
        except FuseBlownError:
            return round_.handled
        finally:
            await round_.end()
        handled, held = round_.handled, round_.left
        if held:
            self._guard.hold(held)
        elif self._guard.held:
            self._guard.let_go(after_s=HELD_CLAIM_FACTOR * self._settings.claim_idle_s)
        self._reading.end()
        return handled

    async def _refresh(self) -> None:
        """Look for newly published ballots, and join the groups of their streams."""
        now_s = self._clock.monotonic()
        if now_s - self._refreshed_s >= REFRESH_S:
            came, refused = self._catalogue.refresh(
                await self._queue.published(but=self._catalogue.ballots.keys())
            )
            for ballot, why in refused.items():
                _log.alarm("document_refused", ballot=ballot, why=why)
                await self._store.event(ballot, "document_refused", why=why)
            if self._catalogue.unpinned and not self._unpinned_said:
                _log.alarm("desk_key_not_pinned")
            self._unpinned_said = self._catalogue.unpinned
            if came:
                _log.info("ballots_found", ballots=came)
                await self._store.forget_plans()
            self._refreshed_s = now_s
        await self._queue.join([*self._streams()])

    def _streams(self) -> dict[str, tuple[PublishedBallot, int]]:
        return {
            stream: (ballot, shard)
            for ballot in self._catalogue.ballots.values()
            for stream, shard in ballot.votes.items()
        }

    async def _handle(
        self,
        round_: "_Round",
        streams: dict[str, tuple[PublishedBallot, int]],
        deliveries: Given,
    ) -> None:
        """Handle what was given out, and go on while there is a backlog and this round lasts."""
        until_s = self._clock.monotonic() + ROUND_S
        while deliveries:
            full = False
            for stream, entries in deliveries.items():
                await round_.store(await self._checked(*streams[stream], stream, entries))
                full = full or len(entries) >= self._reading.count
            if not full or self._clock.monotonic() >= until_s:
                break
            deliveries = await self._reading.further(streams)
        await round_.stored()

    async def _checked(
        self, ballot: PublishedBallot, shard: int, stream: str, deliveries: Sequence[Delivery]
    ) -> Batch:
        """Check one shard's entries."""
        begun_s = self._clock.monotonic()
        there = {entry_id: fields for entry_id, fields in deliveries if fields is not None}
        if len(there) < len(deliveries):
            # Only a trimmer that ran ahead of us could do this; the books say what is missing.
            gone = len(deliveries) - len(there)
            self._metrics.vanished.inc(gone)
            _log.alarm("entries_vanished", ballot=ballot.id, shard=shard, entries=gone)
        checked = await self._checks.check(ballot, there) if there else []
        given = [entry_id for entry_id, _ in deliveries]
        return Batch(self._epoch, ballot, shard, stream, given, checked, begun_s)

    async def _remember(self, streams: Mapping[str, tuple[PublishedBallot, int]]) -> None:
        """Tell the guard what the last entries given out before our start say of our key."""
        seen: list[tuple[tuple[int, int], bool]] = []
        for stream, (ballot, _) in streams.items():
            for entry_id, fields in await self._queue.peek_before(stream, count=WINDOW_ENTRIES):
                opens = self._checks.opens(ballot, entry_id, fields)
                if opens is not None:
                    seen.append((order(entry_id), opens))
        self._guard.remember(opens for _, opens in sorted(seen))

    async def _judge_waiting(self) -> list[tuple[Checked, Outcome]]:
        """What would become of the first entries that wait in each stream; stores and takes nothing."""
        judged: list[tuple[Checked, Outcome]] = []
        for stream, (ballot, shard) in self._streams().items():
            waiting = dict(await self._queue.peek_waiting(stream, count=WINDOW_ENTRIES))
            if waiting:
                checked = await self._checks.check(ballot, waiting)
                rows = [each.row for each in checked]
                outcomes = await self._store.judge_batch(ballot.id, shard, rows, epoch=self._epoch)
                judged += zip(checked, outcomes, strict=True)
        return judged


class _Round:
    """One batch being stored while its caller checks the next."""

    def __init__(self, storing: Storing) -> None:
        self._storing = storing
        self._task: asyncio.Task[int] | None = None
        self._given = 0
        self.handled = self.left = 0

    async def store(self, batch: Batch) -> None:
        """Begin to store a batch, once the one before is stored."""
        await self.stored()
        self._given = len(batch.given)
        self._task = asyncio.create_task(self._storing.store(batch))

    async def stored(self) -> None:
        """Wait for the batch that is being stored; raises what kept it from being stored."""
        if self._task is not None:
            left = await self._task
            self._task = None
            self.handled, self.left = self.handled + self._given - left, self.left + left

    async def end(self) -> None:
        """Leave nothing running behind a failure; a commit is not broken off before its alarms."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # a failure before it is being raised, and its entries come again
