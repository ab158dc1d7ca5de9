"""`ballot complaints serve`: from the queue to the user database: commit, then acknowledge, then take out.

It holds the queue as `complaints` and `userdb` as `ballot_complaints`, and no key: what it carries it cannot
read. Killed anywhere, its next start is given again what it had not taken out; the store has each complaint
once. While the database is away complaints wait in the queue, up to the stream's budget.
"""

from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from redis.exceptions import RedisError, ResponseError

from ballot import complaint, handoff
from runtime import logs, postgres
from runtime.lifecycle import Retry, Stop
from runtime.nodes import Nodes
from runtime.servers import Servers

log = logs.get("complaints")

USER: Final = "complaints"
ROLE: Final = "ballot_complaints"
CONSUMER: Final = "serve"
"""One name for all of them: a start is given what the last one left, at once. Storing twice does no harm."""

ENTRIES_MAX: Final = 64
BLOCK_MS: Final = 1_000
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
OWN: Final = "0"
NEW: Final = ">"


@dataclass(frozen=True, slots=True)
class Entry:
    """One complaint as the stream holds it; its time of receipt is in the entry's id."""

    entry_id: str
    lodged: complaint.Lodged

    @property
    def received_ms(self) -> int:
        """By the queue's clock."""
        return int(self.entry_id.partition("-")[0])


class Metrics:
    """What it shows, in `registry`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.waiting = Gauge(
            "ballot_complaints_waiting", "Complaints in the queue that are not stored yet", registry=registry
        )
        self.stored = Counter("ballot_complaints_stored", "Complaints stored, each once", registry=registry)
        self.malformed = Counter(
            "ballot_complaints_malformed",
            "Entries taken out of the queue that no edge of ours could have written",
            registry=registry,
        )
        self.retries = Counter(
            "ballot_complaints_retries", "Times the storing backed off and tried again", registry=registry
        )


class Storing:
    """The loop and its two connections."""

    def __init__(self, servers: Servers, metrics: Metrics) -> None:
        self._servers = servers
        self._metrics = metrics
        self._nodes = Nodes(servers, USER)
        self._database: asyncpg.Connection | None = None
        self._joined = False
        self._left = True

    async def run(self, stop: Stop) -> int:
        """Store until asked to stop; what goes wrong is tried again, ever more slowly."""
        backoff_s = BACKOFF_FIRST_S
        log.info("storing")
        try:
            while not stop.requested:
                try:
                    await self.round()
                    backoff_s = BACKOFF_FIRST_S
                except Retry as error:
                    self._metrics.retries.inc()
                    say = log.warning if backoff_s < BACKOFF_MAX_S else log.alarm
                    say("complaints wait", why=error, wait_s=backoff_s)
                    await stop.wait(backoff_s)
                    backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
        finally:
            await self._disconnect()
            await self._nodes.aclose()
        return 0

    async def round(self) -> None:
        """Store what is there, or wait a little for something; Retry leaves it where it is."""
        try:
            client = await self._nodes.holder(handoff.COMPLAINTS_KEY)
            given = await self._given(client)
            self._metrics.waiting.set(await client.xlen(handoff.COMPLAINTS_KEY))
            if given:
                await self._store(given)
                await self._take_out(client, [entry_id for entry_id, _ in given])
                self._metrics.waiting.set(await client.xlen(handoff.COMPLAINTS_KEY))
        except (RedisError, OSError, TimeoutError) as error:
            self._nodes.forget()
            self._left = True
            if isinstance(error, ResponseError) and "NOGROUP" in str(error):
                self._joined = False
            raise Retry(f"queue: {type(error).__name__}") from error

    async def _given(self, client: Any) -> list[tuple[str, dict[bytes, bytes] | None]]:
        """What was given out before and not taken out, else what is new."""
        if not self._joined:
            await _join(client)
            self._joined = self._left = True
        if self._left:
            found = await self._read(client, OWN)
            if found:
                return found
            self._left = False
        return await self._read(client, NEW)

    async def _read(self, client: Any, after: str) -> list[tuple[str, dict[bytes, bytes] | None]]:
        answer = await client.xreadgroup(
            handoff.COMPLAINTS_GROUP,
            CONSUMER,
            {handoff.COMPLAINTS_KEY: after},
            count=ENTRIES_MAX,
            block=BLOCK_MS if after == NEW else None,
        )
        return [(entry_id.decode(), fields) for _, entries in answer or [] for entry_id, fields in entries]

    async def _store(self, given: list[tuple[str, dict[bytes, bytes] | None]]) -> None:
        """Commit all that is a complaint; what is none is said, and nothing of it kept."""
        entries = []
        for entry_id, fields in given:
            entry = parse(entry_id, fields) if fields else None
            if entry is None:
                self._metrics.malformed.inc()
                log.alarm("malformed entry", entry=entry_id)
            else:
                entries.append(entry)
        if entries:
            self._metrics.stored.inc(await self._commit(entries))

    async def _commit(self, entries: list[Entry]) -> int:
        try:
            if self._database is None or self._database.is_closed():
                self._database = await postgres.connect(self._servers, "userdb", ROLE)
            return int(
                await self._database.fetchval(
                    "SELECT complaints.store_lodged($1, $2, $3, $4)",
                    [entry.lodged.number for entry in entries],
                    [entry.lodged.sealed for entry in entries],
                    [entry.lodged.ballot for entry in entries],
                    [entry.received_ms for entry in entries],
                )
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self._left = True
            await self._disconnect()
            # The text of an error may quote the row: only its kind is told.
            raise Retry(f"userdb: {type(error).__name__}") from None

    async def _take_out(self, client: Any, ids: list[str]) -> None:
        pipeline = client.pipeline(transaction=True)
        pipeline.xack(handoff.COMPLAINTS_KEY, handoff.COMPLAINTS_GROUP, *ids)
        pipeline.xdel(handoff.COMPLAINTS_KEY, *ids)
        await pipeline.execute()

    async def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.terminate()


def parse(entry_id: str, fields: dict[bytes, bytes]) -> Entry | None:
    """The complaint in an entry, or nothing: the store would refuse it, and with it all that came along."""
    sealed = fields.get(handoff.COMPLAINT_SEALED_FIELD, b"")
    ballot = fields.get(handoff.COMPLAINT_BALLOT_FIELD, b"").decode("ascii", "replace")
    if len(sealed) != complaint.SEALED_BYTES or (ballot and complaint.BALLOT.fullmatch(ballot) is None):
        return None
    return Entry(entry_id, complaint.Lodged(ballot or None, sealed))


async def _join(client: Any) -> None:
    try:
        await client.xgroup_create(handoff.COMPLAINTS_KEY, handoff.COMPLAINTS_GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
