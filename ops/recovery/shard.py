"""One shard of the gate, as recovery writes it: bounded calls of the functions in ops/valkey/recovery.lua."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from ballot import gate_layout, handoff
from ballot.encoding import Malformed
from ballot.receipt import parse_reference
from runtime import valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runtime.valkey import Client

CALL_ROWS: Final = 1_000
"""About ten milliseconds of the queue's time: other ballots' votes wait no longer."""

PAGE_ENTRIES: Final = 2_000
PENDING_PAGE: Final = 10_000
ENTRY_FIELDS: Final = 8
TIME_DIGITS_MAX: Final = 16
LOST_FIELD: Final = "recovery_lost"
"""Of the gate: a stored vote's mark or reference was gone (recovery.lua), or a part of the stream."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the stream of votes, without what is sealed; `method` is empty for a vote.

    Anybody may have written it: a `reference` that is none is empty, and who has no UIN won nothing.
    """

    id: str
    vote: bool
    reference: str
    at_us: int
    uin: bytes
    method: str
    won: bool
    number: int | None


@dataclass(frozen=True, slots=True)
class Extent:
    """A stream and its group: `group` is its position, None where there is no group."""

    last: str = "0-0"
    added: int = 0
    length: int = 0
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What a shard says after its window and counters were set."""

    state: str
    closes_us: int
    accepted: int
    released: int
    number: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Known:
    """How much a shard has, as it is."""

    armed: bool
    codes: int
    voters: int
    accepted: int
    released: int
    opens_us: int
    closes_us: int
    closed: bool
    recovering: bool
    epoch: int


