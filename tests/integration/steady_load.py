"""A steady open-loop load of real votes: each is sent when its time comes, however slow the answers are.

Every cast keeps what its voter would know: when it was sent, what came back after how long, the receipt. In
use, with any edge and any sealed votes (`booth.issue` and `voter.vote`, or `deskwork.seal`):

    async with steady_load(edge.url, ballot, votes, rate=200) as load:
        await load.reaches(100)        # so many answers with a receipt
        ...                            # the weather
    load.longest(503), load.statuses() # on leaving, sending has stopped and every cast sent has its answer
    await load.settle()                # as devices do: whatever has no receipt is sent again until it has
    load.write_receipts(path)          # for `ballot check --receipts`

A cast that got no answer at all (a reset, a refused or closed connection) has status 0 and the error's name.
A receipt for another vote than the one sent fails at once; `ballot check` looks at the signatures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from ballot.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from ballot.vote import CastVote

JSON = {"Content-Type": "application/json"}
RECEIPTED = frozenset({200, 201})
NO_ANSWER = 0
ANSWER_S = 60.0
SETTLE_S = 30.0
SETTLE_PAUSE_S = 0.1
POLL_S = 0.005
TICK_S = 0.01


@dataclass(slots=True, eq=False)
class Cast:
    """One vote on its way; times are `time.monotonic()`, and `seconds` counts from the sending."""

    vote: CastVote
    body: bytes
    due_s: float
    sent_s: float = 0.0
    seconds: float = 0.0
    status: int | None = None
    error: str = ""
    first_status: int | None = None
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def answered_s(self) -> float:
        """When its last answer came."""
        return self.sent_s + self.seconds


class SteadyLoad:
    """The casts of one run, in the order of sending; made by `steady_load`."""

    def __init__(self, url: str, ballot: str, votes: Iterable[CastVote], *, rate: float, fresh: bool) -> None:
        self._url = f"{url}/api/v1/ballots/{ballot}/votes"
        self._ballot = ballot
        self._fresh = fresh
        self._gap_s = 1 / rate
        self._votes = votes
        self._stopping = asyncio.Event()
        self.casts: list[Cast] = []
        self.lag_s = 0.0
        """The longest that this process itself was late meanwhile: what a busy machine adds to each wait."""

    async def run(self) -> None:
        """Send until told to stop or all votes are sent, then wait for the answers."""
        ticking = asyncio.create_task(self._measure_lag())
        try:
            await self._send_all()
        finally:
            ticking.cancel()

    async def _measure_lag(self) -> None:
        while True:
            due_s = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self.lag_s = max(self.lag_s, time.monotonic() - due_s)

    async def _send_all(self) -> None:
        async with self._session() as session, asyncio.TaskGroup() as sending:
            first_s = time.monotonic()
            for number, vote in enumerate(self._votes):
                due_s = first_s + number * self._gap_s
                if await self._stopped_before(due_s):
                    break
                cast = Cast(vote, vote.to_json(), due_s)
                self.casts.append(cast)
                sending.create_task(self.send(session, cast))

    async def _stopped_before(self, due_s: float) -> bool:
        wait_s = due_s - time.monotonic()
        if wait_s <= 0:
            await asyncio.sleep(0)
            return self._stopping.is_set()
        try:
            await asyncio.wait_for(self._stopping.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Send nothing more."""
        self._stopping.set()

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, force_close=self._fresh)
        return aiohttp.ClientSession(
            connector=connector, headers=JSON, timeout=aiohttp.ClientTimeout(total=ANSWER_S)
        )

    async def send(self, session: aiohttp.ClientSession, cast: Cast) -> None:
        """Send a vote once and keep what came back."""
        cast.sent_s = time.monotonic()
        answer: Any = {}
        try:
            async with session.post(self._url, data=cast.body) as response:
                answer = await response.json()
                status, error = response.status, ""
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            status, error = NO_ANSWER, type(failure).__name__
        cast.seconds = time.monotonic() - cast.sent_s
        if status in RECEIPTED:
            receipt = Receipt.from_dict(answer)
            assert (receipt.ballot, receipt.sealed_sha256) == (self._ballot, cast.vote.sealed_sha256)
            cast.receipts.append(receipt)
        elif status != NO_ANSWER:
            error = str(answer.get("error"))
        cast.status, cast.error = status, error
        cast.first_status = status if cast.first_status is None else cast.first_status

    async def settle(self, *, seconds: float = SETTLE_S) -> None:
        """Send again, unchanged, what has no receipt, until all have one: fails after `seconds`."""
        deadline_s = time.monotonic() + seconds
        async with self._session() as session:
            while waiting := [cast for cast in self.casts if not cast.receipts]:
                assert time.monotonic() < deadline_s, f"{len(waiting)} votes without a receipt"
                await asyncio.gather(*(self.send(session, cast) for cast in waiting[:200]))
                await asyncio.sleep(SETTLE_PAUSE_S)

    async def repeat(self, casts: Sequence[Cast]) -> None:
        """Send these once more, as a device does that lost its receipt."""
        async with self._session() as session:
            await asyncio.gather(*(self.send(session, cast) for cast in casts))

    async def reaches(self, receipts: int, *, seconds: float = ANSWER_S) -> None:
        """Return when so many casts more than now have a receipt."""
        wanted = self._receipted() + receipts
        await self.until(lambda: self._receipted() >= wanted, seconds=seconds)

    async def until(self, holds: Callable[[], bool], *, seconds: float = ANSWER_S) -> None:
        """Return when `holds`, looked at all the time; fails after `seconds`."""
        deadline_s = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline_s, f"not within {seconds} s; {self.statuses()}"
            await asyncio.sleep(POLL_S)

    def _receipted(self) -> int:
        return sum(1 for cast in self.casts if cast.receipts)

    def answered(self, *statuses: int) -> list[Cast]:
        """The casts whose first answer had one of these statuses, or all that are answered."""
        return [
            cast
            for cast in self.casts
            if cast.first_status is not None and (not statuses or cast.first_status in statuses)
        ]

    def statuses(self) -> Counter[tuple[int, str]]:
        """How many casts have which last status and error."""
        return Counter((cast.status, cast.error) for cast in self.casts if cast.status is not None)

    def longest(self, *statuses: int) -> float:
        """The longest that a cast with one of these statuses waited for its answer; 0 when there is none."""
        return max((cast.seconds for cast in self.casts if cast.status in statuses), default=0.0)

    def quantile(self, part: float, *, since_s: float = 0.0, until_s: float = float("inf")) -> float:
        """The latency that `part` of the receipted casts sent in that time stayed within."""
        found = sorted(c.seconds for c in self.casts if c.receipts and since_s <= c.sent_s < until_s)
        return found[min(int(len(found) * part), len(found) - 1)] if found else 0.0

    def first_receipt_after(self, instant_s: float) -> float:
        """How long after `instant_s` the first receipt for a vote sent since then came."""
        times = [c.answered_s for c in self.casts if c.status in RECEIPTED and c.sent_s >= instant_s]
        return min(times, default=float("inf")) - instant_s

    def receipts(self) -> list[Receipt]:
        """Every receipt that any answer brought; a vote's are all the same vote's."""
        for cast in self.casts:
            assert len({(each.reference, each.accepted_us) for each in cast.receipts}) <= 1, cast.receipts
        return [receipt for cast in self.casts for receipt in cast.receipts]

    def write_receipts(self, path: Path) -> Path:
        """Write them as JSON lines, as `ballot check --receipts` reads them."""
        lines = [json.dumps(receipt.to_dict()) for receipt in self.receipts()]
        path.write_text("".join(f"{line}\n" for line in lines))
        return path


@asynccontextmanager
async def steady_load(
    url: str, ballot: str, votes: Iterable[CastVote], *, rate: float, fresh: bool = False
) -> AsyncIterator[SteadyLoad]:
    """Cast `votes`, `rate` a second, while the block runs; `fresh`: each over a connection of its own.

    They may come from a generator that seals them: each is asked for when the one before was sent.
    """
    load = SteadyLoad(url, ballot, votes, rate=rate, fresh=fresh)
    running = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await running
