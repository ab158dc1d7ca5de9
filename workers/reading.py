"""What a worker handles next: what a failure left with it, then what others left lying, then what is new.

A stream gives us new entries only once nothing of it is left with us, so its batches are stored in the order
this worker was given them. While one primary of a Cluster fails, what the others hold goes on.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from runtime import logs
from runtime.clock import Clock
from runtime.lifecycle import Retry
from workers.guard import Guard
from workers.queue import BEGINNING, Given, Queue

BATCH_ENTRIES_MAX: Final = 512
ROUND_ENTRIES_MAX: Final = 4096
"""What one read takes from all streams together: half a second's work, and some 10 MB at the usual size."""
SHARD_ENTRIES_MIN: Final = 16
BLOCK_MS: Final = 200
HELD_CLAIM_FACTOR: Final = 3
CLAIM_S: Final = 1.0
NAME_KEPT_S: Final = 60.0
"""A process that slept longer takes a new consumer name: its old one may be about to be forgotten as dead."""

_log = logs.get("consumer")


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`claim_idle_s`: how long another worker may sit on an entry before it is taken over."""

    claim_idle_s: float = 5.0
    batch_entries: int = BATCH_ENTRIES_MAX
    block_ms: int = BLOCK_MS


class Reading:
    """One worker's place among the readers of votes. A round is `first`, then `further`, then `end`.

    `count` is how many entries one read takes of a stream at most.
    """

    def __init__(
        self, *, prefix: str, queue: Queue, guard: Guard, clock: Clock, settings: ConsumerSettings
    ) -> None:
        self._prefix = prefix
        self._queue = queue
        self._guard = guard
        self._clock = clock
        self._settings = settings
        self._left: dict[str, str] = {}
        """The streams of which something may be left with us, and up to where it has been read again."""
        self._own: dict[str, str] = {}
        self._unheard: set[str] = set()
        self._busy: int | None = None
        self._claimed_s = -CLAIM_S
        self._read_s = clock.monotonic()
        self.count = SHARD_ENTRIES_MIN
        self.name = self._new_name()

    async def first(self, streams: Collection[str]) -> Given:
        """Begin a round. If it does not come to its `end`, the next begins with all that was given in it."""
        self._own, self._left = self._left, dict.fromkeys(streams, BEGINNING)
        self._unheard = set()
        # As many of each stream as a round bears; the streams that had something last time share it.
        share = ROUND_ENTRIES_MAX // (len(streams) if self._own or self._busy is None else max(1, self._busy))
        self.count = max(SHARD_ENTRIES_MIN, min(self._settings.batch_entries, share))
        now_s = self._clock.monotonic()
        if now_s - self._read_s > NAME_KEPT_S:
            self.name = self._new_name()
        self._read_s = now_s
        if own := await self._again(streams):
            return own
        if now_s - self._claimed_s >= min(CLAIM_S, self._settings.claim_idle_s):
            if stale := await self._stale(streams):
                return stale
            self._claimed_s = now_s
        new = await self._new(streams, block_ms=self._settings.block_ms)
        self._busy = len(new)
        return new

    async def further(self, streams: Collection[str]) -> Given:
        """More of the same round, without waiting for it."""
        return await self._again(streams) or await self._new(streams, block_ms=None)

    def end(self) -> None:
        """All that was given in this round was handled, or is left on purpose and comes again by itself."""
        self._left = self._own

    async def _again(self, streams: Collection[str]) -> Given:
        """The next of what was left with us."""
        asked = {stream: at for stream, at in self._own.items() if stream not in self._unheard}
        if not asked:
            return Given()
        try:
            own = await self._queue.read_own(asked, self.name, count=self.count)
        except Retry:
            if len(asked) == len(streams):
                raise
            self._unheard.update(asked)  # a primary that fails still; there are others
            return Given()
        self._unheard |= own.unheard
        for stream in asked.keys() - own.unheard:
            entries = own.get(stream, [])
            if len(entries) < self.count:
                del self._own[stream]
            else:
                self._own[stream] = entries[-1][0]
        return own

    async def _stale(self, streams: Collection[str]) -> Given:
        # What we hold we leave to a worker with the right key: it claims sooner than we do.
        factor = HELD_CLAIM_FACTOR if self._guard.held else 1
        idle_ms = round(factor * self._settings.claim_idle_s * 1000)
        asked = self._settled(streams)
        if not asked:
            return Given()
        stale = await self._queue.claim_stale(asked, self.name, idle_ms=idle_ms, count=self.count)
        self._doubt(stale)
        if stale:
            _log.warning("entries_claimed", entries=sum(map(len, stale.values())))
        return stale

    async def _new(self, streams: Collection[str], *, block_ms: int | None) -> Given:
        asked = self._settled(streams)
        new = await self._queue.read_new(asked, self.name, count=self.count, block_ms=block_ms)
        self._doubt(new)
        return new

    def _settled(self, streams: Collection[str]) -> list[str]:
        """The streams of which nothing is left with us."""
        return [stream for stream in streams if stream not in self._own]

    def _doubt(self, given: Given) -> None:
        """The primary of some failed: what it may have given us is read again, in the next round."""
        self._unheard |= given.unheard
        self._own |= dict.fromkeys(given.unheard, BEGINNING)

    def _new_name(self) -> str:
        return f"{self._prefix}-{secrets.token_hex(4)}"