class Shard:
    """The nine keys of one shard."""

    def __init__(self, client: Client, ballot: str, shard: int) -> None:
        self._client: Any = client
        self.keys = handoff.shard_keys(ballot, shard)
        self.where = f"shard {shard}"

    async def begin(self, at_us: int) -> None:
        """Close it to whoever takes votes, returns or marks, however late their call comes."""
        await self._call("ballot_recover_begin", [(at_us,)])

    async def lost(self) -> None:
        """Note that it has lost something, before that is mended: a recovery that dies must find it again."""
        await self._client.hset(self.keys[0], LOST_FIELD, 1)

    async def has_lost(self) -> bool:
        """Whether this recovery, or one that was not finished, found that it has lost something."""
        return bool(await self._client.hexists(self.keys[0], LOST_FIELD))

    async def finish(self, epoch: int = 0) -> None:
        """Open it again, with the number of this recovery.

        The number by a plain command: another version's program may have loaded its functions meanwhile.
        """
        if epoch:
            await self._client.hset(self.keys[0], "epoch", epoch)
        await self._call("ballot_recover_finish", [])

    async def credentials(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> tuple[int, int, list[int]]:
        """Put back (digest, uin, flag and channel); how many came, how many are revoked now, conflicts."""
        packed = b"".join([part for row in rows for part in row])
        added, revoked, *conflicts = await self._call("ballot_recover_credentials", [(packed,)])
        return int(added), int(revoked), [int(row) - 1 for row in conflicts]

    async def marks(
        self, rows: Sequence[tuple[bytes, bytes, bytes, bytes]]
    ) -> tuple[int, int, list[tuple[int, bytes]]]:
        """Put back (uin, mark, reference, state); how many marks and references changed, and conflicts.

        A state of `-` goes with no reference.
        """
        packed = b"".join(
            [b"%b%b%c%b%b" % (uin, state, len(mark), mark, reference) for uin, mark, reference, state in rows]
        )
        added, changed, *told = await self._call("ballot_recover_marks", [(packed,)])
        conflicts = [(int(told[i]) - 1, bytes(told[i + 1])) for i in range(0, len(told), 2)]
        return int(added), int(changed), conflicts

    async def releases(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        """Take away the marks of released votes (uin, reference); how many there were."""
        return int(await self._call("ballot_recover_releases", rows))

    async def lost_returns(self, rows: Sequence[tuple[str, int, bytes]]) -> int:
        """Remember returns that lost (letter, received_us, uin); how many were not known."""
        return int(await self._call("ballot_recover_lost", rows))

    async def window(self, *numbers: int) -> Window:
        """Set window and counters: the arguments of ballot_recover_shard."""
        state, closes_us, accepted, released, number, changed = await self._call(
            "ballot_recover_shard", [numbers]
        )
        return Window(
            bytes(state).decode(), int(closes_us), int(accepted), int(released), int(number), bool(changed)
        )

    async def known(self) -> Known:
        """Count what is here."""
        names = ("opens_us", "closes_us", "state", "accepted", "released", "recovering", "epoch")
        opens_us, closes_us, state, accepted, released, begun, epoch = await self._client.hmget(
            self.keys[0], *names
        )
        return Known(
            armed=opens_us is not None,
            codes=await self._client.hlen(self.keys[1]),
            voters=await self._client.hlen(self.keys[2]),
            accepted=whole(accepted),
            released=whole(released),
            opens_us=whole(opens_us),
            closes_us=whole(closes_us),
            closed=state == b"closed",
            recovering=begun is not None,
            epoch=handoff.epoch(epoch),
        )

    async def current(self, digests: Sequence[bytes]) -> int:
        """How many of these codes the gate takes votes with."""
        found = 0
        for first in range(0, len(digests), CALL_ROWS):
            values = await self._client.hmget(self.keys[1], digests[first : first + CALL_ROWS])
            found += sum(value is not None and value[16:17] != handoff.REVOKED_FLAG for value in values)
        return found

    async def number(self) -> int:
        """The largest number that this copy of the gate gave out."""
        told = await self._client.hmget(self.keys[0], "number", "accepted")
        return max(map(whole, told))

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """Give the stream of votes, a page at a time."""
        start: str | bytes = "-"
        while True:
            reply = await valkey.fcall(
                self._client, "ballot_recover_entries", self.keys, start, PAGE_ENTRIES, read_only=True
            )
            rows = [reply[i : i + ENTRY_FIELDS] for i in range(2, len(reply), ENTRY_FIELDS)]
            if rows:
                yield [_entry(row) for row in rows]
            if int(reply[0]) < PAGE_ENTRIES:
                return
            start = b"(" + bytes(reply[1])

    async def extent(self, key: str) -> Extent:
        """How far a stream and its group have come; nothing for one that is gone."""
        try:
            info = await self._client.xinfo_stream(key)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return Extent()
        groups = await self._client.xinfo_groups(key)
        ours = [each for each in groups if each["name"] == handoff.GROUP.encode()]
        position = ours[0]["last-delivered-id"].decode() if ours else None
        return Extent(
            info["last-generated-id"].decode(), int(info["entries-added"]), int(info["length"]), position
        )

    async def pending(self) -> set[str]:
        """The entries of the votes stream that were given out and not acknowledged."""
        found: set[str] = set()
        start = "-"
        while True:
            page = await self._client.xpending_range(
                self.keys[4], handoff.GROUP, min=start, max="+", count=PENDING_PAGE
            )
            found.update(each["message_id"].decode() for each in page)
            if len(page) < PENDING_PAGE:
                return found
            start = "(" + page[-1]["message_id"].decode()

    async def set_stream(self, key: str, *, last: str, added: int, position: str, read: int) -> None:
        """Make a stream end at `last`, and its group go on after `position`."""
        before = await self.extent(key)
        if before.group is None:
            create = ("XGROUP CREATE", key, handoff.GROUP, position, "MKSTREAM", "ENTRIESREAD", read)
            with suppress(ResponseError):  # a worker was sooner; anything else shows below
                await self._does(key, *create)
        await self._does(key, "XSETID", key, last, "ENTRIESADDED", added)
        await self._does(key, "XGROUP SETID", key, handoff.GROUP, position, "ENTRIESREAD", read)

    async def _call(self, function: str, rows: Sequence[tuple[bytes | str | int, ...]]) -> Any:
        arguments = [each for row in rows for each in row]
        return await valkey.fcall(self._client, function, self.keys, *arguments)

    async def _does(self, key: str, *command: str | int) -> None:
        if isinstance(self._client, RedisCluster):
            holder = self._client.get_node_from_key(key)
            await self._client.execute_command(*command, target_nodes=holder)
        else:
            await self._client.execute_command(*command)


def whole(value: bytes | None) -> int:
    """A number of the gate's; 0 for what recovery.lua would not take for one either."""
    return int(value) if value is not None and value.isdigit() and len(value) <= TIME_DIGITS_MAX else 0


def reference_field(reference: str) -> bytes:
    """A reference as the gate keeps it; zeros, which no vote has, for what is no reference."""
    try:
        return gate_layout.reference_field(reference)
    except Malformed:
        return bytes(10)


def _entry(row: list[bytes]) -> Entry:
    name, kind, reference, at, uin, method, won, number = (bytes(each) for each in row)
    return Entry(
        name.decode(),
        kind == handoff.KIND_VOTE,
        _reference(reference),
        int(at) if at.isdigit() and len(at) <= TIME_DIGITS_MAX else 0,
        uin,
        "" if kind == handoff.KIND_VOTE else method.decode("ascii", "backslashreplace"),
        won == b"1" and len(uin) == handoff.UIN_BYTES,
        int(number) if number.isdigit() and len(number) <= handoff.NUMBER_DIGITS_MAX else None,
    )


def _reference(text: bytes) -> str:
    """A reference as the gate writes it; nothing for anything else, of which no database takes every byte."""
    try:
        reference = text.decode("ascii")
        return reference if parse_reference(reference) == reference else ""
    except (UnicodeDecodeError, Malformed):
        return ""
