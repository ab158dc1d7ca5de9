"""The workers' side of the queue: read, claim, acknowledge. A worker cannot append, so it cannot cast.

Every command goes to the primary that holds its key. At level `replicated` no entry is handed on before it is
on the disks of all replicas: what was stored of an entry that a failover then loses could be accepted again.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ballot import handoff
from runtime.lifecycle import Retry
from runtime.nodes import Nodes, Primary
from workers.entry import Fields
from workers.gates import Gates
from workers.link import BusyGroupError, NoStreamError, OtherKindError

Delivery = tuple[str, Fields | None]
"""An entry's id and fields; None when the stream no longer holds it."""

BEGINNING: Final = "0"
COPIES_PAGE: Final = 500
CONSUMER_DEAD_MS: Final = 10 * 60 * 1000
"""Idle this long with nothing pending, a consumer's name is forgotten; a live one reads every second."""
POLL_MS: Final = 50
"""How often the streams of a Cluster are looked at: no command can wait for several slots at once."""
ASK_REPLICAS_MS: Final = 100
"""How long each of the two questions waits for the replicas before both are asked again."""
WAIT_REPLICAS_S: Final = 1.0


class Given(dict[str, list[Delivery]]):
    """What each stream gave. The primary of those in `unheard` failed; it may have given us some too."""

    unheard: frozenset[str] = frozenset()


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


