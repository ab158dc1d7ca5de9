"""A process that no longer sends votes ends, loudly, instead of listening on."""

import asyncio

import pytest

from intake.process import _until_asked
from runtime.lifecycle import Fatal, Stop


async def test_it_ends_when_asked() -> None:
    """The ordinary case."""
    stop, queue = Stop(), asyncio.create_task(asyncio.sleep(60))
    stop.request()

    await _until_asked(stop, queue)
    assert not queue.done()  # votes under way are still to be sent
    queue.cancel()


async def test_it_ends_when_nothing_sends_the_votes() -> None:
    """A bug there is fatal: the parent starts another process."""

    async def broken() -> None:
        raise ValueError("secret")

    with pytest.raises(Fatal, match="ValueError") as caught:
        await _until_asked(Stop(), asyncio.create_task(broken()))
    assert "secret" not in str(caught.value)
