"""The way to one primary: a connection that is kept good, and its own waiting lines and send loop.

Whatever one primary does, the others' lines go on. While it is not good enough nothing is sent; what waits
here then goes when it is good again, or is told to try again when its time is over. A command is sent once:
only what the primary says it did not do, because the shard is elsewhere, is sent again, to where it is.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from ballot.receipt import Leaf
from intake import metrics
from intake.clocks import Clocks, Reading
from intake.durability import OUT_OF_MEMORY, OUT_OF_MEMORY_TEXT
from intake.faults import place
from intake.gate import CAST, RECEIPTED, Call, Decision, Unready, decisions
from intake.lines import Item, Lines, Round
from intake.node import NOT_DONE, Node, NotKept
from runtime import logs
from runtime.clock import Clock

log = logs.get("link")

CHECK_S: Final = 2.0
"""How often the queue's settings are looked at again while a connection lasts."""

CHECK_SOON_S: Final = 0.1
"""How soon they are looked at after an error that one call met: it may be the server's state after all."""

SAID_S: Final = 1.0
"""For so long after a line in the log about a refused call there is no other."""

BACKOFF_S: Final = (0.05, 1.0)
CATCH_UP_S: Final = 0.25
"""How long each look takes at whether replicas that were late have caught up."""

Redirect = Callable[[Item, ResponseError], None]
Issue = Callable[[Sequence[Leaf]], Sequence[bytes]]
Note = Callable[[str, int, Sequence[Decision]], None]
"""Called with what a shard of a ballot decided in one call, once everybody has their answer."""


