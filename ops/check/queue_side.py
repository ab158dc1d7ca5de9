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
from ops.check import queue_rows
from ops.check.findings import Finding, Kind
from ops.check.queue_rows import number, text
from ops.check.scratch import LAST_PLACE, place
from runtime import valkey

if TYPE_CHECKING:
    from ops.check.scratch import Scratch
    from runtime.valkey import Client

PAGE = 2000
GATE_NUMBER = "number"
"""The gate's field that has the number of its last acceptance."""

#: What each of a shard's keys is, in the order of `handoff.shard_keys`.
TYPES = ("hash", "hash", "hash", "hash", "stream", "stream", "hash", "stream", "hash")


@dataclass(frozen=True, slots=True)
class ShardState:
    """What a shard says of itself in one atomic answer."""

    opens_us: int
    closes_us: int
    state: str
    accepted: int
    released: int
    last_place: int
    number: int
    """Of the last acceptance; without one of its own, as many as were accepted."""


UNREADABLE = ShardState(queue_rows.UNREAD, queue_rows.UNREAD, "unreadable", 0, 0, LAST_PLACE, 0)
"""Of a shard that cannot describe itself: what it should describe was overwritten."""


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
    return sorted(text(field) for field in await replies.hkeys(handoff.PUBLISHED_KEY))


