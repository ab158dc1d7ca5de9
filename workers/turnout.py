"""The streaming turnout: votes and returns as the gate accepted them, by method and minute. Never choices.

A second reader of the votes streams, outside the group: it keeps its own mark, in the same transaction as the
counts, so a vote is counted exactly once however often the reader dies.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ballot import handoff
from runtime import logs
from runtime.clock import Clock
from workers.entry import Fields, Kind, microseconds, order, parse
from workers.metrics import WorkerMetrics
from workers.published import Catalogue
from workers.queue import Queue
from workers.store import Mark, Store

ENTRIES_MAX: Final = 1000
"""A read of about ten milliseconds' work: storing has its turn in between."""
MINUTE_US: Final = 60_000_000
BEGINNING: Final = "0-0"
STUCK_S: Final = 60.0
LOOK_S: Final = 5.0
"""So often the reader asks for its place and marks again, also while there is nothing to count: a database
restored from an older copy has older marks, and what they lack may be the last that ever comes."""

METHODS: Final[dict[Kind, str]] = {"vote": "electronic", "postal": "postal", "workplace": "workplace"}

_log = logs.get("turnout")


def counts(entries: Iterable[tuple[str, Fields]]) -> dict[tuple[int, str], int]:
    """Accepted votes and counted returns by (minute in microseconds, method)."""
    found: Counter[tuple[int, str]] = Counter()
    kind: Kind
    for entry_id, fields in entries:
        if fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE:
            # A vote is accepted when the gate says so, even if a worker then finds that it cannot be read.
            at_us, kind = microseconds(fields.get(handoff.ACCEPTED_FIELD)), "vote"
        else:
            entry = parse(entry_id, fields)
            at_us, kind = entry.at_us if entry.whole and entry.counted else None, entry.kind
        if at_us is not None:
            found[at_us - at_us % MINUTE_US, METHODS[kind]] += 1
    return dict(found)


class TurnoutReader:
    """Counts while it holds the one place; `store` must be its own, for the place is the connection's."""

    def __init__(
        self, *, queue: Queue, store: Store, catalogue: Catalogue, metrics: WorkerMetrics, clock: Clock
    ) -> None:
        self._queue = queue
        self._store = store
        self._catalogue = catalogue
        self._metrics = metrics
        self._clock = clock
        self._marks: dict[tuple[str, int], str] | None = None
        self._looked_s = clock.monotonic()
        self._refused_s: float | None = None
        self._refused_at: dict[tuple[str, int], str] = {}

    async def run_once(self) -> int:
        """Count one round of entries and tell how many; 0 as long as another worker has the place."""
        known = self._marks
        if known is None or self._clock.monotonic() - self._looked_s >= LOOK_S:
            self._marks = None
            if not await self._take_place(known):
                return 0
        counted = 0
        try:
            epoch = await self._queue.epoch()  # before the entries
            for ballot in self._catalogue.ballots.values():
                for stream, shard in ballot.votes.items():
                    counted += await self._count(epoch, ballot.id, shard, stream)
        except BaseException:
            # The place may have gone with the connection: ask for it, and for the marks, again.
            self._marks = None
            self._metrics.turnout_reader.set(0)
            raise
        return counted

    async def _take_place(self, known: dict[tuple[str, int], str] | None) -> bool:
        """Have the place, or still have it, and the marks; `known` are those we had."""
        if not await self._store.take_turnout_place():
            self._metrics.turnout_reader.set(0)
            await self._watch_the_other()
            return False
        self._refused_s = None
        self._marks = await self._turnout_marks()
        self._looked_s = self._clock.monotonic()
        self._metrics.turnout_reader.set(1)
        if known is None:
            _log.info("turnout_place_taken")
        elif any(order(self._marks.get(place, BEGINNING)) < order(mark) for place, mark in known.items()):
            _log.warning("turnout_rewound")
        return True

    async def _watch_the_other(self) -> None:
        """An alarm if somebody has the place, has entries to count and has counted none for a minute."""
        now_s = self._clock.monotonic()
        if self._refused_s is not None and now_s - self._refused_s < STUCK_S:
            return
        marks = await self._turnout_marks()
        if self._refused_s is not None:
            for ballot in self._catalogue.ballots.values():
                for stream, shard in ballot.votes.items():
                    mark = marks.get((ballot.id, shard), BEGINNING)
                    last, _ = await self._queue.extent(stream)
                    if mark == self._refused_at.get((ballot.id, shard), BEGINNING) and order(last) > order(
                        mark
                    ):
                        self._metrics.turnout_stuck.inc()
                        _log.alarm("turnout_stuck", ballot=ballot.id, shard=shard, mark=mark, last=last)
        self._refused_s, self._refused_at = now_s, marks

    async def _turnout_marks(self) -> dict[tuple[str, int], str]:
        return {(m.ballot, m.shard): m.entry for m in await self._store.marks() if m.side == "turnout"}

    async def _count(self, epoch: int, ballot: str, shard: int, stream: str) -> int:
        if self._marks is None:
            return 0
        begin = self._marks.get((ballot, shard), BEGINNING)
        entries = await self._queue.read_after(stream, begin, count=ENTRIES_MAX)
        if not entries:
            return 0
        end = entries[-1][0]
        added = await self._store.turnout_add(
            ballot,
            shard,
            epoch=epoch,
            begin=begin,
            end=end,
            entries=len(entries),
            counts=counts(entries),
        )
        if not added:
            _log.warning("turnout_mark_moved", ballot=ballot, shard=shard)
            self._marks = None
            return 0
        self._marks[ballot, shard] = end
        return len(entries)


def caught_up(marks: Iterable[Mark], last_ids: dict[tuple[str, int], str]) -> bool:
    """Whether every shard's turnout has come to the end of its stream."""
    counted = {(m.ballot, m.shard): m.entry for m in marks if m.side == "turnout"}
    return all(order(counted.get(place, BEGINNING)) >= order(last) for place, last in last_ids.items())
