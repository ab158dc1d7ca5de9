"""Group commit: while one call to the queue is under way, votes wait; then all that wait go together.

Nothing waits on purpose. An idle edge sends a lone vote at once, in one round trip; a slow queue makes
batches larger, not the line longer. What is bounded: how many wait (beyond that, an immediate
refusal that says it is safe to try again), how long each waits, and how many go in one call.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from redis.exceptions import RedisError

from ballot.receipt import Leaf, Receipt
from intake import metrics
from intake.faults import place
from intake.gate import ACCESS, CAST, Call, Queue, Unready
from intake.settings import Settings
from runtime import logs
from runtime.clock import Clock

log = logs.get("batch")

CALL_ITEMS_MAX: Final = 256
"""Votes in one call: about 10 ms of the queue's time, so that no shard keeps the others waiting for long."""

ROUND_CALLS_MAX: Final = 64
CHECK_S: Final = 2.0
"""How often the queue's settings are looked at again while a connection lasts."""

EXPIRE_S: Final = 0.05
BACKOFF_S: Final = (0.05, 1.0)

ACCESS_SHARE: Final = 4
"""Access requests have room of their own, a quarter of the votes': whoever sends them keeps no vote out."""


Outcome = Literal["accepted", "repeated", "ready", "not_open", "not_accepted", "not_found", "taken"]
OUTCOMES: Final[dict[bytes, Outcome]] = {name.encode(): name for name in get_args(Outcome)}
RECEIPTED: Final = frozenset({"accepted", "repeated"})


@dataclass(slots=True)
class Decision:
    """What the gate decided about one item, and the ballot's window at that instant.

    Its receipt is added once it is signed; nothing else ever changes (frozen costs each vote twice as much).
    """

    outcome: Outcome
    opens_us: int
    closes_us: int
    state: str
    reference: str = ""
    accepted_us: int = 0
    sealed_sha256: bytes = b""
    receipt: Receipt | None = None


Done = Callable[[Decision | None], None]
"""What is called with the decision on an item, once; None when none came in time: it may have been done."""


@dataclass(slots=True, eq=False)
class _Item:
    """One vote or access request that waits; `done` gets None when it could not be confirmed."""

    function: str
    args: Sequence[bytes]
    deadline_s: float
    done: Done
    settled: bool = False


Line = tuple[str, str, int]
"""What one call can hold together: function, ballot, shard."""


@dataclass(frozen=True, slots=True)
class _Round:
    """Calls that go together, each with its items in the same order."""

    calls: list[Call]
    items: list[list[_Item]]


