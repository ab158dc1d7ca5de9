"""Makes batches of codes on every core, a few ahead of whoever takes them, and gives them in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from runtime import children
from scrutineer import making
from scrutineer.making import Made, Maker, Recipient, Series

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

#: Codes under one signed root, and made by one process at a time: about a third of a second of work.
BATCH_CODES_MAX = 10_000
#: Up to here children take longer to start than the codes to make.
ALONE_CODES_MAX = 2_000
#: Batches made or in the making for each child beyond the one that is taken; bounds the memory.
AHEAD = 2


class Makers:
    """The processes that make `count` codes; leaving the block ends them."""

    def __init__(self, series: Series, *, count: int) -> None:
        self._series = series
        self._processes = children.cores() if count > ALONE_CODES_MAX else 0
        self._pool: ProcessPoolExecutor | None = None
        self._alone: Maker | None = None

    def __enter__(self) -> Self:
        # Made here in any case: keys that are missing are told of before a child starts.
        self._alone = Maker(self._series)
        if self._processes:
            self._pool = children.pool(self._processes, initializer=making.become, initargs=(self._series,))
        return self

    async def made(
        self, recipients: AsyncIterator[Sequence[Recipient]], *, issued_us: int
    ) -> AsyncIterator[Made]:
        """Give batches in the order of the recipients, whose blocks may be of any size."""
        waiting: deque[asyncio.Future[Made]] = deque()
        try:
            async for batch in _batches(recipients):
                waiting.append(self._begin(batch, issued_us))
                if len(waiting) > self._processes * AHEAD:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        except BrokenProcessPool:
            raise click.ClickException("a process that makes codes died; run this again") from None
        finally:
            for future in waiting:
                # What nobody takes any more is neither awaited nor complained of.
                if not future.cancel() and not future.cancelled():
                    future.exception()

    def _begin(self, batch: Sequence[Recipient], issued_us: int) -> asyncio.Future[Made]:
        loop = asyncio.get_running_loop()
        if self._pool is not None:
            return loop.run_in_executor(self._pool, making.make, batch, issued_us)
        if self._alone is None:
            raise AssertionError("codes are made inside the makers' own block")
        done: asyncio.Future[Made] = loop.create_future()
        done.set_result(self._alone.make(batch, issued_us))
        return done

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


async def _batches(recipients: AsyncIterator[Sequence[Recipient]]) -> AsyncIterator[list[Recipient]]:
    """Cut blocks of any size anew, so that each batch but the last is full."""
    batch: list[Recipient] = []
    async for block in recipients:
        batch += block
        while len(batch) >= BATCH_CODES_MAX:
            yield batch[:BATCH_CODES_MAX]
            batch = batch[BATCH_CODES_MAX:]
    if batch:
        yield batch
