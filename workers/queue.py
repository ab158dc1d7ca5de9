"""The workers' side of the queue: read, claim, acknowledge. A worker cannot append, so it cannot cast."""

import contextlib
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from ballot import handoff
from runtime.lifecycle import Fatal, Retry
from workers.entry import Fields

Delivery = tuple[str, Fields | None]
"""An entry's id and fields; None when the stream no longer holds it."""

COPIES_PAGE: Final = 500
CONSUMER_DEAD_MS: Final = 10 * 60 * 1000
"""Idle this long with nothing pending, a consumer's name is forgotten; a live one reads every second."""


class BusyGroupError(Exception):
    """The group is there already."""


class NoStreamError(Retry):
    """The stream, or our group on it, is not there (any more)."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream and its consumer group. `waiting` is what is not acknowledged, delivered or not.

    `acknowledged` counts since the group last began; None when the queue has lost count of what it gave.
    """

    last_id: str
    entries_added: int
    waiting: int
    oldest_id: str | None
    delivered_id: str
    pending: int
    acknowledged: int | None


class Queue:
    """Every method raises Retry while the queue is away, and Fatal when it refuses us."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._grouped: set[str] = set()

    async def published(self, *, but: Collection[str]) -> dict[str, bytes]:
        """What the desk has published, by ballot, leaving out those already known."""
        names = [
            n for n in await self._run(self._client.hkeys(handoff.PUBLISHED_KEY)) if n.decode() not in but
        ]
        if not names:
            return {}
        values = await self._run(self._client.hmget(handoff.PUBLISHED_KEY, names))
        return {name.decode(): value for name, value in zip(names, values, strict=True) if value is not None}

    async def run_id(self) -> str:
        """The name of this life of the server: it changes with every start."""
        return str((await self._run(self._client.info("server")))["run_id"])

    async def trusted_run_id(self) -> str | None:
        """The run for which a worker has given its trust mark."""
        value = await self._run(self._client.get(handoff.TRUST_KEY))
        return None if value is None else value.decode()

    async def trust(self, run_id: str) -> None:
        """Give the trust mark: from here edges take votes."""
        await self._run(self._client.set(handoff.TRUST_KEY, run_id))

    async def accepted(self, ballot: str, shard: int) -> int | None:
        """How many votes the gate of a shard has accepted; None if it was never armed."""
        value = await self._run(self._client.hget(handoff.gate_key(ballot, shard), "accepted"))
        return None if value is None else int(value)

    async def join(self, streams: Sequence[str]) -> None:
        """Make the group on each of these streams, from their beginning, where it is not there yet."""
        for stream in streams:
            if stream in self._grouped:
                continue
            with contextlib.suppress(BusyGroupError):
                await self._run(self._client.xgroup_create(stream, handoff.GROUP, id="0", mkstream=True))
            self._grouped.add(stream)

    async def read_new(
        self, streams: Sequence[str], consumer: str, *, count: int, block_ms: int | None
    ) -> dict[str, list[Delivery]]:
        """Entries that nobody has been given yet, at most `count` of each stream."""
        return await self._read(dict.fromkeys(streams, ">"), consumer, count=count, block_ms=block_ms)

    async def read_own(
        self, streams: Sequence[str], consumer: str, *, count: int
    ) -> dict[str, list[Delivery]]:
        """Entries that this consumer was given and has not acknowledged."""
        return await self._read(dict.fromkeys(streams, "0"), consumer, count=count, block_ms=None)

    async def claim_stale(
        self, streams: Sequence[str], consumer: str, *, idle_ms: int, count: int
    ) -> dict[str, list[Delivery]]:
        """Entries given to some consumer at least `idle_ms` ago and not acknowledged: ours from now on.

        Those that the stream no longer holds come without fields; the group has already forgotten them.
        """
        pipeline = self._client.pipeline(transaction=False)
        for stream in streams:
            pipeline.xautoclaim(stream, handoff.GROUP, consumer, min_idle_time=idle_ms, count=count)
        answers = await self._run(pipeline.execute())
        claimed = {
            stream: [*_deliveries(answer[1]), *((gone.decode(), None) for gone in answer[2])]
            for stream, answer in zip(streams, answers, strict=True)
        }
        return {stream: deliveries for stream, deliveries in claimed.items() if deliveries}

    async def acknowledge(
        self, stream: str, ids: Sequence[str], *, references_key: str, states: Mapping[str, str]
    ) -> None:
        """Write what became of each reference, then acknowledge, in one step."""
        pipeline = self._client.pipeline(transaction=True)
        if states:
            pipeline.hset(references_key, mapping=dict(states))
        pipeline.xack(stream, handoff.GROUP, *ids)
        await self._run(pipeline.execute())

    async def remove(self, stream: str, ids: Sequence[str]) -> None:
        """Acknowledge and delete: for attempts, which nobody reads again."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xack(stream, handoff.GROUP, *ids)
        pipeline.xdel(stream, *ids)
        await self._run(pipeline.execute())

    async def read_after(self, stream: str, entry_id: str, *, count: int) -> list[tuple[str, Fields]]:
        """Entries after `entry_id`, outside any group."""
        answer = await self._run(self._client.xread({stream: entry_id}, count=count))
        return [(i, f) for _, entries in answer or [] for i, f in _deliveries(entries) if f is not None]

    async def extent(self, stream: str) -> tuple[str, int]:
        """The last id a stream ever gave and how many entries it ever took; nothing for one that is gone."""
        try:
            info = await self._run(self._client.xinfo_stream(stream))
        except NoStreamError:
            return "0-0", 0
        return info["last-generated-id"].decode(), info["entries-added"]

    async def peek_waiting(self, stream: str, *, count: int) -> list[tuple[str, Fields]]:
        """The first `count` entries given out and not acknowledged, then as many given to nobody yet.

        Nobody is given any of them by this. What lies acknowledged between them is left out.
        """
        delivered = (await self.state(stream)).delivered_id
        pending = await self._run(
            self._client.xpending_range(stream, handoff.GROUP, min="-", max="+", count=count)
        )
        pipeline = self._client.pipeline(transaction=False)
        for entry_id in [each["message_id"] for each in pending]:
            pipeline.xrange(stream, min=entry_id, max=entry_id)
        pipeline.xrange(stream, min=f"({delivered}", count=count)
        answers = await self._run(pipeline.execute())
        return _whole(dict(_deliveries([entry for answer in answers for entry in answer])).items())

    async def peek_before(self, stream: str, *, count: int) -> list[tuple[str, Fields]]:
        """The last `count` entries that were given to anybody, newest first."""
        delivered = (await self.state(stream)).delivered_id
        return _whole(
            _deliveries(await self._run(self._client.xrevrange(stream, max=delivered, count=count)))
        )

    async def copies(self, stream: str, *, end: str) -> int:
        """How many votes up to `end` repeat the reference and credential of another one before them."""
        seen: set[tuple[bytes | None, bytes | None]] = set()
        copies, start = 0, "-"
        while entries := await self._run(self._client.xrange(stream, min=start, max=end, count=COPIES_PAGE)):
            for _, fields in entries:
                if fields and fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE:
                    vote = (fields.get(handoff.REFERENCE_FIELD), fields.get(handoff.DIGEST_FIELD))
                    copies += vote in seen
                    seen.add(vote)
            start = f"({entries[-1][0].decode()}"
        return copies

    async def last_before(self, stream: str, entry_id: str) -> str | None:
        """The last entry that is there up to and including `entry_id`."""
        entries = await self._run(self._client.xrevrange(stream, max=entry_id, count=1))
        return _deliveries(entries)[0][0] if entries else None

    async def rewind(self, stream: str) -> None:
        """Give the whole stream to the group again, from its beginning."""
        # As a plain command: the client's own method leaves out a zero.
        await self._run(
            self._client.execute_command("XGROUP SETID", stream, handoff.GROUP, "0", "ENTRIESREAD", "0")
        )

    async def state(self, stream: str) -> StreamState:
        """How far the stream and its group have come."""
        info = await self._run(self._client.xinfo_stream(stream))
        groups = await self._run(self._client.xinfo_groups(stream))
        last_id = info["last-generated-id"].decode()
        group = next((g for g in groups if g["name"] == handoff.GROUP.encode()), None)
        if group is None:
            raise NoStreamError("the group is not there")
        delivered = group["last-delivered-id"].decode()
        undelivered = await self._run(self._client.xrange(stream, min=f"({delivered}", count=1))
        oldest = [i for i, _ in _deliveries(undelivered)]
        waiting = group["pending"]
        if waiting:
            summary = await self._run(self._client.xpending(stream, handoff.GROUP))
            if summary["min"] is not None:
                oldest.insert(0, summary["min"].decode())
        if undelivered:
            # The lag is unknown after a deletion in the middle; the length is then the honest upper bound.
            waiting += info["length"] if group.get("lag") is None else max(1, group["lag"])
        read = group.get("entries-read")
        return StreamState(
            last_id=last_id,
            entries_added=info["entries-added"],
            waiting=waiting,
            oldest_id=oldest[0] if oldest else None,
            delivered_id=delivered,
            pending=group["pending"],
            acknowledged=None if read is None else max(0, read - group["pending"]),
        )

    async def forget_dead(self, streams: Sequence[str], *, but: str) -> None:
        """Delete consumers that are long gone and hold nothing."""
        for stream in streams:
            for consumer in await self._run(self._client.xinfo_consumers(stream, handoff.GROUP)):
                name = consumer["name"].decode()
                if name != but and consumer["pending"] == 0 and consumer["idle"] >= CONSUMER_DEAD_MS:
                    await self._run(self._client.xgroup_delconsumer(stream, handoff.GROUP, name))

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _read(
        self, positions: dict[str, str], consumer: str, *, count: int, block_ms: int | None
    ) -> dict[str, list[Delivery]]:
        if not positions:
            return {}
        answer = await self._run(
            self._client.xreadgroup(handoff.GROUP, consumer, positions, count=count, block=block_ms)
        )
        read = {stream.decode(): _deliveries(entries) for stream, entries in answer or []}
        return {stream: deliveries for stream, deliveries in read.items() if deliveries}

    async def _run(self, command: Awaitable[Any]) -> Any:
        try:
            return await command
        except (exceptions.NoPermissionError, exceptions.AuthenticationError) as error:
            raise Fatal(f"queue: {type(error).__name__}") from error
        except exceptions.ResponseError as error:
            text = str(error)
            if text.startswith("BUSYGROUP"):
                raise BusyGroupError(text) from error
            if "NOGROUP" in text or "no such key" in text:
                # The queue has lost a stream: make its group again, and let the trust check speak.
                self._grouped.clear()
                raise NoStreamError(text) from error
            raise Retry(f"queue: {text.split(' ', 1)[0]}") from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise Retry(f"queue: {type(error).__name__}") from error


def _whole(deliveries: Iterable[Delivery]) -> list[tuple[str, Fields]]:
    return [(entry_id, fields) for entry_id, fields in deliveries if fields is not None]


def _deliveries(entries: Any) -> list[Delivery]:
    return [(entry_id.decode(), fields or None) for entry_id, fields in entries]
