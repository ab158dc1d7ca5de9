"""From the queue to the voter database: claim, open, verify, store, commit, and only then acknowledge."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ballot import handoff
from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from runtime import logs
from runtime.clock import Clock
from workers.entry import Entry, parse, raw_record
from workers.fuse import Fuse
from workers.metrics import WorkerMetrics
from workers.opening import Keys, open_entry, seal_ip
from workers.published import Catalogue, PublishedBallot
from workers.queue import Delivery, Queue
from workers.store import Outcome, Row, Store
from workers.verification import Claim, Verifier

BATCH_ENTRIES_MAX: Final = 512
SHARD_ENTRIES_MIN: Final = 16
BLOCK_MS: Final = 200
REFRESH_S: Final = 1.0
NAME_KEPT_S: Final = 60.0
"""A process that slept longer takes a new consumer name: its old one may be about to be forgotten as dead."""

STATE_STORED: Final = "s"
STATE_HELD: Final = "h"

_log = logs.get("consumer")


@dataclass(frozen=True, slots=True)
class _Opened:
    """An entry with what was inside, or with the reason why not."""

    entry: Entry
    fields: bytes = field(repr=False)
    record: QueueRecord | None = field(default=None, repr=False)
    judged: Rejection | None = None


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`claim_idle_s`: how long another worker may sit on an entry before it is taken over."""

    claim_idle_s: float = 5.0
    batch_entries: int = BATCH_ENTRIES_MAX
    block_ms: int = BLOCK_MS


