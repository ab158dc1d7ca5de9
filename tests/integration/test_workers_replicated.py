"""At level `replicated` a worker stores what is on every replica's disk, and nothing before."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff
from runtime.home import Home
from runtime.lifecycle import Retry
from runtime.nodes import Nodes
from runtime.servers import servers
from tests.conftest import environment_for
from tests.integration import cluster_rig
from workers.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.servers import Servers
    from tests.integration.cluster_rig import Node, Rig

STREAM = handoff.votes_key("b", 0)
FIRST = {STREAM: "0"}
PROMPT_S = 0.5
TURNS = 20


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A primary and a replica."""
    with cluster_rig.replicated(Home.from_environment(environment_for(tmp_path / "home")), tmp_path) as found:
        yield found


@pytest.fixture
def found(rig: Rig) -> Iterator[Servers]:
    """The servers as a worker finds them; it uses no database here."""
    env = environment_for(rig.home.path)
    env["BALLOT_VALKEY_URL"] = rig.url
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    with servers(rig.home, env) as given:
        yield given


async def test_entries_are_handed_on_once_replicas_have_them(rig: Rig, found: Servers) -> None:
    """By every way to read: none with the replica stopped, all soon after."""
    primary, replica = rig.nodes
    queue = Queue(Nodes(found, "worker"), replicas=1)
    await queue.join([STREAM])
    entry = primary.ask("XADD", STREAM, "*", "k", "v").decode()
    assert len(await queue.read_after(STREAM, "0-0", count=9)) == 1
    rig.stop(replica)

    for read in (
        lambda: queue.read_new([STREAM], "one", count=9, block_ms=None),
        lambda: queue.read_own(FIRST, "one", count=9),
        lambda: queue.claim_stale([STREAM], "two", idle_ms=0, count=9),
        lambda: queue.read_after(STREAM, "0-0", count=9),
    ):
        with pytest.raises(Retry, match="not yet on every replica's disk"):
            await read()
    assert [(i.decode(), name) for i, name, *_ in _pending(primary)] == [(entry, b"two")]

    rig.resume(replica)
    began_s = time.monotonic()
    assert [i for i, _ in (await queue.read_own(FIRST, "two", count=9))[STREAM]] == [entry]
    for _ in range(3):
        primary.ask("XADD", STREAM, "*", "k", "v")
        assert len((await queue.read_new([STREAM], "one", count=9, block_ms=200))[STREAM]) == 1
    assert time.monotonic() - began_s < 4 * PROMPT_S
    (consumers,) = [group["consumers"] for group in await _groups(queue)]
    assert consumers == 2  # what was written for the wait has left nothing behind
    await queue.close()


async def test_two_readers_of_one_worker_wait_side_by_side(rig: Rig, found: Servers) -> None:
    """Storing and turnout read the same stream at once, again and again, and neither fails for the other."""
    queue = Queue(Nodes(found, "worker"), replicas=1)
    await queue.join([STREAM])
    rig.nodes[0].ask("XADD", STREAM, "*", "k", "v")
    await queue.read_new([STREAM], "one", count=9, block_ms=None)
    for _ in range(TURNS):
        await asyncio.gather(
            *(queue.read_after(STREAM, "0-0", count=9) for _ in range(4)),
            queue.read_own(FIRST, "one", count=9),
        )
    assert [group["consumers"] for group in await _groups(queue)] == [1]
    await queue.close()


async def test_nothing_is_handed_on_beside_replicas_that_are_not_waited_for(rig: Rig, found: Servers) -> None:
    """A worker at level `disk` stops while a replica is there, and goes on when it is gone."""
    primary, replica = rig.nodes
    queue = Queue(Nodes(found, "worker"))
    await queue.join([STREAM])
    primary.ask("XADD", STREAM, "*", "k", "v")
    for read in (
        lambda: queue.read_new([STREAM], "one", count=9, block_ms=None),
        lambda: queue.read_own(FIRST, "one", count=9),
        lambda: queue.read_after(STREAM, "0-0", count=9),
    ):
        with pytest.raises(Retry, match="1 replicas and BALLOT_DURABILITY waits for 0"):
            await read()

    rig.promote(replica)
    cluster_rig.until(lambda: primary.ask("ROLE")[2] == [], "the primary to know")
    assert len((await queue.read_own(FIRST, "one", count=9))[STREAM]) == 1
    await queue.close()


def _pending(primary: Node) -> Any:
    return primary.ask("XPENDING", STREAM, handoff.GROUP, "-", "+", 9)


async def _groups(queue: Queue) -> list[dict[str, int]]:
    found: list[dict[str, int]] = await queue.on(STREAM, lambda client: client.xinfo_groups(STREAM))
    return found
