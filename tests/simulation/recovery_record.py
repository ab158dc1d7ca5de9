"""What recovery asks the voter database, answered from the model's tables: each query by its name there.

What writes (the number, the turnout, the event) goes over the simulated connection and waits for whoever
stores, as there; what only reads is as committed when it is asked.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ballot import gate_layout
from ops.recovery import conflicts, jumps, record
from tests.simulation.database_functions import entry_order
from tests.simulation.material import BALLOT, material

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.simulation.database_model import Connection
    from tests.simulation.database_tables import Held, Return, Table, Vote
    from tests.simulation.world import World

Row = dict[str, Any]


class RecoveryRecord:
    """As much of an asyncpg connection of recovery's role as the merge and the fence use."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.world = world
        self._connection = connection

    def transaction(self, *, readonly: bool = False, isolation: str = "") -> Any:
        """One that writes; a snapshot is what is there anyway, for nobody stores after the fence."""
        if readonly or isolation:
            return _nothing()
        return self._connection.transaction()

    async def execute(self, query: str) -> None:
        """A setting."""
        if not query.startswith("SET LOCAL"):
            raise NotImplementedError(query)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """A function."""
        return await self._connection.fetchval(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """The first row."""
        found = await self.fetch(query, *arguments)
        return found[0] if found else None

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """All rows."""
        await self._connection.execute("DISCARD PLANS")  # there and back
        return self._rows(query, *arguments)

    async def cursor(self, query: str, *arguments: Any) -> Cursor:
        """All rows, in one page."""
        return Cursor(await self.fetch(query, *arguments))

    def _table(self, name: str) -> Table:
        return self.world.database.committed(name)

    @property
    def _votes(self) -> list[Vote]:
        return [*self._table("votes").values()]

    @property
    def _held(self) -> list[tuple[int, str, Held]]:
        return [(shard, entry, held) for (_, shard, entry), held in self._table("quarantine").items()]

    @property
    def _returns(self) -> list[tuple[int, str, Return]]:
        return [(shard, entry, made) for (_, shard, entry), made in self._table("returns").items()]

    def _rows(self, query: str, *arguments: Any) -> list[Any]:
        answers: dict[str, Any] = {
            record.BALLOTS: self._ballots,
            record.CREDENTIALS: self._credentials,
            record.VOTES: self._marked,
            record.RETURNS: self._returned,
            record.HELD: self._quarantined,
            record.MARKS: self._marks,
            record.ATTEMPTS: self._attempts,
            record.UNSTORED: self._unstored,
            record.KEPT: self._kept,
            conflicts.KNOWN: self._known,
            conflicts.RETURNED: self._papers,
            jumps.EARLIER: self._earlier,
            jumps.RELEASES: lambda *_: [],
            jumps.STORED: self._largest,
            jumps.NAMED: lambda *_: [],
            jumps.WITHOUT: lambda *_: [],
        }
        if query not in answers:
            raise NotImplementedError(query)
        found: list[Any] = answers[query](*arguments)
        return found

    def _ballots(self) -> list[Row]:
        plan, made = self.world.plan, material()
        return [
            {
                "ballot": BALLOT,
                "shards": plan.shards,
                "opens_us": plan.opens_us,
                "closes_us": plan.closes_us,
                "document": made.document.canonical,
                "document_signature": made.document_signature,
            }
        ]

    def _credentials(self, _: str) -> list[Any]:
        revoked = self._table("revocations")
        return [
            (shard, digest[:16], uin, "email", revoked.get((ballot, digest)))
            for (ballot, digest), (uin, shard) in self._table("register").items()
        ]

    def _marked(self, _: str) -> list[Any]:
        return [
            (vote.shard, vote.uin, vote.reference, vote.accepted_us, vote.number, _head(vote))
            for vote in self._votes
        ]

    def _returned(self, _: str) -> list[Any]:
        return [
            (shard, made.uin, made.method, made.received_us, made.recorded_us, made.counted)
            for shard, _, made in self._returns
        ]

    def _quarantined(self, _: str) -> list[Row]:
        voted = {vote.uin for vote in self._votes} | {
            made.uin for _, _, made in self._returns if made.counted
        }
        held = sorted(self._held, key=lambda each: (each[2].accepted_us or 0, entry_order(each[1])))
        return [
            {
                "shard": shard,
                "uin": each.uin,
                "reference": each.reference,
                "credential_digest": each.digest,
                "accepted_us": each.accepted_us,
                "record": each.record,
                "released": False,
                "other": each.uin in voted,
            }
            for shard, _, each in held
            if each.reference is not None and each.uin is not None
        ]

    def _marks(self, _: str) -> list[Row]:
        return [
            {"shard": shard, "side": side, "entry": entry, "entries": entries}
            for (_, shard, side), (entry, entries) in self._table("marks").items()
        ]

    def _attempts(self, _: str) -> list[Row]:
        last: dict[int, str] = {}
        for _, shard, entry in self._table("attempts"):
            last[shard] = max(last.get(shard, "0-0"), entry, key=entry_order)
        return [{"shard": shard, "entry": entry} for shard, entry in sorted(last.items())]

    def _unstored(self, _: str, shard: int, names: Sequence[str], references: Sequence[str]) -> list[Row]:
        votes = {(vote.reference, vote.entry) for vote in self._votes}
        others = {entry for of, entry, _ in (*self._held, *self._returns) if of == shard}
        return [
            {"entry": name}
            for name, reference in zip(names, references, strict=True)
            if (reference, name) not in votes and name not in others
        ]

    def _kept(self, _: str) -> list[Row]:
        return [
            {"shard": shard, "entry": entry, "reference": each.reference, "record": each.record}
            for shard, entry, each in self._held
        ]

    def _known(self, _: str, references: Sequence[str]) -> list[Row]:
        return [{"reference": vote.reference} for vote in self._votes if vote.reference in references]

    def _papers(self, _: str, uins: Sequence[bytes]) -> list[Row]:
        return [{"uin": made.uin} for _, _, made in self._returns if made.counted and made.uin in uins]

    def _largest(self, _: str, shards: Sequence[int], most: Sequence[int]) -> list[Row]:
        found: dict[int, int] = {}
        up_to = dict(zip(shards, most, strict=True))
        for vote in self._votes:
            if vote.number is not None and vote.number <= up_to.get(vote.shard, 0):
                found[vote.shard] = max(found.get(vote.shard, 0), vote.number)
        return [{"shard": shard, "number": number} for shard, number in sorted(found.items())]

    def _earlier(self, _: str) -> list[Any]:
        for event in reversed(self._table("events").values()):
            if event.kind == "recovery.performed":
                found = event.detail["ballots"][BALLOT]
                return [(json.dumps(found["skipped"]), json.dumps(found["unaccounted"]))]
        return []


class Cursor:
    """A server-side cursor that gives all at once."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    async def fetch(self, _: int) -> list[Any]:
        """What is left."""
        rows, self._rows = self._rows, []
        return rows


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _head(vote: Vote) -> bytes:
    """A stored vote's mark as the gate packs it, but for the reference."""
    identity = gate_layout.identity(vote.sealed, vote.nonce, vote.signature)
    return gate_layout.Mark("e", vote.accepted_us, identity, vote.reference).to_value()[:24]
