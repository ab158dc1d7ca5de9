"""When ballots open and close, as shown to voters between two looks at the gate; the gate alone decides."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from ballot import handoff
from ballot.rejection import Rejected
from intake import replies
from intake.reads import Reads
from runtime import logs
from runtime.clock import Clock

log = logs.get("windows")

WINDOW_S: Final = 1.0
"""How old what is shown may be, and how long after a failed look the next one comes."""

AT_ONCE_S: Final = 3.0
"""Whoever asks for one that is no older is given it at once, while the next is read beside."""

READS_MAX: Final = 16
"""Ballots whose windows are read at the same time."""


@dataclass(frozen=True, slots=True)
class Window:
    """Opening and closing time as the gate has them, and the gate's clock when they were read."""

    opens_us: int
    closes_us: int
    state: str
    now_us: int
    read_s: float

    def state_at(self, monotonic_s: float) -> str:
        """`scheduled`, `open` or `closed` by the gate's clock carried on; a latched state stays."""
        now_us = self.now_us + round((monotonic_s - self.read_s) * 1_000_000)
        if self.state == "closed" or now_us >= self.closes_us:
            return "closed"
        return "open" if self.state == "open" or now_us >= self.opens_us else "scheduled"


class Windows:
    """The last window read of each ballot; while the queue does not answer, that one stands.

    Each ballot's next one is read once for all who wait for it, beside the other ballots'. A failure counts
    for every ballot: for a while nobody asks, and until a read succeeds nobody waits but for a first one.
    """

    def __init__(self, reads: Reads, *, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._windows: dict[str, Window] = {}
        self._tried_s: dict[str, float] = {}
        self._failed_s: float | None = None

    async def find(self, ballot: str) -> Window:
        """The window as the first shard has it; Rejected when never armed, or none is known yet."""
        known = self._windows.get(ballot)
        if self._due(ballot):
            reading = self._reading(ballot)
            now_s = self._clock.monotonic()
            armed = known is not None and known.state in handoff.STATES
            lately = armed and known is not None and now_s - known.read_s < AT_ONCE_S
            failing = armed and self._failed_s is not None
            if reading is not None and not (lately or failing):
                await asyncio.shield(reading)  # others wait for the same one
        window = self._windows.get(ballot)
        if window is None:
            raise replies.unreachable()
        if window.state not in handoff.STATES:
            raise replies.not_found()
        return window

    def _due(self, ballot: str) -> bool:
        now_s = self._clock.monotonic()
        if self._failed_s is not None and now_s - self._failed_s < WINDOW_S:
            return False
        return now_s - self._tried_s.get(ballot, float("-inf")) >= WINDOW_S

    def _reading(self, ballot: str) -> "asyncio.Task[None] | None":
        """The read of this ballot's window that is under way, from now on; None when too many are."""
        reading = self._under_way.get(ballot)
        if reading is None and len(self._under_way) < READS_MAX:
            reading = self._under_way[ballot] = asyncio.create_task(self._refresh(ballot))
            reading.add_done_callback(lambda done: self._done(ballot, done))
        return reading

    def _done(self, ballot: str, reading: "asyncio.Task[None]") -> None:
        del self._under_way[ballot]
        if not reading.cancelled() and reading.exception() is not None:
            log.alarm("window not read", ballot=ballot, error=type(reading.exception()).__name__)

    async def _refresh(self, ballot: str) -> None:
        keys = handoff.shard_keys(ballot, 0)
        try:
            with self._reads.answering():
                reply: Any = await self._reads.client.fcall_ro("ballot_state", len(keys), *keys)
        except Rejected:
            self._failed_s = self._clock.monotonic()
            return  # logged there; what was read last still stands
        finally:
            self._tried_s[ballot] = self._clock.monotonic()
        self._failed_s = None
        self._windows[ballot] = Window(
            opens_us=int(reply[0]),
            closes_us=int(reply[1]),
            state=reply[2].decode(),
            now_us=int(reply[3]),
            read_s=self._clock.monotonic(),
        )
