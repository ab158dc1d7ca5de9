"""`ballot complaints serve`: from the queue to the user database: commit, then acknowledge, then take out.

It holds the queue as `complaints` and `userdb` as `ballot_complaints`, and no key: what it carries it cannot
read. Killed anywhere, its next start is given again what it had not taken out; the store has each complaint
once. While the database is away complaints wait in the queue, up to the stream's budget. One entry that the
database refuses is set aside and holds up no other.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from redis.exceptions import RedisError, ResponseError

from ballot import complaint, handoff
from ballot.limits import CLOCK_YEAR_MIN
from runtime import logs, postgres
from runtime.clock import SystemClock
from runtime.lifecycle import Retry, Stop
from runtime.nodes import Nodes
from runtime.servers import Servers
from scrutineer.complaint_balance import FILE, Balance, Stream

log = logs.get("complaints")

USER: Final = "complaints"
ROLE: Final = "ballot_complaints"
CONSUMER: Final = "serve"
"""One name for all of them: a start is given what the last one left, at once. Storing twice does no harm."""

ENTRIES_MAX: Final = 64
BLOCK_MS: Final = 1_000
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
FIRST: Final = "0"
NEW: Final = ">"
EARLIEST_MS: Final = int(datetime(CLOCK_YEAR_MIN, 1, 1, tzinfo=UTC).timestamp()) * 1000
AHEAD_MS: Final = 60_000
"""How far the queue's clock may be before ours."""

TIME: Final = re.compile(rb"[0-9]{1,15}")
REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)
"""What the database says of a row and not of itself; ValueError: a number that does not fit its column."""

