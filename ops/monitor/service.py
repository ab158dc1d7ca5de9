"""The monitor's loop: probe every period, judge in order, write down what was found.

A probe never waits for an earlier one, so a slow service is still looked at every period; verdicts are taken
in the order the probes began.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from ops.monitor.codes import NoCodes
from ops.monitor.intervals import Interval, Probe, State, Tracker
from ops.monitor.voter import Pace, ProbeFailed, Verdict, Voter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ballot.document import BallotDocument
    from ballot.vote import CastVote
    from ops.monitor.codes import CodeStore
    from ops.monitor.gauges import Gauges
    from ops.monitor.journal import Journal
    from runtime.clock import Clock
    from runtime.lifecycle import Stop
    from runtime.logs import Log

US = 1_000_000


class Ready:
    """What a probe needs once the probe ballot exists: a voter, the document, the codes by shard."""

    def __init__(self, voter: Voter, ballot: BallotDocument, codes: CodeStore, *, shards: int) -> None:
        self._voter = voter
        self._ballot = ballot
        self.codes = codes
        self._shards = shards
        self._turn = 0
        self._unsettled: dict[int, CastVote] = {}
        # Probes overlap, and drawing writes a file: one at a time, also when the disk is slow.
        self._drawing = asyncio.Lock()

    async def probe(self) -> Verdict:
        """Cast in the next shard: the vote last sent there if its fate is unknown, a fresh one otherwise."""
        shard = self._turn
        self._turn = (self._turn + 1) % self._shards
        # Taken out while in flight, so that an overlapping probe of this shard casts a vote of its own.
        vote = self._unsettled.pop(shard, None)
        if vote is None:
            async with self._drawing:
                vote = await asyncio.to_thread(self._fresh, shard)
        verdict = await self._voter.cast(vote)
        if not verdict.definite:
            self._unsettled[shard] = vote
        return verdict

    def _fresh(self, shard: int) -> CastVote:
        try:
            code = self.codes.take(shard)
        except NoCodes:
            self.codes.load()
            code = self.codes.take(shard)
        return self._voter.prepare(self._ballot, code)


class Monitor:
    """Owns the tracker and the journal. `prepare` returns Ready, or raises NoCodes or ProbeFailed."""

    def __init__(
        self,
        *,
        prepare: Callable[[], Awaitable[Ready]],
        journal: Journal,
        gauges: Gauges,
        pace: Pace,
        clock: Clock,
        log: Log,
    ) -> None:
        self._prepare = prepare
        self._journal = journal
        self._gauges = gauges
        self._pace = pace
        self._clock = clock
        self._log = log
        self._ready: Ready | None = None
        self._preparing = asyncio.Lock()
        self._tracker = Tracker(period_us=int(pace.period_s * US), restored=journal.restored())
        self._last_state: State | None = None

    async def run(self, stop: Stop) -> None:
        """Probe until asked to stop; then end the open interval where observation ended."""
        in_flight_max = (
            math.ceil((self._pace.deadline_s * 3 + self._pace.store_deadline_s) / self._pace.period_s) + 2
        )
        verdicts: asyncio.Queue[asyncio.Task[Probe]] = asyncio.Queue(maxsize=in_flight_max)
        judge = asyncio.create_task(self._judge(verdicts))
        due = self._clock.monotonic()
        try:
            while not stop.requested and not judge.done():
                # A full queue means probes outlive every deadline of theirs: the missed
                # ones become `unknown`.
                if not verdicts.full():
                    verdicts.put_nowait(asyncio.create_task(self._probe()))
                due = max(due + self._pace.period_s, self._clock.monotonic())
                await stop.wait(due - self._clock.monotonic())
        finally:
            if judge.done():
                judge.result()
            judge.cancel()
            while not verdicts.empty():
                verdicts.get_nowait().cancel()
            with suppress(asyncio.CancelledError):
                await judge
            self._record(self._tracker.stop())

    async def _probe(self) -> Probe:
        started_us = self._clock.now_us()
        try:
            if self._ready is None:
                async with self._preparing:
                    if self._ready is None:
                        self._ready = await self._prepare()
            verdict = await self._ready.probe()
        except NoCodes as error:
            # No vote was sent, so nothing is known; a new look next time finds codes issued since.
            return Probe(started_us, self._clock.now_us(), State.UNKNOWN, str(error))
        except ProbeFailed as error:
            return Probe(started_us, self._clock.now_us(), State.DOWN, str(error))
        self._gauges.codes_left.set(self._ready.codes.left)
        if verdict.state in {State.UP, State.SLOW}:
            self._gauges.seconds.observe(verdict.seconds)
        return Probe(started_us, self._clock.now_us(), verdict.state, verdict.reason)

    async def _judge(self, verdicts: asyncio.Queue[asyncio.Task[Probe]]) -> None:
        while True:
            task = await verdicts.get()
            try:
                probe = await task
            except asyncio.CancelledError:
                task.cancel()
                raise
            self._record(self._tracker.feed(probe))
            self._gauges.show(probe.state)
            if probe.state is not self._last_state:
                note = self._log.alarm if probe.state is State.DOWN else self._log.info
                note("availability", state=probe.state.value, reason=probe.reason)
                self._last_state = probe.state

    def _record(self, closed: list[Interval]) -> None:
        # Ended intervals first: a kill in between is seen at the next start, and no interval ends twice.
        self._journal.append(closed)
        self._journal.checkpoint(self._tracker.open)
