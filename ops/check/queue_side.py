"""Reads the queue as the user `checker`, which has no command that writes; every read is one bounded page.

Order matters while votes come in. What was acknowledged is noted before voterdb is read, so an acknowledged
entry must be in it. Marks are read after voterdb and before the stream, so every stored vote must have its
mark, and every mark its entry. Entries that came after the shard described itself are `late` and left out of
the books.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from ballot import gate_layout, handoff
from ballot.encoding import Malformed
from ops.check.scratch import place
from runtime import valkey

if TYPE_CHECKING:
    from ops.check.scratch import Scratch
    from runtime.valkey import Client

PAGE = 2000
CORRUPT = "corrupt"
"""The state of a field among the references that is none."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """What a shard says of itself in one atomic answer."""

    opens_us: int
    closes_us: int
    state: str
    accepted: int
    released: int
    last_place: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Which entries the workers had acknowledged: delivered, and not pending."""

    delivered_place: int = -1
    pending: frozenset[str] = field(default_factory=frozenset)

    def covers(self, entry: str) -> bool:
        """Say whether `entry` was acknowledged."""
        return place(entry) <= self.delivered_place and entry not in self.pending


async def published(client: Client) -> list[str]:
    """Return the ids of the ballots that the desk has published, in order."""
    replies: Any = client  # see QueueSide
    return sorted(field.decode() for field in await replies.hkeys(handoff.PUBLISHED_KEY))


class QueueSide:
    """One ballot's shards."""

    def __init__(self, client: Client, ballot: str, shards: int) -> None:
        # redis-py types every reply as text or bytes, sync or async; replies here are bytes and awaited.
        self._client: Any = client
        self._keys = [handoff.shard_keys(ballot, shard) for shard in range(shards)]
        self._acknowledged: list[Acknowledged] = []

    async def read_before(self, tables: Scratch) -> None:
        """Read what must be older than the look into voterdb: acknowledgements, and credentials."""
        for shard, keys in enumerate(self._keys):
            self._acknowledged.append(await self._acknowledgements(keys[4]))
            await self.read_credentials(tables, shard)

    async def read_credentials(
        self, tables: Scratch, shard: int, *, only: frozenset[bytes] | None = None
    ) -> None:
        """Read the gate's credentials; with `only`, look those up alone."""
        key = self._keys[shard][1]
        if only is not None:
            for digest in only:
                value = await self._client.hget(key, gate_layout.credential_field(digest))
                if value is not None:
                    tables.add("credentials", [_credential(digest, value, shard)])
            return
        async for page in self._hash_pages(key):
            tables.add("credentials", [_credential(digest, value, shard) for digest, value in page])

    async def read_after(self, tables: Scratch) -> list[ShardState]:
        """Read what must be newer than the look into voterdb: state, marks, references, then the stream."""
        states = []
        for shard, keys in enumerate(self._keys):
            state = await self._state(keys)
            states.append(state)
            async for page in self._hash_pages(keys[2]):
                tables.add("marks", [_mark(uin, value, shard) for uin, value in page])
            async for page in self._hash_pages(keys[3]):
                tables.add("refs", [_reference(field, value, shard) for field, value in page])
            await self._read_stream(tables, shard, keys[4], last_place=state.last_place)
        return states

    async def _state(self, keys: tuple[Any, ...]) -> ShardState:
        reply = await valkey.fcall(self._client, "ballot_state", keys, read_only=True)
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in reply]
        return ShardState(
            opens_us=int(texts[0]),
            closes_us=int(texts[1]),
            state=texts[2],
            accepted=int(texts[4]),
            released=int(texts[6]),
            last_place=place(texts[11]),
        )

    async def _acknowledgements(self, key: Any) -> Acknowledged:
        try:
            groups = await self._client.xinfo_groups(key)
        except ResponseError:
            return Acknowledged()  # no stream yet
        for group in groups:
            if _text(group["name"]) == handoff.GROUP:
                # Pending first would be wrong: an entry delivered in between must count as pending.
                delivered = _text(group["last-delivered-id"])
                return Acknowledged(place(delivered), await self._pending(key))
        return Acknowledged()

    async def _pending(self, key: Any) -> frozenset[str]:
        found: set[str] = set()
        start = "-"
        while True:
            page = await self._client.xpending_range(key, handoff.GROUP, start, "+", PAGE)
            found.update(_text(row["message_id"]) for row in page)
            if len(page) < PAGE:
                return frozenset(found)
            start = "(" + _text(page[-1]["message_id"])

    async def _read_stream(self, tables: Scratch, shard: int, key: Any, *, last_place: int) -> None:
        acknowledged = self._acknowledged[shard]
        start, first = "-", True
        while True:
            page = await self._client.xrange(key, start, "+", PAGE)
            if page and first:
                tables.add("spans", [(shard, place(_text(page[0][0])))])
                first = False
                # Trimming leaves this at zero; only a deletion by hand sets it.
                deleted = _text((await self._client.xinfo_stream(key))["max-deleted-entry-id"])
                if deleted != "0-0":
                    tables.add("deleted", [(shard, deleted)])
            tables.add("entries", [_entry(shard, _text(i), f, acknowledged, last_place) for i, f in page])
            if len(page) < PAGE:
                return
            start = "(" + _text(page[-1][0])

    async def _hash_pages(self, key: Any) -> Any:
        cursor = 0
        while True:
            cursor, page = await self._client.hscan(key, cursor, count=PAGE)
            yield list(page.items())
            if cursor == 0:
                return


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _credential(digest: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    credential = gate_layout.Credential.from_value(value)
    return (digest, credential.uin, credential.flag, shard)


def _mark(uin: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    mark = gate_layout.Mark.from_value(value)
    return (uin, mark.method, mark.identity or None, mark.at_us, mark.reference or None, shard)


def _reference(field: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """One row, also for what the gate never wrote: `findings.sql` names that by its state."""
    try:
        return (gate_layout.reference_text(field), value.decode(errors="replace"), shard)
    except Malformed:
        return (f"field {field.hex()}", CORRUPT, shard)


def _entry(
    shard: int,
    entry: str,
    fields: dict[bytes, bytes],
    acknowledged: Acknowledged,
    last_place: int,
) -> tuple[Any, ...]:
    reference, method = fields.get(handoff.REFERENCE_FIELD), fields.get(handoff.METHOD_FIELD)
    return (
        shard,
        entry,
        place(entry),
        "vote" if fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE else "return",
        fields.get(handoff.DIGEST_FIELD),
        None if reference is None else reference.decode(),
        int(fields.get(handoff.ACCEPTED_FIELD, b"0")),
        fields.get(handoff.UIN_FIELD),
        None if method is None else method.decode(),
        int(fields.get(handoff.WON_FIELD, b"0")),
        acknowledged.covers(entry),
        place(entry) > last_place,
    )
