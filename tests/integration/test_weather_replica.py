"""A queue that was a replica holds another server's data: it is judged anew before it takes a vote."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.integration.intake_rig import until
from tests.integration.intake_scratch import readiness
from tests.integration.weather_rig import edge_of, ready, weather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import redis

VOTERS = 300
RATE = 200


@pytest.mark.long
async def test_a_primary_that_has_lost_votes_to_a_replica_stays_closed(tmp_path: Path) -> None:
    """Primary again in the same run, with the data of one that never had its last votes: none is taken."""
    with weather(tmp_path) as here:
        here.prepare("replica", tmp_path, voters=VOTERS)
        other_place = tmp_path / "other"
        other_place.mkdir()
        with (
            edge_of(here) as edges,
            closing(here.queue.admin()) as admin,
            here.queue.replica(other_place) as other,
        ):
            other.replicaof("127.0.0.1", here.queue.port)
            await until(follows(other))
            other.replicaof("NO", "ONE")
            await ready(here, edges.url)
            async with here.load(edges.url, votes=50, rate=RATE) as load:
                await load.reaches(50)
            await here.balances()

            admin.replicaof("127.0.0.1", other.get_connection_kwargs()["port"])
            await until(follows(admin))
            admin.replicaof("NO", "ONE")

            async with aiohttp.ClientSession(edges.url) as web:
                await becomes(web, "not_trusted", never="ready")
            async with here.load(edges.url, votes=20, rate=RATE) as refused:
                await refused.until(lambda: len(refused.answered()) >= 20)
            assert set(refused.statuses()) == {(503, "not_confirmed")}


async def becomes(web: aiohttp.ClientSession, wanted: str, *, never: str) -> None:
    """Wait until that is the edge's state; it must not be the other on the way."""

    async def there() -> bool:
        state = await readiness(web)
        assert state != never
        return state == wanted

    await until(there)


def follows(server: redis.Redis) -> Callable[[], Awaitable[bool]]:
    """Whether the server has all that its primary has."""

    async def there() -> bool:
        return bool(server.info("replication").get("master_link_status") == "up")

    return there