Given = tuple[str, dict[bytes, bytes] | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One complaint as the stream holds it; its time is a field, since who appends may choose the id."""

    entry_id: str
    lodged: complaint.Lodged
    received_ms: int


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
        self.set_aside = Gauge(
            "ballot_complaints_set_aside",
            "Entries that the database refuses, kept in the queue",
            registry=registry,
        )
        self.missing = Counter(
            "ballot_complaints_missing",
            "Entries that left the queue and were not taken out by the storing",
            registry=registry,
        )
        self.ahead = Gauge(
            "ballot_complaints_ids_ahead",
            "1 when the stream's last id is ahead of the clock",
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
        self._balance = Balance(servers.home.data / FILE)
        self._clock = SystemClock()
        self._joined = False
        self._again: str | None = FIRST
        """After which of the entries given out before we go on; None when none is left."""
        self._malformed: set[str] = set()
        self._aside: set[str] = set()
        self._ahead = False

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
            await self._look(client)
            if given:
                await self._take_out(client, await self._store(given))
                self._metrics.waiting.set(await client.xlen(handoff.COMPLAINTS_KEY))
        except (RedisError, OSError, TimeoutError) as error:
            self._nodes.forget()
            self._again = FIRST
            if isinstance(error, ResponseError) and re.search("NOGROUP|no such key", str(error)):
                self._joined = False
            raise Retry(f"queue: {type(error).__name__}") from error

    async def _look(self, client: Any) -> None:
        """Say what speaks for another's hand: entries gone that we did not take, ids ahead of the clock."""
        stream = Stream.told(await client.xinfo_stream(handoff.COMPLAINTS_KEY))
        self._metrics.waiting.set(stream.there)
        missing = self._balance.missing(stream)
        if missing > 0:
            self._metrics.missing.inc(missing)
            log.alarm("complaints are missing from the queue", missing=missing)
        elif missing < 0:
            log.alarm("the stream of complaints is not the one that was left", added=stream.added)
        ahead = stream.last_ms > self._now_ms() + AHEAD_MS
        if ahead and not self._ahead:
            log.alarm("ids of complaints are ahead of the clock", last_ms=stream.last_ms)
        self._ahead = ahead
        self._metrics.ahead.set(int(ahead))

    async def _given(self, client: Any) -> list[Given]:
        """What was given out before and not taken out, else what is new."""
        if not self._joined:
            await _join(client)
            self._joined, self._again = True, FIRST
        if self._again is not None:
            found = await self._read(client, self._again)
            self._again = found[-1][0] if found else None
            if found:
                return found
        return await self._read(client, NEW)

    async def _read(self, client: Any, after: str) -> list[Given]:
        answer = await client.xreadgroup(
            handoff.COMPLAINTS_GROUP,
            CONSUMER,
            {handoff.COMPLAINTS_KEY: after},
            count=ENTRIES_MAX,
            block=BLOCK_MS if after == NEW else None,
        )
        return [(entry_id.decode(), fields) for _, entries in answer or [] for entry_id, fields in entries]

    async def _store(self, given: list[Given]) -> list[str]:
        """Commit all that is a complaint; gives what may be taken out: all but what the database refuses."""
        entries, done = [], []
        for entry_id, fields in given:
            entry = parse(entry_id, fields, now_ms=self._now_ms()) if fields else None
            if entry is not None:
                entries.append(entry)
                continue
            done.append(entry_id)
            # Without fields it was removed after it was given out, which is counted as missing.
            if fields and entry_id not in self._malformed:
                self._malformed.add(entry_id)
                self._metrics.malformed.inc()
                log.alarm("malformed entry", entry=entry_id)
        try:
            stored = await self._commit(entries) if entries else 0
        except REFUSED:
            return done + [entry.entry_id for entry in entries if await self._alone(entry)]
        self._metrics.stored.inc(stored)
        return done + [entry.entry_id for entry in entries]

    async def _alone(self, entry: Entry) -> bool:
        """Store one entry by itself; one that the database refuses stays in the queue, and is said once."""
        try:
            self._metrics.stored.inc(await self._commit([entry]))
        except REFUSED as error:
            if entry.entry_id not in self._aside:
                log.alarm("entry set aside", entry=entry.entry_id, error=type(error).__name__)
            self._aside.add(entry.entry_id)
            self._metrics.set_aside.set(len(self._aside))
            return False
        return True

    async def _commit(self, entries: list[Entry]) -> int:
        """Store all or none; gives how many are new. REFUSED is about them, Retry about the database."""
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
        except REFUSED:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self._again = FIRST
            await self._disconnect()
            # The text of an error may quote the row: only its kind is told.
            raise Retry(f"userdb: {type(error).__name__}") from None

    async def _take_out(self, client: Any, ids: list[str]) -> None:
        if not ids:
            return
        self._balance.leave(len(ids))
        pipeline = client.pipeline(transaction=True)
        pipeline.xack(handoff.COMPLAINTS_KEY, handoff.COMPLAINTS_GROUP, *ids)
        pipeline.xdel(handoff.COMPLAINTS_KEY, *ids)
        _, left = await pipeline.execute()
        self._balance.left(left)
        self._malformed.clear()
        self._aside.difference_update(ids)
        self._metrics.set_aside.set(len(self._aside))

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1000

    async def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.terminate()


def parse(entry_id: str, fields: dict[bytes, bytes], *, now_ms: int) -> Entry | None:
    """The complaint in an entry, or nothing: the store would refuse it.

    A complaint is kept whatever time it bears; one that cannot be its time of receipt is replaced by now.
    """
    sealed = fields.get(handoff.COMPLAINT_SEALED_FIELD, b"")
    ballot = fields.get(handoff.COMPLAINT_BALLOT_FIELD, b"").decode("ascii", "replace")
    if len(sealed) != complaint.SEALED_BYTES or (ballot and complaint.BALLOT.fullmatch(ballot) is None):
        return None
    time = fields.get(handoff.COMPLAINT_TIME_FIELD, b"")
    received_ms = int(time) if TIME.fullmatch(time) else now_ms
    if not EARLIEST_MS <= received_ms <= now_ms + AHEAD_MS:
        received_ms = now_ms
    return Entry(entry_id, complaint.Lodged(ballot or None, sealed), received_ms)


async def _join(client: Any) -> None:
    try:
        await client.xgroup_create(handoff.COMPLAINTS_KEY, handoff.COMPLAINTS_GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
