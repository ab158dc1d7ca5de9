"""Group commit: while one call to a primary is under way, its votes wait; then all that wait go together.

Nothing waits on purpose. An idle edge sends a lone vote at once, in one round trip; a slow queue makes
batches larger, not the line longer. What is bounded: how many wait (beyond that, an immediate
refusal that says it is safe to try again), how long each waits, and how many go in one call.

Each primary has a link of its own, so that one that is slow or gone delays only the shards that it holds.
Which primary holds which shard a Cluster tells; a standalone server holds all.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import AskError, MovedError, ResponseError

from ballot.receipt import Leaf
from intake import metrics
from intake.clocks import Clocks
from intake.faults import place
from intake.gate import ACCESS, CAST, Decision, Unready
from intake.lines import CALL_ITEMS_MAX, Done, Item
from intake.link import Link, Note
from intake.node import Node, Trusted
from intake.routing import Address, name_of, slot_of
from intake.scout import Scout
from intake.settings import Settings
from runtime import logs
from runtime.clock import Clock
from runtime.lifecycle import end

__all__ = ["CALL_ITEMS_MAX", "Batcher", "Decision", "Done"]

log = logs.get("batch")

TICK_S: Final = 0.05
LOOK_S: Final = 1.0
"""How often a Cluster is asked who holds what; also as soon as a primary says that it no longer does."""

LOOKS_APART_S: Final = 0.1
REDIRECTS_AT_ONCE: Final = 2
"""An item that is sent on more often waits a little each time: what is moving has not arrived yet."""

AGAIN_S: Final = 0.02
ACCESS_SHARE: Final = 4
"""Access requests have room of their own, a quarter of the votes': whoever sends them keeps no vote out."""

THROTTLED_SHARE: Final = 8
"""Addresses with too many refusals have an eighth as much room, of their own: they keep nobody else out."""

THROTTLED: Final = {CAST: f"{CAST} throttled", ACCESS: f"{ACCESS} throttled"}
"""The name of that room, by function; everybody else's is called as the function."""

MakeNode = Callable[[Address, Trusted | None], Node]