class QueueSide:
    """One ballot's shards."""

    def __init__(self, client: Client, ballot: str, shards: int) -> None:
        # redis-py types every reply as text or bytes, sync or async; replies here are bytes and awaited.
        self._client: Any = client
        self.shards = shards
        self._keys = [handoff.shard_keys(ballot, shard) for shard in range(shards)]
        self._acknowledged: list[Acknowledged] = []
        self._ends: list[int] = []
        self._overwritten: set[str] = set()
        self.findings: list[Finding] = []
        """What of the queue could not be read at all."""

    async def read_before(self, tables: Scratch) -> None:
        """Read what must be older than the look into voterdb: acknowledgements, and credentials."""
        await self._look_at_types()
        for shard, keys in enumerate(self._keys):
            self._acknowledged.append(await self._acknowledgements(keys[4]))
            self._ends.append(await self._end(keys[4]))
            await self.read_credentials(tables, shard)

    async def _look_at_types(self) -> None:
        """Name each key that is not what the gate makes; it counts as empty, so what it held is missed."""
        for key, made in ((key, made) for keys in self._keys for key, made in zip(keys, TYPES, strict=True)):
            found = text(await self._client.type(key))
            if found not in {made, "none"}:
                self._overwritten.add(key)
                self.findings.append(Finding(Kind.ALTERED, key, f"this key holds a {found}, not a {made}"))

    async def read_credentials(
        self, tables: Scratch, shard: int, *, only: frozenset[bytes] | None = None
    ) -> None:
        """Read the gate's credentials; with `only`, look those up alone."""
        key = self._keys[shard][1]
        if only is not None and key not in self._overwritten:
            for kept in (gate_layout.credential_field(digest) for digest in only):
                value = await self._client.hget(key, kept)
                if value is not None:
                    tables.add("credentials", [queue_rows.credential(kept, value, shard)])
            return
        async for page in self._hash_pages(key):
            tables.add("credentials", [queue_rows.credential(kept, value, shard) for kept, value in page])

    async def read_after(self, tables: Scratch) -> list[ShardState]:
        """Read what must be newer than the look into voterdb: state, marks, references, then the stream.

        And last what is acknowledged by now: only such an entry may have left the stream.
        """
        states = []
        for shard, keys in enumerate(self._keys):
            state = await self._state(keys)
            states.append(state)
            tables.add("states", [(shard, state.last_place, state.number)])
            async for page in self._hash_pages(keys[0], matching=queue_rows.LOST_PREFIX + b"*"):
                papers = (queue_rows.paper(name, shard) for name, _ in page)
                tables.add("papers", [found for found in papers if found is not None])
            async for page in self._hash_pages(keys[2]):
                tables.add("marks", [queue_rows.mark(uin, value, shard) for uin, value in page])
            async for page in self._hash_pages(keys[3]):
                tables.add("refs", [queue_rows.reference(field, value, shard) for field, value in page])
            await self._read_stream(tables, shard, keys[4], last_place=state.last_place)
            now = await self._acknowledgements(keys[4])
            tables.add("acknowledged", [(shard, now.delivered_place)])
            tables.add("pending", [(shard, entry) for entry in now.pending])
        return states

    async def _state(self, keys: tuple[Any, ...]) -> ShardState:
        try:
            reply = await valkey.fcall(self._client, "ballot_state", keys, read_only=True)
            given = await self._client.hget(keys[0], GATE_NUMBER)
        except ResponseError as error:
            if type(error) is not ResponseError:  # one about the server, not about what it holds
                raise
            self.findings.append(Finding(Kind.ALTERED, keys[0], f"the shard cannot say how it is: {error}"))
            return UNREADABLE
        texts = [text(item) if isinstance(item, bytes) else str(item) for item in reply]
        for at, what in ((4, "accepted"), (6, "released")):
            if number(texts[at]) == queue_rows.UNREAD:
                self.findings.append(Finding(Kind.ALTERED, keys[0], f"its count {what!r} is no number"))
        accepted = number(texts[4], otherwise=0)
        if given is not None and number(given) == queue_rows.UNREAD:
            self.findings.append(Finding(Kind.ALTERED, keys[0], "its count 'number' is no number"))
        return ShardState(
            opens_us=number(texts[0]),
            closes_us=number(texts[1]),
            state=texts[2],
            accepted=accepted,
            released=number(texts[6], otherwise=0),
            last_place=place(texts[11]),
            number=max(number(given or b"0", otherwise=0), accepted),
        )

    async def _acknowledgements(self, key: Any) -> Acknowledged:
        try:
            groups = await self._client.xinfo_groups(key)
        except ResponseError:
            return Acknowledged()  # no stream yet
        for group in groups:
            if text(group["name"]) == handoff.GROUP:
                # Pending first would be wrong: an entry delivered in between must count as pending.
                delivered = text(group["last-delivered-id"])
                return Acknowledged(place(delivered), await self._pending(key))
        return Acknowledged()

    async def _end(self, key: Any) -> int:
        """Return the place of a stream's last entry, -1 without one."""
        if key in self._overwritten:
            return -1
        page = await self._client.xrevrange(key, count=1)
        return place(text(page[0][0])) if page else -1

    async def _pending(self, key: Any) -> frozenset[str]:
        found: set[str] = set()
        start = "-"
        while True:
            page = await self._client.xpending_range(key, handoff.GROUP, start, "+", PAGE)
            found.update(text(row["message_id"]) for row in page)
            if len(page) < PAGE:
                return frozenset(found)
            start = "(" + text(page[-1]["message_id"])

    async def _read_stream(self, tables: Scratch, shard: int, key: Any, *, last_place: int) -> None:
        if key in self._overwritten:
            return
        acknowledged, places = self._acknowledged[shard].covers, (self._ends[shard], last_place)
        start, first = "-", True
        while True:
            page = await self._client.xrange(key, start, "+", PAGE)
            if page and first:
                tables.add("spans", [(shard, place(text(page[0][0])))])
                first = False
                # Trimming leaves this at zero; only a deletion by hand sets it.
                deleted = text((await self._client.xinfo_stream(key))["max-deleted-entry-id"])
                if deleted != "0-0":
                    tables.add("deleted", [(shard, deleted)])
            tables.add(
                "entries",
                [
                    queue_rows.entry(shard, text(i), fields, acknowledged=acknowledged, places=places)
                    for i, fields in page
                ],
            )
            if len(page) < PAGE:
                return
            start = "(" + text(page[-1][0])

    async def _hash_pages(self, key: Any, *, matching: bytes | None = None) -> Any:
        cursor = 0
        while key not in self._overwritten:
            cursor, page = await self._client.hscan(key, cursor, match=matching, count=PAGE)
            yield list(page.items())
            if cursor == 0:
                return
