"""Attempts that were not accepted votes: from their stream to the voter database, IP sealed anew."""

import secrets
from collections.abc import Sequence
from typing import Final

from ballot import handoff, queue_record
from ballot.rejection import Rejected
from runtime import logs
from runtime.clock import Clock
from workers.entry import DIGEST_BYTES, Fields, microseconds
from workers.metrics import WorkerMetrics
from workers.opening import Keys, attempt_place, seal_ip
from workers.published import Catalogue, PublishedBallot
from workers.queue import BEGINNING, Delivery, Given, Queue
from workers.store import Attempt, Store

ENTRIES_MAX: Final = 1000
CLAIM_IDLE_MS: Final = 5_000
TEXT_BYTES_MAX: Final = 40
UNREADABLE_IP: Final = "unreadable"

_log = logs.get("attempts")


class AttemptsReader:
    """Stores attempts, after the votes: a lost one would be a line less in the log, never a vote."""

    def __init__(
        self,
        *,
        queue: Queue,
        store: Store,
        keys: Keys,
        catalogue: Catalogue,
        metrics: WorkerMetrics,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._store = store
        self._keys = keys
        self._catalogue = catalogue
        self._metrics = metrics
        self._clock = clock
        self._claimed_s = -CLAIM_IDLE_MS / 1000
        self._unsure = False

    async def run_once(self, consumer: str, *, leave_foreign: bool = False) -> int:
        """Store one round of attempts, if there are any, and tell how many; never waits for more.

        With `leave_foreign` those whose address is under another queue key stay where they are.
        """
        streams = {
            stream: (ballot, shard)
            for ballot in self._catalogue.ballots.values()
            for stream, shard in ballot.attempts.items()
        }
        await self._queue.join([*streams])
        if not streams:
            return 0
        handled = 0
        # If anything goes wrong from here on, entries may have been given to us: the next round asks first.
        unsure, self._unsure = self._unsure, True
        epoch = await self._queue.epoch()  # before the entries
        given = await self._next([*streams], consumer, unsure=unsure)
        for stream, deliveries in given.items():
            ballot, shard = streams[stream]
            ours = [each for each in deliveries if not (leave_foreign and self._is_foreign(each))]
            if ours:
                handled += await self._handle(epoch, ballot, shard, stream, ours)
        self._unsure = bool(given.unheard)
        return handled

    async def _next(self, streams: Sequence[str], consumer: str, *, unsure: bool) -> Given:
        after = dict.fromkeys(streams, BEGINNING)
        if unsure and (own := await self._queue.read_own(after, consumer, count=ENTRIES_MAX)):
            return own
        now_s = self._clock.monotonic()
        if now_s - self._claimed_s >= CLAIM_IDLE_MS / 1000 / 3:
            self._claimed_s = now_s
            stale = await self._queue.claim_stale(streams, consumer, idle_ms=CLAIM_IDLE_MS, count=ENTRIES_MAX)
            if stale:
                return stale
        return await self._queue.read_new(streams, consumer, count=ENTRIES_MAX, block_ms=None)

    async def _handle(
        self, epoch: int, ballot: PublishedBallot, shard: int, stream: str, deliveries: Sequence[Delivery]
    ) -> int:
        attempts = [
            attempt
            for entry_id, fields in deliveries
            if fields is not None
            and (attempt := self._attempt(ballot.id, shard, entry_id, fields)) is not None
        ]
        odd = len([1 for _, fields in deliveries if fields is not None]) - len(attempts)
        if odd:
            _log.alarm("attempt_unreadable", ballot=ballot.id, shard=shard, attempts=odd)
            await self._store.event(ballot.id, "attempt_unreadable", shard=shard, attempts=odd)
        if attempts:
            new = await self._store.store_attempts(ballot.id, shard, attempts, epoch=epoch)
            self._metrics.attempts.inc(new)
        await self._queue.remove(stream, [entry_id for entry_id, _ in deliveries])
        return len(deliveries)

    def _is_foreign(self, delivery: Delivery) -> bool:
        _, fields = delivery
        return fields is not None and self._keys.queue.is_foreign(fields.get(handoff.IP_FIELD, b""))

    def _attempt(self, ballot: str, shard: int, entry_id: str, fields: Fields) -> Attempt | None:
        """The attempt in `fields`; None if it is not one."""
        kind = fields.get(handoff.KIND_FIELD, b"")
        outcome = fields.get(handoff.OUTCOME_FIELD, b"")
        digest = fields.get(handoff.DIGEST_FIELD, b"")
        at_us = microseconds(fields.get(handoff.AT_FIELD))
        count = microseconds(fields.get(handoff.COUNT_FIELD, b"1"))
        first_us = microseconds(fields.get(handoff.FIRST_FIELD))
        if kind not in {handoff.ATTEMPT_VOTE, handoff.ATTEMPT_ACCESS} or len(digest) != DIGEST_BYTES:
            return None
        if (
            at_us is None
            or not count
            or not outcome.isascii()
            or not 0 < len(outcome) <= TEXT_BYTES_MAX
            or b"\x00" in outcome
        ):
            return None
        try:
            ip = queue_record.unwrap_ip(
                self._keys.queue,
                fields.get(handoff.IP_FIELD, b""),
                ballot_id=ballot,
                credential_digest=digest,
            )
        except Rejected:
            ip = UNREADABLE_IP  # the attempt itself is still worth its line
        place = attempt_place(shard, entry_id)
        sealed_ip = seal_ip(self._keys.ip, ip, ballot=ballot, place=place, random=secrets.token_bytes)
        return Attempt(entry_id, kind.decode(), outcome.decode(), digest, sealed_ip, at_us, count, first_us)