class Batcher:
    """All votes of this process on their way to the queue. `run` must run for anything to be answered.

    The queue is the one server at `alone`, or the Cluster that `scout` finds.
    """

    def __init__(
        self,
        node: MakeNode,
        *,
        alone: Address | None = None,
        scout: Scout | None = None,
        settings: Settings,
        clock: Clock,
        issue_receipts: Callable[[Sequence[Leaf]], Sequence[bytes]],
        note: Note | None = None,
    ) -> None:
        self._node = node
        self._alone = alone
        self._scout = scout
        self._settings = settings
        self._clock = clock
        self._issue_receipts = issue_receipts
        self._note = note
        self._clocks = Clocks()
        self._links: dict[Address, Link] = {}
        self._deciding: frozenset[Address] = frozenset()
        self._routes: dict[tuple[str, int], Link] = {}
        self._bounds = bounds(0)
        self._by_age: deque[Item] = deque()
        self._look = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._children: set[asyncio.Task[None]] = set()
        self._unmapped = Unready("starting", "The Cluster has not been asked yet.")
        self.ready = False
        self.reason = "starting"

    @property
    def inflight(self) -> int:
        """How many wait now, sent or not."""
        return sum(link.unanswered.total() for link in self._links.values())

    def submit(
        self,
        function: str,
        *,
        ballot: str,
        shard: int,
        args: Sequence[bytes],
        done: Done,
        throttled: bool = False,
    ) -> bool:
        """Take one item on, if there is room for it and a primary for it: `done` is called later, once.

        When it is not taken, nothing was done with it and `done` is never called. `throttled`: it comes from
        an address with too many refusals.
        """
        link = self._routes.get((ballot, shard)) or self._route(ballot, shard)
        if link is None or not link.ready or not self._clocks.agree:
            return False
        room = THROTTLED[function] if throttled else function
        if link.unanswered[room] >= self._bounds[room]:
            return False
        deadline_s = self._clock.monotonic() + self._settings.confirm_s
        item = Item(function, ballot, shard, args, deadline_s, done, room)
        self._by_age.append(item)
        link.add(item)
        return True

    async def run(self) -> None:
        """Keep good connections and send what waits, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                if self._alone is not None:
                    self._use(frozenset((self._alone,)), deciding=frozenset((self._alone,)))
                if self._scout is not None:
                    self._start(self._look_forever(self._scout))
                self._start(self._tick_forever())
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    # The group itself would tell each of them once, and wait for ever.
                    await end([*self._children])
        finally:
            metrics.READY.set(0)
            self.ready, self.reason = False, "stopping"
            for item in list(self._by_age):
                _settle(item)
            if self._scout is not None:
                await self._scout.close()

    def _route(self, ballot: str, shard: int) -> Link | None:
        """The link of the primary that holds the shard, as far as known."""
        owner = self._alone
        if self._scout is not None:
            owner = None if self._scout.map is None else self._scout.map.owners[slot_of(ballot, shard)]
        link = None if owner is None else self._links.get(owner)
        if link is not None:
            self._routes[ballot, shard] = link
        return link

    async def _look_forever(self, scout: Scout) -> None:
        while True:
            self._look.clear()
            try:
                await scout.look()
            except Unready as error:
                if scout.map is None or error.reason == "cluster_down":
                    self._unmapped = error
                    scout.map = None
                    self._routes.clear()
                    self._changed()
            except Exception as error:  # noqa: BLE001  # a bug costs this look, not the process
                log.alarm("look failed", error=type(error).__name__, place=place(error))
            if scout.map is not None:
                self._use(scout.map.primaries | scout.map.deciding, deciding=scout.map.deciding)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):  # `wait_for` may keep a cancellation to itself
                    await self._look.wait()
            await self._clock.sleep(LOOKS_APART_S)

    def _use(self, primaries: frozenset[Address], *, deciding: frozenset[Address]) -> None:
        """Have a link to each primary, and none to any other."""
        self._routes.clear()
        self._deciding = deciding
        self._clocks.decide_by({name_of(address) for address in deciding})
        self._bounds = bounds(max(self._settings.inflight_max // max(len(deciding), 1), 1))
        left = [self._links.pop(address) for address in set(self._links) - primaries]
        for address in sorted(primaries - set(self._links)):
            self._links[address] = self._link(address)
        waiting = [item for link in left for item in link.retire()]
        waiting += [item for link in self._links.values() if not link.ready for item in link.leave()]
        for item in waiting:  # where its shard is now, which may be where it was
            self._again(item)
        self._changed()

    def _link(self, address: Address) -> Link:
        scout = self._scout
        trusted = None if scout is None else partial(getattr, scout, "trusted")
        link = Link(
            self._node(address, trusted),
            name=name_of(address),
            clock=self._clock,
            clocks=self._clocks,
            issue_receipts=self._issue_receipts,
            redirect=self._redirect,
            changed=self._link_changed,
            note=self._note,
        )
        self._start(link.run())
        return link

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside the others: what fails ends them all."""
        if self._tasks is None:
            work.close()
            raise RuntimeError("nothing is started but while running")
        child = self._tasks.create_task(work)
        self._children.add(child)
        child.add_done_callback(self._children.discard)

    def _redirect(self, item: Item, error: ResponseError) -> None:
        """Send on an item that a primary did not do because the shard is elsewhere, or on its way there."""
        item.redirects += 1
        item.asking = False
        at_once = item.redirects <= REDIRECTS_AT_ONCE and isinstance(error, AskError)
        target: Address | None = None
        if isinstance(error, AskError):
            owner = (error.host or item_host(item), error.port)
            if not isinstance(error, MovedError):
                target = owner
            elif self._scout is not None and self._scout.map is not None:
                self._scout.map.moved(error.slot_id, owner)
                self._routes.pop((item.ballot, item.shard), None)
        self._look.set()
        if at_once:
            self._again(item, target)
        else:
            asyncio.get_running_loop().call_later(AGAIN_S, self._again, item, target)

    def _again(self, item: Item, target: Address | None = None) -> None:
        """Put an item in the line where its shard is now, or is moving to; its deadline stays."""
        if item.settled:
            return
        item.asking = target is not None
        link = self._route(item.ballot, item.shard) if target is None else self._links.get(target)
        if link is None:
            asyncio.get_running_loop().call_later(AGAIN_S, self._again, item)
        else:
            link.add(item)

    async def _tick_forever(self) -> None:
        while True:
            await self._clock.sleep(TICK_S)
            self.expire()
            for link in self._links.values():
                link.tick()
            metrics.INFLIGHT.set(self.inflight)

    def expire(self) -> None:
        """Answer those that waited too long. They may still be done by the queue; a retry finds out."""
        now_s = self._clock.monotonic()
        while self._by_age and (self._by_age[0].settled or self._by_age[0].deadline_s <= now_s):
            _settle(self._by_age.popleft())

    def _link_changed(self) -> None:
        """One is ready, or no longer: its shards may be another's by now."""
        self._look.set()
        self._changed()

    def _changed(self) -> None:
        """Be ready while every shard has a primary that is."""
        self.reason = self._why_not() or "ready"
        self.ready = self.reason == "ready"
        metrics.READY.set(int(self.ready))

    def _why_not(self) -> str:
        map_ = None if self._scout is None else self._scout.map
        if self._scout is not None and (map_ is None or not map_.whole):
            return self._unmapped.reason if map_ is None else "slots_missing"
        for address in sorted(self._deciding):
            link = self._links.get(address)
            if link is None or not link.ready:
                return "starting" if link is None else link.reason
        return "" if self._clocks.agree else "clock_skew"


def bounds(votes: int) -> dict[str, int]:
    """How many may wait for one primary in each room, where `votes` votes may."""
    rooms = {CAST: votes, ACCESS: max(votes // ACCESS_SHARE, 1)}
    return rooms | {THROTTLED[room]: max(count // THROTTLED_SHARE, 1) for room, count in rooms.items()}


def _settle(item: Item) -> None:
    if item.link is not None:
        item.link.settle(item, None)


def item_host(item: Item) -> str:
    """Where the item was sent last: a node that names no host of its own means itself."""
    return "" if item.link is None else item.link.name.rpartition(":")[0]
