"""When ballots open and close, as shown to voters between two looks at the gate; the gate alone decides."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from ballot import handoff
from ballot.rejection import Rejected
from intake import replies
from intake.reads import Reads
from runtime.clock import Clock

WINDOW_S: Final = 1.0
"""How old what is shown may be, and how long after a failed look the next one comes."""


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
    """The last window read of each ballot; while the queue does not answer, that one stands."""

    def __init__(self, reads: Reads, *, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._lock = asyncio.Lock()
        self._windows: dict[str, Window] = {}
        self._tried_s: dict[str, float] = {}

    async def find(self, ballot: str) -> Window:
        """The window as the first shard has it; Rejected when never armed, or none is known yet."""
        if self._due(ballot):
            async with self._lock:
                if self._due(ballot):
                    await self._refresh(ballot)
        window = self._windows.get(ballot)
        if window is None:
            raise replies.unreachable()
        if window.state not in handoff.STATES:
            raise replies.not_found()
        return window

    def _due(self, ballot: str) -> bool:
        return self._clock.monotonic() - self._tried_s.get(ballot, float("-inf")) >= WINDOW_S

    async def _refresh(self, ballot: str) -> None:
        keys = handoff.shard_keys(ballot, 0)
        try:
            with self._reads.answering():
                reply: Any = await self._reads.client.fcall_ro("ballot_state", len(keys), *keys)
        except Rejected:
            return  # logged there; what was read last still stands
        finally:
            self._tried_s[ballot] = self._clock.monotonic()
        self._windows[ballot] = Window(
            opens_us=int(reply[0]),
            closes_us=int(reply[1]),
            state=reply[2].decode(),
            now_us=int(reply[3]),
            read_s=self._clock.monotonic(),
        )
