"""The two databases behind the same `Store`: the model, and the real voterdb with its functions and roles."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from runtime import postgres
from tests.contract.store_script import Script
from tests.simulation.database_model import DatabaseModel
from tests.simulation.database_tables import TABLES
from workers.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.servers import Servers
    from tests.contract.store_script import Op

ELECTORATE: Final = "INSERT INTO ballot.electorate (ballot, uin) VALUES ($1, $2) ON CONFLICT DO NOTHING"
REGISTER: Final = """
INSERT INTO ballot.register (ballot, credential_digest, uin, shard, channel, batch, position, issued_us)
VALUES ($1, $2, $3, $4, 'email', 1, $5, 1)
"""
NEVER_REBUILT: Final = "UPDATE ballot.queue_epoch SET number = 0"
READ: Final = {
    "votes": """
        SELECT uin, reference, accepted_us, credential_digest, channel, credential, nonce, sealed, signature,
            sealed_sha256, event, shard, entry, number FROM ballot.votes WHERE ballot = $1""",
    "ip_records": "SELECT event, sealed_ip FROM ballot.ip_records WHERE ballot = $1",
    "returns": """
        SELECT shard, entry, uin, method, received_us, recorded_us, counted
        FROM ballot.returns WHERE ballot = $1""",
    "quarantine": """
        SELECT shard, entry, reason, reference, uin, credential_digest, accepted_us, record
        FROM ballot.quarantine WHERE ballot = $1""",
    "attempts": """
        SELECT shard, entry, kind, outcome, credential_digest, sealed_ip, at_us, count, first_us
        FROM ballot.attempts WHERE ballot = $1""",
    "events": "SELECT kind, actor, detail FROM ballot.events WHERE ballot = $1 ORDER BY seq",
    "turnout": "SELECT minute_us, method, side, votes FROM ballot.turnout WHERE ballot = $1",
    "marks": "SELECT shard, side, entry, entries FROM ballot.marks WHERE ballot = $1",
}


class RealDesk:
    """The desk's part, as the owner."""

    def __init__(self, owner: Any, ballot: str) -> None:
        self._owner = owner
        self._ballot = ballot
        self._position = 0

    async def prepare(self) -> None:
        """The ballot itself."""
        await self._owner.execute(
            "INSERT INTO ballot.ballots (ballot, kind, definition, definition_sha256, shards)"
            " VALUES ($1, 'k', '', $2, 2)",
            self._ballot,
            bytes(32),
        )

    async def issue(self, digest: bytes, uin: bytes, shard: int) -> None:
        """A code of the register; one that is there already stays as it is."""
        self._position += 1
        await self._owner.execute(ELECTORATE, self._ballot, uin)
        try:
            await self._owner.execute(REGISTER, self._ballot, digest, uin, shard, self._position)
        except asyncpg.UniqueViolationError:
            return

    async def revoke(self, digest: bytes, revoked_us: int) -> None:
        """A revocation; the first holds."""
        self._position += 1
        try:
            await self._owner.execute(
                "INSERT INTO ballot.revocations VALUES ($1, $2, $3, 2, $4)",
                self._ballot,
                digest,
                revoked_us,
                self._position,
            )
        except asyncpg.UniqueViolationError:
            return

    async def tables(self) -> dict[str, list[Any]]:
        """Every table a worker writes."""
        found = {}
        for table, query in READ.items():
            rows = [tuple(row) for row in await self._owner.fetch(query, self._ballot)]
            if table == "events":
                found[table] = [(kind, actor, json.loads(detail)) for kind, actor, detail in rows]
            else:
                found[table] = sorted(rows, key=repr)
        return found


class ModelDesk:
    """The desk's part, on the model."""

    def __init__(self, model: DatabaseModel, ballot: str) -> None:
        self._model = model
        self._ballot = ballot

    async def issue(self, digest: bytes, uin: bytes, shard: int) -> None:
        """A code of the register; one that is there already stays as it is."""
        if (self._ballot, digest) not in self._model.tables["register"]:
            self._model.issue(self._ballot, digest, uin, shard)

    async def revoke(self, digest: bytes, revoked_us: int) -> None:
        """A revocation; the first holds."""
        if (self._ballot, digest) not in self._model.tables["revocations"]:
            self._model.revoke(self._ballot, digest, revoked_us)

    async def tables(self) -> dict[str, list[Any]]:
        """Every table a worker writes, as the real one's are read."""
        tables = self._model.tables
        names = [
            *(
                "uin",
                "reference",
                "accepted_us",
                "digest",
                "channel",
                "credential",
                "nonce",
                "sealed",
                "signature",
            ),
            *("sealed_sha256", "event", "shard", "entry", "number"),
        ]
        found = {
            "votes": [tuple(getattr(vote, name) for name in names) for vote in tables["votes"].values()],
            "ip_records": [(event, sealed) for event, (_, sealed) in tables["ip_records"].items()],
            "returns": [
                (shard, entry, row.uin, row.method, row.received_us, row.recorded_us, row.counted)
                for (_, shard, entry), row in tables["returns"].items()
            ],
            "quarantine": [
                (shard, entry, row.reason, row.reference, row.uin, row.digest, row.accepted_us, row.record)
                for (_, shard, entry), row in tables["quarantine"].items()
            ],
            "attempts": [(shard, entry, *row) for (_, shard, entry), row in tables["attempts"].items()],
            "turnout": [(*key[1:], votes) for key, votes in tables["turnout"].items()],
            "marks": [(*key[1:], *row) for key, row in tables["marks"].items()],
        }
        found = {table: sorted(rows, key=repr) for table, rows in found.items()}
        events = [each for each in tables["events"].values() if each.ballot == self._ballot]
        found["events"] = [(each.kind, each.actor, each.detail) for each in events]
        assert not tables.tables.keys() - TABLES
        return found


async def _played(script: Script, ops: Sequence[Op]) -> list[Any]:
    try:
        await script.begin()
        return [await script.answer(op) for op in ops]
    finally:
        await script.end()


def modelled(ballot: str, ops: Sequence[Op]) -> tuple[list[Any], dict[str, list[Any]]]:
    """Every answer of the model, and its tables afterwards."""

    async def play() -> tuple[list[Any], dict[str, list[Any]]]:
        model = DatabaseModel()
        desk = ModelDesk(model, ballot)

        async def connect() -> Any:
            return model.connect()

        answers = await _played(Script(ballot, desk, (Store(connect), Store(connect))), ops)
        return answers, await desk.tables()

    return asyncio.run(play())


def real(servers: Servers, ballot: str, ops: Sequence[Op]) -> tuple[list[Any], dict[str, list[Any]]]:
    """Every answer of the real database, and its tables afterwards."""

    async def connect() -> Any:
        return await postgres.connect(servers, "voterdb", "ballot_worker")

    async def play() -> tuple[list[Any], dict[str, list[Any]]]:
        owner = await postgres.connect(servers, "voterdb", "ballot_owner")
        try:
            desk = RealDesk(owner, ballot)
            await desk.prepare()
            await owner.execute(NEVER_REBUILT)
            answers = await _played(Script(ballot, desk, (Store(connect), Store(connect))), ops)
            tables = await desk.tables()
            await owner.execute(
                "DELETE FROM ballot.marks WHERE ballot = $1", ballot
            )  # no later worker meets it
            return answers, tables
        finally:
            await owner.execute(NEVER_REBUILT)
            await owner.close()

    return asyncio.run(play())
