"""Whatever client of the queue: a connection that was reset is gone, and who is told to end does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as QueueConnectionError

from runtime import valkey
from runtime.addresses import ValkeyAddress
from runtime.home import Redacted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TURNS_MAX = 200
END_S = 20.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say OK to every command: each begins with how many words it has."""
    with suppress(OSError):
        while line := await reader.readline():
            if line.startswith(b"*"):
                writer.write(b"+OK\r\n")
    writer.close()


@asynccontextmanager
async def settings(*, cluster: bool = False) -> AsyncIterator[Any]:
    """The settings of a queue that answers."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seeds = (("127.0.0.1", port),) if cluster else ()
    address = ValkeyAddress("127.0.0.1", port, cluster=cluster, seeds=seeds)
    try:
        yield SimpleNamespace(valkey=address, credentials=lambda *_: ("us", Redacted("word")))
    finally:
        server.close()


def one_connection(kind: str, servers: Any) -> tuple[Any, Any]:
    """A client, and a connection as it makes them."""
    place = (servers.valkey.host, servers.valkey.port)
    made: Any
    if kind == "private":
        made = valkey.private(servers.valkey, "us", Redacted("word"))
    elif kind in ("node", "pooled"):
        made = getattr(valkey, kind)(servers, "us", *place)
    else:
        made = valkey.connect(servers, "us")
    if kind == "seed":
        return made, made.startup_nodes[0].acquire_connection()
    if kind == "found":
        node = type(made.startup_nodes[0])(*place, **made.nodes_manager.connection_kwargs)
        return made, node.acquire_connection()
    return made, made.connection_pool.make_connection()


@pytest.mark.parametrize("kind", ["connect", "pooled", "node", "private", "seed", "found"])
def test_a_connection_that_was_reset_is_a_connection_error(kind: str) -> None:
    """On uvloop, which says RuntimeError of it: no one's catches know that."""

    async def reset() -> None:
        async with settings(cluster=kind in ("seed", "found")) as servers:
            made, connection = one_connection(kind, servers)
            await connection.connect()
            connection._writer.transport.abort()  # as if by the other end
            await asyncio.sleep(0)
            assert connection.is_connected
            with pytest.raises(QueueConnectionError):
                await connection.send_command("PING")
            assert not connection.is_connected
            await made.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(reset())


async def test_who_sends_ends_at_any_moment() -> None:
    """After each turn of the loop: Python's own wait may keep a cancellation, and a loop would go on."""
    asked = 0
    async with settings() as servers:
        for turns in range(TURNS_MAX):
            client = valkey.node(servers, "us", servers.valkey.host, servers.valkey.port)
            task = asyncio.create_task(client.execute_command("PING"))  # type: ignore[no-untyped-call]
            for _ in range(turns):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.wait({task}, timeout=END_S)
            await client.aclose()
            if done:
                break
            assert task.cancelled(), f"asked after {turns} turns of the loop, it went on"
            asked += 1
    assert 0 < asked < TURNS_MAX


async def test_who_was_told_to_end_may_still_clean_up() -> None:
    """A cancellation that was heard before is not raised again by what is sent afterwards."""
    async with settings() as servers:
        client = valkey.node(servers, "us", servers.valkey.host, servers.valkey.port)
        said: list[object] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                said.append(await client.execute_command("DEL", "x"))  # type: ignore[no-untyped-call]

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=END_S)
        await client.aclose()
        assert task.cancelled()
        assert said == [b"OK"]