class Queue(Gates):
    """Every method raises Retry while the queue is away, and Fatal when it refuses us.

    `replicas` is on how many replicas' disks an entry must be before it is handed on; 0 at level `disk`. None
    is handed on while a primary has more of them: one that took its place could lack what is stored.
    """

    def __init__(self, nodes: Nodes, *, replicas: int = 0) -> None:
        super().__init__(nodes)
        self._replicas = replicas

    async def published(self, *, but: Collection[str]) -> dict[str, bytes]:
        """What the desk has published, by ballot, leaving out those already known."""
        key = handoff.PUBLISHED_KEY
        found = await self.on(key, lambda client: client.hkeys(key))
        names = [name for name in found if name.decode() not in but]
        if not names:
            return {}
        values = await self.on(key, lambda client: client.hmget(key, names))
        return {name.decode(): value for name, value in zip(names, values, strict=True) if value is not None}

    async def runs(self) -> tuple[dict[str, Primary], int]:
        """Every primary that answers by the name of its present run, and how many do not answer.

        The name changes with every start of a server, and when it has become another's replica or its own
        primary again.
        """
        primaries = await self.asking(self.nodes.primaries(anew=True))
        asked = [self.asking(primary.client.info("server", "replication")) for primary in primaries]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        runs: dict[str, Primary] = {}
        for primary, answer in zip(primaries, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, Retry) or len(primaries) == 1:
                    raise answer
            else:
                runs[handoff.run_name(str(answer["run_id"]), str(answer["master_replid"]))] = primary
        return runs, len(primaries) - len(runs)

    async def trusted(self) -> set[str]:
        """The runs for which a worker has given its trust mark."""
        key = handoff.TRUST_KEY
        try:
            return {name.decode() for name in await self.on(key, lambda client: client.hkeys(key))}
        except OtherKindError:
            # An earlier version kept one run's name there.
            await self.on(key, lambda client: client.delete(key))
            return set()

    async def recovering(self) -> bool:
        """Whether `ballot recover` is at work on this queue, or must be."""
        return bool(await self.on(handoff.RECOVERING_KEY, lambda c: c.exists(handoff.RECOVERING_KEY)))

    async def epoch(self) -> int:
        """How often the queue was rebuilt; read before the entries that are stored with it."""
        key = handoff.EPOCH_KEY
        return handoff.epoch(await self.on(key, lambda client: client.get(key)))

    async def trust(self, run_id: str) -> None:
        """Give the trust mark: from here edges take votes for this primary."""
        await self.on(handoff.TRUST_KEY, lambda client: client.hset(handoff.TRUST_KEY, run_id, "1"))

    async def distrust(self, run_ids: Collection[str]) -> None:
        """Take trust marks back."""
        key = handoff.TRUST_KEY
        if run_ids:
            await self.on(key, lambda client: client.hdel(key, *run_ids))

    async def join(self, streams: Sequence[str]) -> None:
        """Make the group on each of these streams, from their beginning, where it is not there yet."""
        for stream in [stream for stream in streams if stream not in self.grouped]:
            with contextlib.suppress(BusyGroupError):
                await self.on(stream, partial(_make_group, stream=stream))
            self.grouped.add(stream)

    async def read_new(
        self, streams: Sequence[str], consumer: str, *, count: int, block_ms: int | None
    ) -> Given:
        """Entries that nobody has been given yet, at most `count` of each stream."""
        if not streams:
            return Given()
        after, found = dict.fromkeys(streams, ">"), Given()
        if not self.nodes.cluster or len(streams) == 1:
            return await self._read(after, consumer, count=count, block_ms=block_ms)
        for _ in range(1 + (block_ms or 0) // POLL_MS):
            found = await self._read(after, consumer, count=count)
            if found or found.unheard:
                return found
            if block_ms:
                await asyncio.sleep(POLL_MS / 1000)
        return found

    async def read_own(self, after: Mapping[str, str], consumer: str, *, count: int) -> Given:
        """Entries after those in `after` that this consumer was given and has not acknowledged."""
        return await self._read(after, consumer, count=count)

    async def claim_stale(self, streams: Sequence[str], consumer: str, *, idle_ms: int, count: int) -> Given:
        """Entries given to some consumer at least `idle_ms` ago and not acknowledged: ours from now on.

        Those that the stream no longer holds come without fields; the group has already forgotten them.
        """

        async def claim(client: Any, share: list[str]) -> list[tuple[str, list[Delivery]]]:
            pipeline = client.pipeline(transaction=False)
            for stream in share:
                pipeline.xautoclaim(stream, handoff.GROUP, consumer, min_idle_time=idle_ms, count=count)
            claimed = [
                (stream, [*_deliveries(answer[1]), *((gone.decode(), None) for gone in answer[2])])
                for stream, answer in zip(share, await pipeline.execute(), strict=True)
            ]
            return await self._on_replicas(client, claimed)

        return _given(*await self.across(streams, claim))

    async def acknowledge(
        self, stream: str, ids: Sequence[str], *, references_key: str, states: Mapping[bytes, str]
    ) -> None:
        """Write what became of each reference, then acknowledge, in one step."""

        async def work(client: Any) -> None:
            pipeline = client.pipeline(transaction=True)
            if states:
                pipeline.hset(references_key, mapping=dict(states))
            pipeline.xack(stream, handoff.GROUP, *ids)
            await pipeline.execute()

        await self.on(stream, work)

    async def remove(self, stream: str, ids: Sequence[str]) -> None:
        """Acknowledge and delete: for attempts, which nobody reads again."""

        async def work(client: Any) -> None:
            pipeline = client.pipeline(transaction=True)
            pipeline.xack(stream, handoff.GROUP, *ids)
            pipeline.xdel(stream, *ids)
            await pipeline.execute()

        await self.on(stream, work)

    async def read_after(self, stream: str, entry_id: str, *, count: int) -> list[tuple[str, Fields]]:
        """Entries after `entry_id`, outside any group."""

        async def work(client: Any) -> list[tuple[str, list[Delivery]]]:
            answer = await client.xread({stream: entry_id}, count=count)
            return await self._on_replicas(client, [(stream, _deliveries(each)) for _, each in answer or []])

        return _whole([each for _, entries in await self.on(stream, work) for each in entries])

    async def extent(self, stream: str) -> tuple[str, int]:
        """The last id a stream ever gave and how many entries it ever took; nothing for one that is gone."""
        try:
            info = await self.on(stream, lambda client: client.xinfo_stream(stream))
        except NoStreamError:
            return "0-0", 0
        return info["last-generated-id"].decode(), info["entries-added"]

    async def peek_waiting(self, stream: str, *, count: int) -> list[tuple[str, Fields]]:
        """The first `count` entries given out and not acknowledged, then as many given to nobody yet.

        Nobody is given any of them by this. What lies acknowledged between them is left out.
        """
        delivered = (await self.state(stream)).delivered_id

        async def work(client: Any) -> Any:
            pending = await client.xpending_range(stream, handoff.GROUP, min="-", max="+", count=count)
            pipeline = client.pipeline(transaction=False)
            for entry_id in [each["message_id"] for each in pending]:
                pipeline.xrange(stream, min=entry_id, max=entry_id)
            pipeline.xrange(stream, min=f"({delivered}", count=count)
            return await pipeline.execute()

        answers = await self.on(stream, work)
        return _whole(dict(_deliveries([entry for answer in answers for entry in answer])).items())

    async def peek_before(self, stream: str, *, count: int) -> list[tuple[str, Fields]]:
        """The last `count` entries that were given to anybody, newest first."""
        delivered = (await self.state(stream)).delivered_id
        entries = await self.on(stream, lambda client: client.xrevrange(stream, max=delivered, count=count))
        return _whole(_deliveries(entries))

    async def copies(self, stream: str, *, end: str) -> int:
        """How many votes up to `end` repeat the reference and credential of another one before them."""
        seen: set[tuple[bytes | None, bytes | None]] = set()
        copies, start = 0, "-"
        while entries := await self._page(stream, start, end):
            for _, fields in entries:
                if fields and fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE:
                    vote = (fields.get(handoff.REFERENCE_FIELD), fields.get(handoff.DIGEST_FIELD))
                    copies += vote in seen
                    seen.add(vote)
            start = f"({entries[-1][0].decode()}"
        return copies

    async def last_before(self, stream: str, entry_id: str) -> str | None:
        """The last entry that is there up to and including `entry_id`."""
        entries = await self.on(stream, lambda client: client.xrevrange(stream, max=entry_id, count=1))
        return _deliveries(entries)[0][0] if entries else None

    async def rewind(self, stream: str) -> None:
        """Give the whole stream to the group again, from its beginning.

        What was trimmed before that counts as read: some servers would else miss it for ever in what lags.
        """

        async def work(client: Any) -> None:
            info = await client.xinfo_stream(stream)
            trimmed = info["entries-added"] - info["length"]
            # As a plain command: the client's own method leaves out a zero.
            command = ("XGROUP SETID", stream, handoff.GROUP, "0", "ENTRIESREAD", str(max(0, trimmed)))
            await client.execute_command(*command)

        await self.on(stream, work)

    async def state(self, stream: str) -> StreamState:
        """How far the stream and its group have come."""
        info = await self.on(stream, lambda client: client.xinfo_stream(stream))
        groups = await self.on(stream, lambda client: client.xinfo_groups(stream))
        last_id = info["last-generated-id"].decode()
        group = next((g for g in groups if g["name"] == handoff.GROUP.encode()), None)
        if group is None:
            raise NoStreamError("the group is not there")
        delivered = group["last-delivered-id"].decode()
        undelivered = await self.on(
            stream, lambda client: client.xrange(stream, min=f"({delivered}", count=1)
        )
        oldest = [i for i, _ in _deliveries(undelivered)]
        waiting = group["pending"]
        if waiting:
            summary = await self.on(stream, lambda client: client.xpending(stream, handoff.GROUP))
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
            await self.on(stream, partial(_forget_dead, stream=stream, but=but))

    async def _page(self, stream: str, start: str, end: str) -> Any:
        return await self.on(
            stream, lambda client: client.xrange(stream, min=start, max=end, count=COPIES_PAGE)
        )

    async def _read(
        self, after: Mapping[str, str], consumer: str, *, count: int, block_ms: int | None = None
    ) -> Given:
        """What the group gives this consumer: one command for all streams, in a Cluster one for each."""

        async def read(client: Any, share: list[str]) -> list[tuple[str, list[Delivery]]]:
            together = [[stream] for stream in share] if self.nodes.cluster else [share]
            pipeline = client.pipeline(transaction=False)
            for names in together:
                positions: Any = {name: after[name] for name in names}
                pipeline.xreadgroup(handoff.GROUP, consumer, positions, count=count, block=block_ms)
            given = [
                (stream.decode(), _deliveries(entries))
                for answer in await pipeline.execute()
                for stream, entries in answer or []
            ]
            return await self._on_replicas(client, given)

        return _given(*await self.across(after, read))

    async def _on_replicas(
        self, client: Any, given: list[tuple[str, list[Delivery]]]
    ) -> list[tuple[str, list[Delivery]]]:
        """What was given, without the streams that gave nothing, once the replicas have it on disk.

        WAITAOF waits for writes of its own connection only, and not every read writes (an entry given again
        does not). So we write something that leaves nothing behind, after the entries, and wait for that. The
        wait before the other's makes a replica say soon that it is done: intake/durability.py says why.
        """
        given = [(stream, deliveries) for stream, deliveries in given if deliveries]
        if not given:
            return given
        found = await client.info("replication")
        if found["role"] == "master" and found["connected_slaves"] > self._replicas:
            raise Retry(
                f"queue: it has {found['connected_slaves']} replicas and BALLOT_DURABILITY waits for "
                f"{self._replicas}, so nothing of it is stored"
            )
        until_s = time.monotonic() + WAIT_REPLICAS_S
        while self._replicas:
            local, replicas = await self._ask_replicas(client, given[0][0])
            if local >= 1 and replicas >= self._replicas:
                break
            if time.monotonic() >= until_s:
                raise Retry("queue: not yet on every replica's disk, so nothing of it is stored")
        return given

    async def _ask_replicas(self, client: Any, stream: str) -> tuple[int, int]:
        """On how many disks, our own primary's and replicas', is all that was written until now."""
        waiter = f"waits-{secrets.token_hex(8)}"  # one for each wait: none that another task deletes is made
        pipeline = client.pipeline(transaction=False)
        pipeline.xgroup_createconsumer(stream, handoff.GROUP, waiter)
        pipeline.xgroup_delconsumer(stream, handoff.GROUP, waiter)
        pipeline.execute_command("WAIT", self._replicas, ASK_REPLICAS_MS)
        pipeline.execute_command("WAITAOF", 1, self._replicas, ASK_REPLICAS_MS)
        *_, (local, replicas) = await pipeline.execute()
        return local, replicas


def _given(streams: Iterable[tuple[str, list[Delivery]]], unheard: frozenset[str]) -> Given:
    given = Given(streams)
    given.unheard = unheard
    return given


async def _make_group(client: Any, stream: str) -> None:
    await client.xgroup_create(stream, handoff.GROUP, id="0", mkstream=True)


async def _forget_dead(client: Any, stream: str, *, but: str) -> None:
    for consumer in await client.xinfo_consumers(stream, handoff.GROUP):
        name = consumer["name"].decode()
        if name != but and consumer["pending"] == 0 and consumer["idle"] >= CONSUMER_DEAD_MS:
            await client.xgroup_delconsumer(stream, handoff.GROUP, name)


def _whole(deliveries: Iterable[Delivery]) -> list[tuple[str, Fields]]:
    return [(entry_id, fields) for entry_id, fields in deliveries if fields is not None]


def _deliveries(entries: Any) -> list[Delivery]:
    return [(entry_id.decode(), fields or None) for entry_id, fields in entries]
