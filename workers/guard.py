"""Whether this worker may store: no fault of ours fills the quarantine, however often we are started again.

A blown fuse stops storing, not the worker: a supervisor that starts us again would only burn more votes. It
is an event in the voter database, so that the next start knows of it and judges what waits before it stores.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from runtime import logs
from runtime.clock import Clock
from workers.checking import Checked
from workers.fuse import WINDOW_ENTRIES, Fuse, share_is_fine
from workers.metrics import WorkerMetrics
from workers.store import REDELIVERED, Outcome, Store

REMIND_S: Final = 60.0
FUSE: Final = "fuse"
CLEARED: Final = "fuse_cleared"

Waiting = Sequence[tuple[Checked, Outcome]]
"""Entries that wait, and what would become of each."""

_log = logs.get("guard")


class Guard:
    """The fuse, what it remembers across starts, and the entries that wait for another worker's key.

    `overruled` is a person's word that the entries are at fault and not our keys: everything is then stored
    or set aside as it is judged.
    """

    def __init__(
        self, *, store: Store, metrics: WorkerMetrics, clock: Clock, overruled: bool = False
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._overruled = overruled
        self._fuse = Fuse()
        self._opened: deque[bool] = deque(maxlen=WINDOW_ENTRIES)
        self._asked = self._probation = False
        self._unwritten = False
        self._why: str | None = None
        self._reminded: dict[str, float] = {}
        self.held = 0
        self._held_s = 0.0

    @property
    def why(self) -> str | None:
        """Why nothing may be stored now; None if it may."""
        return self._why

    async def may_store(self, judge_waiting: Callable[[], Awaitable[Waiting]]) -> bool:
        """Whether storing may go on. `judge_waiting` says what would become of what waits, storing nothing.

        After a start it asks whether the fuse had blown; if so what waits must clear it: one in ten of the
        entries at most looking like our fault, or none that is not stored already.
        """
        if not self._asked:
            blown = await self._store.fuse_blown()
            if blown and self._overruled:
                await self._store.event(None, CLEARED, overruled=True)
            elif blown:
                self._stop("the fuse had blown before this start, and what waits has not cleared it")
            self._asked = True
            self._probation = blown and not self._overruled
        if self._why is None:
            return True
        if self._unwritten:
            await self._store.event(None, FUSE, why=self._why)
            self._unwritten = False
        if self._probation and await self._cleared(await judge_waiting()):
            return True
        self._remind("fused", why=self._why)
        return False

    async def trip(self, why: str) -> None:
        """Stop storing until somebody has put the fault right and started this worker again."""
        self._stop(why)
        self._probation = False
        self._unwritten = True
        self._remind("fused", why=why)
        await self._store.event(None, FUSE, why=why)
        self._unwritten = False

    def judged(self, outcomes: Iterable[Outcome]) -> Fuse:
        """The fuse after a batch that is about to be committed; FuseBlownError if it must not be."""
        if self._overruled:
            return self._fuse
        return self._fuse.after(outcome.status for outcome in outcomes if outcome.fresh)

    def committed(self, fuse: Fuse, checked: Iterable[Checked]) -> None:
        """Keep what a committed batch has taught."""
        self._fuse = fuse
        self._opened.extend(each.opened for each in checked if each.opened or each.foreign)

    def remember(self, opened: Iterable[bool]) -> None:
        """Begin with what earlier entries say, oldest first: whether our key opens them or is another's."""
        self._opened.extend(opened)

    def to_leave(self, checked: Sequence[Checked]) -> set[str]:
        """The entries to leave where they are: those under a foreign key, unless most others open with ours.

        Another worker, or this one with the right key, can still store them.
        """
        foreign = {each.entry.id for each in checked if each.foreign}
        if not foreign or self._overruled:
            return set()
        opened = sum(self._opened) + sum(each.opened for each in checked)
        if opened > len(foreign) + len(self._opened) - sum(self._opened):
            return set()
        self._remind("entries_held", entries=len(foreign), why="they are encrypted with another queue key")
        return foreign

    def hold(self, held: int) -> None:
        """Show how many entries the last round has left where they were."""
        self.held, self._held_s = held, self._clock.monotonic()
        self._metrics.held.set(held)

    def let_go(self, *, after_s: float) -> None:
        """Forget what was held unless it was seen lately: another worker has taken it."""
        if self._clock.monotonic() - self._held_s >= after_s:
            self.hold(0)

    async def _cleared(self, waiting: Waiting) -> bool:
        again = [each for each, outcome in waiting if outcome.status == REDELIVERED]
        fresh = [outcome.status for _, outcome in waiting if outcome.fresh]
        # What is stored already speaks for our keys only if they have opened it.
        statuses = [*fresh, *(REDELIVERED for each in again if each.opened)]
        if waiting and not fresh and not again:
            return False
        if fresh and not share_is_fine(statuses):
            self._why = f"of {len(statuses)} waiting entries too many are unreadable or not in the register"
            return False
        await self._store.event(None, CLEARED, judged=len(statuses))
        _log.info(CLEARED, judged=len(statuses))
        self._why, self._probation = None, False
        self._metrics.fused.set(0)
        return True

    def _stop(self, why: str) -> None:
        self._why = why
        self._metrics.fused.set(1)

    def _remind(self, action: str, **fields: object) -> None:
        """An alarm, once a minute for as long as it holds."""
        now_s = self._clock.monotonic()
        if now_s - self._reminded.get(action, -REMIND_S) >= REMIND_S:
            self._reminded[action] = now_s
            _log.alarm(action, **fields)
