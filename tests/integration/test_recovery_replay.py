"""A voter database put back to an older moment under a queue that is intact, and trimmed: nothing is lost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff
from tests.integration.workers_ground import Ground, Rig, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Stack

TABLES = ("votes", "returns", "quarantine", "turnout", "marks")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """The worker checks signatures itself."""
    pool = Verifier(0)
    yield pool
    pool.close()


class Copies:
    """The ballot's rows as of some moments."""

    def __init__(self, made: Ground) -> None:
        self._made = made
        self._rows: dict[str, list[Any]] = {}

    async def take(self) -> None:
        """Keep the rows as they are."""
        for table in TABLES:
            await self._made.owner.execute(
                f"CREATE TEMP TABLE older_{table} AS SELECT * FROM ballot.{table}"  # noqa: S608  # ours
                f" WHERE ballot = '{self._made.ballot}'"
            )

    async def put_back(self) -> None:
        """Put the rows of then in the place of those of now."""
        owner = self._made.owner
        await owner.execute("SET session_replication_role = replica")
        for table in TABLES:
            await owner.execute(f"DELETE FROM ballot.{table} WHERE ballot = $1", self._made.ballot)  # noqa: S608  # ours
            await owner.execute(f"INSERT INTO ballot.{table} SELECT * FROM older_{table}")  # noqa: S608  # ours
        # An address is found by its event, which is drawn anew: those of the forgotten votes are forgotten.
        await owner.execute(
            "DELETE FROM ballot.ip_records WHERE ballot = $1"
            " AND event NOT IN (SELECT event FROM ballot.votes)",
            self._made.ballot,
        )
        await owner.execute("SET session_replication_role = origin")


@asynccontextmanager
async def working(made: Ground, verifier: Verifier) -> AsyncIterator[Rig]:
    """A worker that has just started."""
    async with made.worker(verifier) as rig:
        yield rig


async def settle(rig: Rig) -> int:
    """Store, look whether the database forgot, store again and count; how often it was rewound."""
    rewound = 0
    for _ in range(3):
        await rig.drain()
        rig.restored._looked_s -= 60
        rewound += len(await rig.restored.check())
    await rig.drain()
    while await rig.turnout.run_once():
        pass
    return rewound


@pytest.mark.parametrize("trimmed", [False, True], ids=["whole", "trimmed"])
async def test_an_older_voter_database_comes_back_to_the_last_vote(
    stack: Stack, ballot_id: str, verifier: Verifier, trimmed: bool
) -> None:
    """Votes, returns, quarantine and the turnout by minute are what they were; one rewind is enough."""
    async with ground(stack, ballot_id) as made:
        voters, copies = await made.voters(16), Copies(made)
        async with working(made, verifier) as rig:
            for voter in voters[:6]:
                await made.cast(voter)
            await settle(rig)
            await copies.take()
            for voter in voters[6:12]:
                await made.cast(voter)
            await made.cast(voters[12], signer=voters[13].key)
            await made.fcall("ballot_return", 0, voters[14].uin, "postal", "1760000000000000")
            await settle(rig)
        now = await _books(made)
        stream = handoff.votes_key(made.ballot, 0)
        if trimmed:
            covered = await made.owner.fetchval(
                "SELECT entry FROM older_marks WHERE side = 'stored' AND shard = 0"
            )
            await made.admin.xtrim(stream, minid=covered, approximate=False)

        await copies.put_back()
        assert await _books(made) != now
        async with working(made, verifier) as rig:
            assert await settle(rig) == 1
            assert await _books(made) == now
            assert await settle(rig) == 0


async def _books(made: Ground) -> dict[str, Any]:
    """What the database has, without what is drawn or dated anew when a vote is stored again."""
    votes = {(row["uin"], row["reference"], row["sealed"], row["number"]) for row in await made.rows("votes")}
    return {
        "votes": votes,
        "returns": {(row["uin"], row["entry"], row["counted"]) for row in await made.rows("returns")},
        "quarantine": {(row["entry"], row["reason"]) for row in await made.rows("quarantine")},
        "turnout": {
            (row["minute_us"], row["method"], row["side"], row["votes"]) for row in await made.rows("turnout")
        },
        "marks": {(row["side"], row["entry"], row["entries"]) for row in await made.rows("marks")},
    }