class Batcher:
    """All votes of this process on their way to the queue. `run` must run for anything to be answered."""

    def __init__(
        self,
        queue: Queue,
        *,
        settings: Settings,
        clock: Clock,
        issue_receipts: Callable[[Sequence[Leaf]], Sequence[Receipt]],
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._issue_receipts = issue_receipts
        self._waiting: dict[Line, deque[_Item]] = {}
        self._by_age: deque[_Item] = deque()
        self._unanswered = {CAST: 0, ACCESS: 0}
        self._bounds = {
            CAST: settings.inflight_max,
            ACCESS: max(settings.inflight_max // ACCESS_SHARE, 1),
        }
        self._arrived = asyncio.Event()
        self.ready = False
        self.reason = "starting"

    @property
    def inflight(self) -> int:
        """How many wait now, sent or not."""
        return sum(self._unanswered.values())

    def submit(self, function: str, *, ballot: str, shard: int, args: Sequence[bytes], done: Done) -> bool:
        """Take one item on, if there is room for it and a queue to send it to: `done` is called later, once.

        When it is not taken, nothing was done with it and `done` is never called.
        """
        if not self.ready or self._unanswered[function] >= self._bounds[function]:
            return False
        item = _Item(function, args, self._clock.monotonic() + self._settings.confirm_s, done)
        self._unanswered[function] += 1
        self._by_age.append(item)
        key = (function, ballot, shard)
        line = self._waiting.get(key)
        if line is None:
            self._waiting[key] = deque((item,))
            self._arrived.set()
        else:
            line.append(item)
        return True

    async def ask(self, function: str, *, ballot: str, shard: int, args: Sequence[bytes]) -> Decision | None:
        """The gate's decision on one item; None when none came in time or it was not taken on."""
        answered: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()

        def done(decision: Decision | None) -> None:
            if not answered.done():  # done already when whoever waits was cancelled
                answered.set_result(decision)

        if not self.submit(function, ballot=ballot, shard=shard, args=args, done=done):
            return None
        return await answered

    async def run(self) -> None:
        """Keep a good connection and send what waits, until cancelled."""
        expiry = asyncio.create_task(self._expire_forever())
        try:
            await self._send_forever()
        finally:
            expiry.cancel()
            with suppress(asyncio.CancelledError):
                await expiry
            metrics.READY.set(0)
            self.ready, self.reason = False, "stopping"
            await self._queue.drop()
            for item in list(self._by_age):
                self._answer(item, None)

    async def _send_forever(self) -> None:
        backoff_s = BACKOFF_S[0]
        while True:
            try:
                await self._queue.open()
                self._set_ready(ready=True, reason="ready")
                backoff_s = BACKOFF_S[0]
                await self._send_while_connected()
            except Unready as error:
                self._set_ready(ready=False, reason=error.reason, text=error.text)
            except (RedisError, OSError, TimeoutError) as error:
                self._set_ready(ready=False, reason="connection_lost", text=type(error).__name__)
            except Exception as error:  # noqa: BLE001  # the one place: a bug costs this connection, not the process
                log.alarm("batch failed", error=type(error).__name__, place=place(error))
                self._set_ready(ready=False, reason="bug")
            await self._queue.drop()
            await self._clock.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    async def _send_while_connected(self) -> None:
        check_at_s = self._clock.monotonic() + CHECK_S
        while True:
            if not self._waiting:
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), CHECK_S)
            if self._clock.monotonic() >= check_at_s:
                await self._queue.check()
                check_at_s = self._clock.monotonic() + CHECK_S
            round_ = self._take()
            if round_.calls:
                await self._send(round_)

    def _take(self) -> _Round:
        """Everything that waits, up to the bounds, votes first, oldest line first; nothing that expired."""
        round_ = _Round([], [])
        votes_first = sorted(self._waiting, key=lambda line: line[0] != CAST)
        for key in votes_first[:ROUND_CALLS_MAX]:
            line = self._waiting.pop(key)
            items: list[_Item] = []
            while line and len(items) < CALL_ITEMS_MAX:
                item = line.popleft()
                if not item.settled:
                    items.append(item)
            if line:
                self._waiting[key] = line  # at the end: the other shards' turn comes first
            if items:
                function, ballot, shard = key
                args = [argument for item in items for argument in item.args]
                round_.calls.append(Call(function, ballot, shard, args))
                round_.items.append(items)
        return round_

    async def _send(self, round_: _Round) -> None:
        metrics.BATCH_VOTES.observe(sum(len(items) for items in round_.items))
        failed: Exception | None = None
        try:
            replies = await self._queue.call(round_.calls)
            failed = self._settle(round_, replies)
        finally:
            # Answers that did not come, for whatever reason: not confirmed, and trying again is safe.
            for items in round_.items:
                for item in items:
                    self._answer(item, None)
            self._forget_answered()
        if failed is not None:
            raise failed

    def _settle(self, round_: _Round, replies: Sequence[Any]) -> Exception | None:
        """Give every item its decision, accepted votes with receipts; the first error among the replies."""
        decided: list[tuple[_Item, Decision]] = []
        leaves: list[Leaf] = []
        failed: Exception | None = None
        for call, items, reply in zip(round_.calls, round_.items, replies, strict=True):
            if isinstance(reply, Exception):
                failed = failed or reply
                log.error("call refused", function=call.function, error=reply)
                continue
            for item, decision in zip(items, decisions(reply), strict=True):
                decided.append((item, decision))
                if decision.outcome in RECEIPTED:
                    leaves.append(
                        Leaf(call.ballot, decision.reference, decision.accepted_us, decision.sealed_sha256)
                    )
        # The queue answers after its fsync. From here the accepted voters have voted: nothing below may turn
        # their reply into an error. Signing asks nobody and waits for nothing.
        receipts = iter(self._issue_receipts(leaves) if leaves else ())
        for item, decision in decided:
            if decision.outcome in RECEIPTED:
                decision.receipt = next(receipts)
            self._answer(item, decision)
        return failed

    def _answer(self, item: _Item, decision: Decision | None) -> None:
        if item.settled:
            return
        item.settled = True
        self._unanswered[item.function] -= 1
        try:
            item.done(decision)
        except Exception as error:  # noqa: BLE001  # one answer's bug costs no other vote its answer
            log.alarm("answer failed", error=type(error).__name__, place=place(error))

    def _forget_answered(self) -> None:
        while self._by_age and self._by_age[0].settled:
            self._by_age.popleft()

    async def _expire_forever(self) -> None:
        while True:
            await self._clock.sleep(EXPIRE_S)
            self.expire()
            metrics.INFLIGHT.set(self.inflight)

    def expire(self) -> None:
        """Answer those that waited too long. They may still be done by the queue; a retry finds out."""
        now_s = self._clock.monotonic()
        while self._by_age and (self._by_age[0].settled or self._by_age[0].deadline_s <= now_s):
            self._answer(self._by_age.popleft(), None)

    def _set_ready(self, *, ready: bool, reason: str, text: str = "") -> None:
        if reason != self.reason:
            if ready:
                log.info("taking votes")
            else:
                log.error("not taking votes", reason=reason, text=text)
        if not ready:
            metrics.QUEUE_FAILURES.labels(reason).inc()
        metrics.READY.set(int(ready))
        self.ready, self.reason = ready, reason


def decisions(reply: Sequence[Any]) -> list[Decision]:
    """The gate's reply: opens, closes and state, then a row an item."""
    opens_us, closes_us, state = int(reply[0]), int(reply[1]), reply[2].decode()
    return [
        Decision(
            outcome=OUTCOMES[row[0]],
            opens_us=opens_us,
            closes_us=closes_us,
            state=state,
            reference=row[1].decode(),
            accepted_us=int(row[2] or 0),
            sealed_sha256=row[3],
        )
        for row in reply[3:]
    ]
