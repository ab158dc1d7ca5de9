"""The complaints' own way to the queue: one connection, apart from the votes', and no vote ever waits for it.

It asks for less than a vote does: no ballot, no trust mark, no clocks, no voter database. It asks for the
same durability (`intake/durability.py`), checked when the connection is made and every few seconds: at level
`disk` the queue answers after its fsync, at level `replicated` the replicas are waited for over this
connection. While one round is under way the next complaints wait and then go together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ballot import handoff
from ballot.complaint import Lodged
from intake.durability import QUESTIONS, Durability, Facts
from intake.faults import place
from intake.gate import Unready
from intake.wire import Command, Wire
from runtime import logs
from runtime.clock import Clock
from runtime.nodes import Nodes, Place

log = logs.get("complaints")

WAITING_MAX: Final = 64
"""Complaints in one process at once, sent or not: half a megabyte."""

ROUND_MAX: Final = 16
CHECK_S: Final = 2.0
ASK_REPLICAS_S: Final = 0.2
"""Replicas that say nothing for so long are asked again."""

RECORDED: Final = b"recorded"
FULL: Final = b"full"
FULL_TEXT: Final = (
    "The stream of complaints is full: see that `ballot complaints serve` runs and userdb answers."
)
EXHAUSTED: Final = b"exhausted"
EXHAUSTED_TEXT: Final = (
    "Somebody has appended to the stream of complaints past its function, with the greatest id there is: "
    "the runbook on complaints, 10, says how it is made anew."
)
AWAY: Final = (Unready, RedisError, OSError, TimeoutError)

ConnectTo = Callable[[str, int], Redis]


class NotRecorded(Exception):  # noqa: N818  # a state of the queue, not a mistake
    """We do not know that it is kept, or know that it is not; the same complaint again is safe."""


@dataclass(slots=True)
class _Waiting:
    """One complaint that waits for its answer, until `until_s`."""

    lodged: Lodged
    until_s: float
    answer: "asyncio.Future[bool]"


class ComplaintLink:
    """To the primary that holds the stream, as `nodes` know it and `connect` leads there."""

    def __init__(
        self,
        nodes: Nodes,
        connect: ConnectTo,
        *,
        durability: Durability,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._nodes = nodes
        self._connect = connect
        self._durability = durability
        self._clock = clock
        self._timeout_s = timeout_s
        self._waiting: deque[_Waiting] = deque()
        self._sent = 0
        self._running: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._durable_run = ""
        self._check_at_s = 0.0
        self._answering = True

    async def record(self, lodged: Lodged) -> None:
        """Return once `lodged` is as durable as a vote would be; NotRecorded otherwise, and never late."""
        if len(self._waiting) + self._sent >= WAITING_MAX:
            raise NotRecorded
        until_s = self._clock.monotonic() + self._timeout_s
        item = _Waiting(lodged, until_s, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._timeout_s):
                kept = await item.answer
        except TimeoutError:
            raise NotRecorded from None
        if not kept:
            raise NotRecorded

    async def close(self) -> None:
        """End the round under way, which nobody waits for any more, and the connection."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._drop()
        await self._nodes.aclose()

    async def _run(self) -> None:
        try:
            while self._waiting:
                round_ = [self._waiting.popleft() for _ in range(min(ROUND_MAX, len(self._waiting)))]
                # Whose time is over was answered: nothing is written for it.
                live = [item for item in round_ if not item.answer.done()]
                if live:
                    await self._round(live)
        finally:
            self._running = None

    async def _round(self, items: Sequence[_Waiting]) -> None:
        """Send all of `items` and answer each."""
        self._sent = len(items)
        answers: Sequence[object] = [None] * len(items)
        try:
            wire = await self._ready()
            answers = await self._append(wire, items)
            self._note(_refusal(answers))
        except AWAY as error:
            await self._lost(error)
        except Exception as error:  # noqa: BLE001  # a bug costs these complaints their answer, not all later ones
            log.alarm("complaints failed", error=type(error).__name__, place=place(error))
            await self._lost(error)
        finally:
            self._sent = 0
            for item, answer in zip(items, answers, strict=True):
                if not item.answer.done():
                    item.answer.set_result(answer == RECORDED)

    async def _append(self, wire: Wire, items: Sequence[_Waiting]) -> Sequence[object]:
        """What the queue says of `items`, once it is on all disks it must be on; nothing if that is late."""
        commands = [_command(item.lodged) for item in items]
        until_s = max(item.until_s for item in items)
        replicas = self._durability.replicas
        waits = self._waits(until_s) if replicas else ()
        found = await wire.exchange([*commands, *waits])
        answers, waited = found[: len(commands)], found[len(commands) :]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer  # moved, no memory, no such function: the same to all of them
        while waited and not self._durability.kept(waited):
            if self._clock.monotonic() >= until_s:
                return [None] * len(answers)
            waited = await wire.exchange(self._waits(until_s))
        return answers

    def _waits(self, until_s: float) -> Sequence[Command]:
        return self._durability.waits(min(max(until_s - self._clock.monotonic(), 0.0), ASK_REPLICAS_S))

    async def _ready(self) -> Wire:
        """A connection to a primary that keeps what it is given; Unready when there is none."""
        wire = self._wire
        if wire is not None and wire.alive and self._clock.monotonic() < self._check_at_s:
            return wire
        if wire is None or not wire.alive:
            await self._drop()
            async with asyncio.timeout(self._timeout_s):
                where = await self._holder()
            self._wire = wire = Wire(lambda: self._connect(*where), timeout_s=self._timeout_s)
            await wire.open()
        facts = Facts.of(await wire.exchange(QUESTIONS))
        known, self._durable_run = self._durable_run, ""
        self._durability.require(facts, known_run=known)
        self._durable_run = facts.run
        self._check_at_s = self._clock.monotonic() + CHECK_S
        return wire

    async def _holder(self) -> Place:
        for primary in await self._nodes.primaries():
            if primary.holds(handoff.COMPLAINTS_KEY):
                return primary.place
        raise Unready("slots_missing", "No primary holds the slot of the complaints.")

    async def _lost(self, error: Exception) -> None:
        self._note(error)
        self._nodes.forget()
        await self._drop()

    async def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.drop()

    def _note(self, failure: Exception | None) -> None:
        """Log a failure as it begins and as it ends, not each time."""
        if failure is not None and self._answering:
            told = failure if isinstance(failure, Unready) else Unready(type(failure).__name__, "")
            say = log.alarm if told.reason == "exhausted" else log.warning
            say("complaints are not recorded", reason=told.reason, remedy=told.text)
        elif failure is None and not self._answering:
            log.info("complaints are recorded again")
        self._answering = failure is None


def _refusal(answers: Sequence[object]) -> Unready | None:
    """Why the stream takes no more, if it said so."""
    if EXHAUSTED in answers:
        return Unready("exhausted", EXHAUSTED_TEXT)
    return Unready("full", FULL_TEXT) if FULL in answers else None


def _command(lodged: Lodged) -> Command:
    arguments: tuple[Any, ...] = (lodged.sealed, lodged.ballot or "")
    return ("FCALL", handoff.COMPLAIN, 1, handoff.COMPLAINTS_KEY, *arguments)
