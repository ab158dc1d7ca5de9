"""A voter database restored from an older copy: what it has forgotten is read again from the queue.

What the group has acknowledged was committed first. So a shard whose group has acknowledged more than the
database has ever seen is a shard whose database went back in time; its whole stream is then given out again.
Storing is idempotent: what is there already is told apart and changes nothing.
"""

from typing import Final

from runtime import logs
from runtime.clock import Clock
from workers.entry import order
from workers.published import Catalogue
from workers.queue import Queue, StreamState
from workers.store import Mark, Store

LOOK_S: Final = 5.0
BEGINNING: Final = "0-0"

_log = logs.get("restored")


class Restored:
    """Compares each shard's group with the voter database, for as long as a worker runs."""

    def __init__(self, *, queue: Queue, store: Store, catalogue: Catalogue, clock: Clock) -> None:
        self._queue = queue
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._looked_s = clock.monotonic() - LOOK_S
        self._borne: dict[str, int] = {}

    async def check(self) -> list[str]:
        """Look again if it is time to; the streams that are given out again from their beginning."""
        if self._clock.monotonic() - self._looked_s < LOOK_S:
            return []
        streams = [(b.id, s, name) for b in self._catalogue.ballots.values() for name, s in b.votes.items()]
        # The queue first: what it says was acknowledged is then committed before the marks are read.
        states = {stream: await self._queue.state(stream) for _, _, stream in streams}
        stored = {(m.ballot, m.shard): m for m in await self._store.marks() if m.side == "stored"}
        rewound = []
        for ballot, shard, stream in streams:
            mark = stored.get((ballot, shard), Mark(ballot, shard, "stored", BEGINNING, 0, 0))
            if why := await self._behind(stream, states[stream], mark):
                _log.alarm("storing_rewound", ballot=ballot, shard=shard, why=why)
                await self._store.event(ballot, "storing_rewound", shard=shard, why=why)
                await self._queue.rewind(stream)
                self._borne[stream] = _missing(states[stream], mark)
                rewound.append(stream)
        self._looked_s = self._clock.monotonic()
        return rewound

    async def _behind(self, stream: str, state: StreamState, mark: Mark) -> str | None:
        """What the database has forgotten of a stream, in plain words; None if nothing.

        Entries that vanished from the queue were acknowledged and never stored. Reading again does not bring
        them back, so a difference that stayed after a rewind is borne from then on.
        """
        missing, borne = _missing(state, mark), self._borne.get(stream, 0)
        if missing > borne and missing <= await self._queue.copies(stream, end=_before_pending(state)):
            # The queue holds a vote twice: stored once, acknowledged twice, and nothing forgotten.
            _log.alarm("entries_copied", stream=stream, entries=missing)
            self._borne[stream] = missing
        elif missing > borne:
            return f"{state.acknowledged} entries were acknowledged, {mark.entries} are in the database"
        if state.waiting == 0 and missing < borne:
            self._borne[stream] = missing
        if state.pending == 0 and order(state.delivered_id) > order(mark.entry):
            last = await self._queue.last_before(stream, state.delivered_id)
            if last is not None and order(last) > order(mark.entry):
                return f"entry {last} was acknowledged, the database had come to {mark.entry}"
        return None


def _before_pending(state: StreamState) -> str:
    """Up to where everything given out was acknowledged."""
    return f"({state.oldest_id}" if state.pending else state.delivered_id


def _missing(state: StreamState, mark: Mark) -> int:
    """How many entries were acknowledged and are not in the database, as far as the queue has kept count."""
    return max(0, (state.acknowledged or 0) - mark.entries)