class Consumer:
    """Stores the votes of every published ballot; recovery is the first step of every `run_once`."""

    def __init__(
        self,
        *,
        name: str,
        queue: Queue,
        store: Store,
        verifier: Verifier,
        keys: Keys,
        catalogue: Catalogue,
        metrics: WorkerMetrics,
        clock: Clock,
        settings: ConsumerSettings | None = None,
    ) -> None:
        self._prefix = name
        self._queue = queue
        self._store = store
        self._verifier = verifier
        self._keys = keys
        self._catalogue = catalogue
        self._metrics = metrics
        self._clock = clock
        self._settings = settings or ConsumerSettings()
        self._fuse = Fuse()
        self._unsure = False
        self._refreshed_s = self._claimed_s = -REFRESH_S
        self._read_s = clock.monotonic()
        self.name = self._new_name()

    async def run_once(self) -> int:
        """Handle one round of entries and tell how many; 0 after a short wait when there is nothing.

        Retry leaves everything unacknowledged; the next round begins with what this one left.
        """
        await self._refresh()
        streams = self._streams()
        if not streams:
            return 0
        # If anything goes wrong from here on, entries may have been given to us: the next round asks first.
        unsure, self._unsure = self._unsure, True
        deliveries, again = await self._next(streams, unsure=unsure)
        handled = 0
        for stream, entries in deliveries.items():
            ballot, shard = streams[stream]
            handled += await self._handle(ballot, shard, stream, entries)
        self._unsure = again
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

    async def _next(
        self, streams: dict[str, tuple[PublishedBallot, int]], *, unsure: bool
    ) -> tuple[dict[str, list[Delivery]], bool]:
        """What a failure left with us, then what others left lying, then what is new.

        Also tells whether more may have been left with us.
        """
        names = list(streams)
        count = max(SHARD_ENTRIES_MIN, self._settings.batch_entries // len(names))
        now_s = self._clock.monotonic()
        if now_s - self._read_s > NAME_KEPT_S:
            self.name = self._new_name()
        self._read_s = now_s
        if unsure and (own := await self._queue.read_own(names, self.name, count=count)):
            return own, True
        if now_s - self._claimed_s >= min(REFRESH_S, self._settings.claim_idle_s):
            idle_ms = round(self._settings.claim_idle_s * 1000)
            stale = await self._queue.claim_stale(names, self.name, idle_ms=idle_ms, count=count)
            if stale:
                _log.warning("entries_claimed", entries=sum(map(len, stale.values())))
                return stale, False
            self._claimed_s = now_s
        new = await self._queue.read_new(names, self.name, count=count, block_ms=self._settings.block_ms)
        return new, False

    async def _handle(
        self, ballot: PublishedBallot, shard: int, stream: str, deliveries: Sequence[Delivery]
    ) -> int:
        """Store one shard's entries, then acknowledge them."""
        there = {entry_id: fields for entry_id, fields in deliveries if fields is not None}
        if len(there) < len(deliveries):
            # Only a trimmer that ran ahead of us could do this; the books say what is missing.
            _log.alarm(
                "entries_vanished", ballot=ballot.id, shard=shard, entries=len(deliveries) - len(there)
            )
        outcomes: list[Outcome] = []
        entries = {entry_id: parse(entry_id, fields) for entry_id, fields in there.items()}
        if entries:
            raw = {entry_id: raw_record(fields) for entry_id, fields in there.items()}
            with self._metrics.store_seconds.time():
                outcomes = await self._check_and_store(ballot, shard, entries, raw)
        states = {
            reference: STATE_HELD if outcome.held else STATE_STORED
            for outcome in outcomes
            if (reference := entries[outcome.entry].reference) is not None
        }
        self._count(entries, outcomes)
        self._alarm(ballot.id, shard, outcomes)
        # (4) Committed: from here the queue may forget these entries.
        await self._queue.acknowledge(
            stream,
            [entry_id for entry_id, _ in deliveries],
            references_key=handoff.references_key(ballot.id, shard),
            states=states,
        )
        return len(deliveries)

    async def _check_and_store(
        self, ballot: PublishedBallot, shard: int, entries: dict[str, Entry], raw: dict[str, bytes]
    ) -> list[Outcome]:
        """(1) Open each entry, (2) verify each signature, (3) store all unless the fuse forbids."""
        opened = [self._open(ballot, entry, raw[entry_id]) for entry_id, entry in entries.items()]  # (1)
        signed = await self._verify(ballot, opened)  # (2)
        rows = [self._row(ballot.id, each, signed=signed.get(each.entry.id, True)) for each in opened]
        fuse = self._fuse

        def judge(outcomes: list[Outcome]) -> None:
            nonlocal fuse
            fuse = self._fuse.after(outcome.status for outcome in outcomes if outcome.fresh)

        outcomes = await self._store.store_batch(ballot.id, shard, rows, judge=judge)  # (3)
        self._fuse = fuse
        self._metrics.batch.observe(len(rows))
        return outcomes

    def _open(self, ballot: PublishedBallot, entry: Entry, raw: bytes) -> _Opened:
        if entry.kind != "vote":
            return _Opened(entry, raw)
        try:
            return _Opened(entry, raw, record=open_entry(self._keys, entry, ballot=ballot.id))
        except Rejected as rejected:
            return _Opened(entry, raw, judged=rejected.rejection)

    async def _verify(self, ballot: PublishedBallot, opened: Sequence[_Opened]) -> dict[str, bool]:
        """Whether each opened vote is signed by its credential, by entry."""
        claims = {
            each.entry.id: Claim(
                ballot=ballot.id,
                definition_sha256=ballot.definition_sha256,
                credential=each.record.credential,
                nonce=each.record.nonce,
                sealed=each.record.sealed,
                signature=each.record.signature,
            )
            for each in opened
            if each.record is not None
        }
        return dict(zip(claims, await self._verifier.signed(list(claims.values())), strict=True))

    def _row(self, ballot: str, opened: _Opened, *, signed: bool) -> Row:
        entry, record = opened.entry, opened.record
        judged = opened.judged if signed else Rejection.BAD_SIGNATURE
        event = secrets.token_bytes(16) if record else None
        sealed_ip = None
        if record and event:
            sealed_ip = seal_ip(
                self._keys.ip, record.ip, ballot=ballot, place=event, random=secrets.token_bytes
            )
        return Row(
            entry=entry.id,
            kind=entry.kind,
            judged=judged.value if judged else None,
            counted=entry.counted,
            uin=entry.uin,
            reference=entry.reference,
            digest=entry.digest,
            at_us=entry.at_us,
            received_us=entry.received_us,
            channel=entry.channel,
            credential=record.credential if record else None,
            nonce=record.nonce if record else None,
            sealed=record.sealed if record else None,
            signature=record.signature if record else None,
            event=event,
            sealed_ip=sealed_ip,
            record=opened.fields,
        )

    def _count(self, entries: dict[str, Entry], outcomes: Sequence[Outcome]) -> None:
        now_us = self._clock.now_us()
        for outcome in outcomes:
            entry = entries[outcome.entry]
            if not outcome.fresh:
                self._metrics.redelivered.inc()
            elif outcome.held:
                self._metrics.quarantined.labels(reason=outcome.status).inc()
            elif entry.kind == "vote":
                self._metrics.stored.inc()
                self._metrics.lag.observe(max(0, now_us - (entry.at_us or now_us)) / 1_000_000)

    def _alarm(self, ballot: str, shard: int, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.held and outcome.fresh:
                _log.alarm(
                    "quarantined", ballot=ballot, shard=shard, entry=outcome.entry, reason=outcome.status
                )
            if outcome.equal_sealed:
                _log.alarm("equal_sealed", ballot=ballot, shard=shard, entry=outcome.entry)

    def _new_name(self) -> str:
        return f"{self._prefix}-{secrets.token_hex(4)}"
