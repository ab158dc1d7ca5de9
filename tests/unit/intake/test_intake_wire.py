"""The connection to one queue server: what goes wrong while it is made leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from intake.gate import Unready
from intake.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Reset:
    """A client whose server resets the connection as the client greets it."""

    def __init__(self) -> None:
        self.connection_pool = self
        self.closed = False

    async def get_connection(self) -> None:
        """Fail as uvloop does."""
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True


async def test_a_server_that_resets_what_is_being_made_is_unreachable() -> None:
    """It is no bug of ours and no alarm: the next try may find it back."""
    client = Reset()
    wire = Wire(lambda: cast("Redis", client), timeout_s=1.0)

    with pytest.raises(Unready) as caught:
        await wire.open()

    assert caught.value.reason == "unreachable"
    assert client.closed
    assert not wire.alive