class Link:
    """One primary's votes. `run` must run for anything to be sent; `changed` is told of `ready`."""

    def __init__(
        self,
        node: Node,
        *,
        name: str,
        clock: Clock,
        clocks: Clocks,
        issue_receipts: Issue,
        redirect: Redirect,
        changed: Callable[[], None],
        note: Note | None = None,
    ) -> None:
        self.name = name
        self.ready = False
        self.reason = "starting"
        self.unanswered: Counter[str] = Counter()
        self._node = node
        self._clock = clock
        self._clocks = clocks
        self._issue_receipts = issue_receipts
        self._redirect = redirect
        self._changed = changed
        self._note = note
        self._lines = Lines()
        self._wake: asyncio.Future[None] | None = None
        self._check_at_s = 0.0
        self._say_at_s = 0.0
        self._backoff_s = BACKOFF_S[0]
        self._reading: Reading | None = None
        self._retired = False

    def add(self, item: Item) -> None:
        """Put an item in its line."""
        if item.link is not self:
            if item.link is not None:
                item.link.unanswered[item.room] -= 1
            item.link = self
            self.unanswered[item.room] += 1
        self._lines.add(item)
        self._rouse()

    def tick(self) -> None:
        """Called many times a second: look up when it is time for a check, or when the connection is gone."""
        if self._wake is not None and (self._clock.monotonic() >= self._check_at_s or not self._node.alive):
            self._rouse()

    def retire(self) -> list[Item]:
        """Send no more, and end when the answers under way are there; what waits is handed over."""
        self._retired = True
        self._rouse()
        return self.leave()

    def leave(self) -> list[Item]:
        """Hand over what waits and was not sent."""
        return self._lines.leave()

    def settle(self, item: Item, decision: Decision | None) -> None:
        """Give an item its answer, unless it has one."""
        if item.settled:
            return
        item.settled = True
        item.args = ()
        if item.link is not None:
            item.link.unanswered[item.room] -= 1
        try:
            item.done(decision)
        except Exception as error:  # noqa: BLE001  # one answer's bug costs no other vote its answer
            log.alarm("answer failed", error=type(error).__name__, place=place(error))

    async def run(self) -> None:
        """Keep a good connection and send what waits, until retired or cancelled."""
        try:
            await self._keep_going()
        finally:
            self.ready, self.reason = False, "stopping"
            self._forget_clock()
            await self._node.drop()

    async def _keep_going(self) -> None:
        while not self._retired:
            try:
                await self._node.open()
                self._checked()
                await self._send_while_connected()
            except Unready as error:
                self._fail(error.reason, error.text)
            except ResponseError as error:
                self._fail(*_named(error))
            except (RedisError, OSError, TimeoutError) as error:
                self._fail("connection_lost", type(error).__name__)
            except Exception as error:  # noqa: BLE001  # the one place: a bug costs this connection, not the process
                log.alarm("batch failed", error=type(error).__name__, place=place(error))
                self._fail("bug")
            await self._node.drop()
            self._forget_clock()
            if not self._retired:
                await self._clock.sleep(self._backoff_s)
                self._backoff_s = min(self._backoff_s * 2, BACKOFF_S[1])

    async def _send_while_connected(self) -> None:
        while not self._retired:
            if not self._lines or not self.ready:
                await self._sleep()
            if not self._node.alive:
                raise ConnectionError("the queue ended the connection")
            if self._clock.monotonic() >= self._check_at_s:
                await self._node.check()
                self._checked()
                self._backoff_s = BACKOFF_S[0]  # it has lasted for a while
            if not self._fits():
                continue
            round_ = self._lines.take()
            if round_.calls:
                await self._send(round_)

    def _checked(self) -> None:
        self._check_at_s = self._clock.monotonic() + CHECK_S
        if self._node.reading is not None:
            self._reading = self._node.reading
            self._clocks.read(self.name, self._reading)
        self._fits()

    def _forget_clock(self) -> None:
        """Only our own reading: another link to the same address may have made one since."""
        self._clocks.forget(self.name, self._reading)
        self._reading = None

    def _fits(self) -> bool:
        """Whether votes may go by this primary's clock; as ready as that."""
        if self._clocks.fits(self.name):
            self._set_ready(ready=True, reason="ready")
            return True
        self._set_ready(
            ready=False,
            reason="clock_skew",
            text="The clocks of the Cluster's primaries differ by more than 50 ms: set them right.",
        )
        return False

    async def _sleep(self) -> None:
        """Wait until something is added, or `tick` finds something to do."""
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _send(self, round_: Round) -> None:
        metrics.BATCH_VOTES.observe(sum(len(items) for items in round_.items))
        # As long as any of them may wait: one whose time is nearly over is answered by itself meanwhile.
        wait_s = max(item.deadline_s for item in round_.all()) - self._clock.monotonic()
        failed: Exception | None = None
        try:
            replies = await self._node.call(round_.calls, wait_s=wait_s)
            failed = self._settle(round_, replies)
            if any(not isinstance(reply, Exception) for reply in replies):
                self._backoff_s = BACKOFF_S[0]
                if type(failed) is ResponseError:  # of those calls alone, unless the check finds more
                    self._check_at_s = min(self._check_at_s, self._clock.monotonic() + CHECK_SOON_S)
                    failed = None
        except NotKept:
            await self._catch_up(round_)
        finally:
            # Answers that did not come, for whatever reason: not confirmed, and trying again is safe.
            self._unconfirmed(round_)
        if failed is not None:
            raise failed

    def _unconfirmed(self, round_: Round) -> None:
        for item in round_.all():
            self.settle(item, None)

    async def _catch_up(self, round_: Round) -> None:
        """Take no votes until the replicas have what was sent; those votes were told to try again."""
        self._unconfirmed(round_)
        self._set_ready(
            ready=False,
            reason="replicas_behind",
            text="Not every replica has the last votes on its disk: look at INFO replication.",
        )
        while not self._retired and not await self._node.kept(CATCH_UP_S):
            if self._clock.monotonic() >= self._check_at_s:
                await self._node.check()
                self._check_at_s = self._clock.monotonic() + CHECK_S
        self._fits()

    def _settle(self, round_: Round, replies: Sequence[Any]) -> Exception | None:
        """Give every item its decision, accepted votes with receipts; the worst error among the replies."""
        decided: list[tuple[Item, Decision]] = []
        cast: list[tuple[Call, list[Decision]]] = []
        leaves: list[Leaf] = []
        failed: Exception | None = None
        for call, items, reply in zip(round_.calls, round_.items, replies, strict=True):
            if isinstance(reply, Exception):
                error = self._refused(call.function, items, reply)
                if failed is None or type(failed) is ResponseError:  # one about the server says more
                    failed = error or failed
                continue
            found = decisions(reply)
            if call.function == CAST:
                cast.append((call, found))
            for item, decision in zip(items, found, strict=True):
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
            self.settle(item, decision)
        for call, found in cast:
            self._remember(call, found)
        return failed

    def _remember(self, call: Call, found: Sequence[Decision]) -> None:
        if self._note is None:
            return
        try:
            self._note(call.ballot, call.shard, found)
        except Exception as error:  # noqa: BLE001  # a bug there costs no vote
            log.alarm("journal failed", error=type(error).__name__, place=place(error))

    def _refused(self, function: str, items: list[Item], error: Exception) -> Exception | None:
        """Send on what was not done here; any other error is given back, and its votes are not confirmed."""
        if isinstance(error, NOT_DONE):
            for item in items:
                self._redirect(item, error)
            items.clear()  # no longer of this round
            return error if isinstance(error, ReadOnlyError) else None
        now_s = self._clock.monotonic()
        if now_s >= self._say_at_s:  # a shard that is broken says the same every round
            self._say_at_s = now_s + SAID_S
            log.error("call refused", node=self.name, function=function, error=error)
        return error

    def _fail(self, reason: str, text: str = "") -> None:
        metrics.QUEUE_FAILURES.labels(reason).inc()
        self._set_ready(ready=False, reason=reason, text=text)

    def _set_ready(self, *, ready: bool, reason: str, text: str = "") -> None:
        if reason == self.reason and ready == self.ready:
            return
        if ready:
            log.info("taking votes", node=self.name)
        else:
            log.error("not taking votes", node=self.name, reason=reason, text=text)
        self.ready, self.reason = ready, reason
        self._changed()


def _named(error: ResponseError) -> tuple[str, str]:
    """The reason why no votes are taken after such an answer, and what to do about it."""
    if isinstance(error, OutOfMemoryError) or str(error).startswith("OOM"):
        return OUT_OF_MEMORY, OUT_OF_MEMORY_TEXT
    if str(error).startswith("RECOVERING"):
        return "recovering", "The queue is being recovered: `ballot recover` opens it when it has ended."
    return "refused", type(error).__name__
