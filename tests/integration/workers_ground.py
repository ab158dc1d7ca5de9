"""What the worker tests stand on: a published ballot on real servers, its votes let in by the real gate."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from ballot import definition, document, gate_layout, handoff, queue_record, vote
from ballot.encoding import b64decode, b64encode, canonical_json
from ballot.queue_record import QueueRecord
from ballot.receipt import draw_reference, shard_of_digest
from ballot.suite import AeadKey, SigningKey, keyed_digest
from runtime import postgres, valkey
from runtime.clock import SystemClock
from runtime.lifecycle import Retry
from runtime.nodes import Nodes
from tests.integration.intake_rig import pinned_desk_key
from workers.attempts import AttemptsReader
from workers.checking import Checks
from workers.consumer import Consumer, ConsumerSettings
from workers.guard import Guard
from workers.metrics import WorkerMetrics
from workers.opening import Keys
from workers.published import Catalogue
from workers.queue import Queue
from workers.restored import Restored
from workers.store import Store
from workers.turnout import TurnoutReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from runtime.clock import Clock
    from tests.conftest import Stack
    from workers.verification import Verifier

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
IP = "192.0.2.77"
SEALED_BYTES = 1264
DEFINITION = """
[ballot]
id = "{id}"
title = "Pay"
kind = "industrial-action"
union = "Union"
employer = "Employer"
scrutineer = "Scrutineer"
contact = "help@scrutineer.example"
opens = 2025-07-01T09:00:00+01:00
closes = 2099-07-29T12:00:00+01:00
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}} ]
"""


class OneBallotQueue(Queue):
    """The real queue narrowed to one test's ballot: tests on the same servers do not meet."""

    def __init__(self, nodes: Nodes, ballot: str) -> None:
        super().__init__(nodes)
        self._only = ballot

    async def published(self, *, but: Collection[str]) -> dict[str, bytes]:
        """What is published of that ballot."""
        found = await super().published(but=but)
        return {name: value for name, value in found.items() if name == self._only}


@dataclass(frozen=True, slots=True)
class Voter:
    """One voter with an issued code."""

    uin: bytes
    key: SigningKey
    digest: bytes
    shard: int


@dataclass(slots=True)
class Cast:
    """A vote that the gate accepted, as its voter kept it."""

    voter: Voter
    reference: str
    sealed: bytes
    record: QueueRecord


@dataclass(slots=True)
class Rig:
    """The parts of one worker, with its own connections and numbers."""

    consumer: Consumer
    attempts: AttemptsReader
    turnout: TurnoutReader
    restored: Restored
    guard: Guard
    metrics: WorkerMetrics
    queue: Queue
    store: Store
    turnout_store: Store
    registry: CollectorRegistry

    async def drain(self) -> int:
        """Run until two rounds in a row have nothing to do; how many entries were handled."""
        handled = quiet = 0
        while quiet < 2:
            done = await self.consumer.run_once()
            handled += done
            quiet = 0 if done else quiet + 1
        return handled

    def value(self, name: str, **labels: str) -> float:
        """The value of one metric."""
        return self.registry.get_sample_value(name, labels) or 0.0


class Ground:
    """One armed and published ballot."""

    def __init__(self, stack: Stack, ballot: str, shards: int, owner: Any, admin: Any) -> None:
        self.stack, self.ballot, self.shards = stack, ballot, shards
        self.owner, self.admin = owner, admin
        self.keys = Keys.of(stack.home)
        self.definition = definition.parse_toml(DEFINITION.format(id=ballot))
        public_key = b64decode(json.loads((VECTORS / "vote.json").read_text())["public_key"])
        self.document = document.build(self.definition, public_key=public_key, result_key=bytes(32))

    async def prepare(self) -> None:
        """Register, arm and publish the ballot, as the desk would."""
        desk = pinned_desk_key(self.stack.home)
        await self.owner.execute(
            "INSERT INTO ballot.ballots (ballot, kind, definition, definition_sha256, shards)"
            " VALUES ($1, $2, $3, $4, $5)",
            self.ballot,
            self.definition.kind,
            self.definition.canonical,
            self.definition.sha256,
            self.shards,
        )
        for shard in range(self.shards):
            await self.fcall(
                "ballot_arm", shard, str(self.definition.opens_us), str(self.definition.closes_us)
            )
        published = {
            "document": b64encode(self.document.canonical),
            "document_signature": b64encode(document.sign(self.document, desk)),
            "desk_public_key": b64encode(desk.public),
            "shards": self.shards,
        }
        await self.admin.hset(handoff.PUBLISHED_KEY, self.ballot, canonical_json(published))

    async def voters(self, count: int) -> list[Voter]:
        """Enrol voters and issue a code to each."""
        found = []
        for _ in range(count):
            key = SigningKey.from_seed(secrets.token_bytes(32))
            digest = keyed_digest(self.keys.digest, hashlib.sha256(key.public).digest())
            found.append(Voter(secrets.token_bytes(16), key, digest, shard_of_digest(digest, self.shards)))
        await self.owner.executemany(
            "INSERT INTO ballot.electorate (ballot, uin) VALUES ($1, $2)",
            [(self.ballot, v.uin) for v in found],
        )
        batch = secrets.randbelow(2**31)
        await self.owner.executemany(
            """
            INSERT INTO ballot.register
                (ballot, credential_digest, uin, shard, channel, batch, position, issued_us)
            VALUES ($1, $2, $3, $4, 'email', $5, $6, 1)
            """,
            [(self.ballot, v.digest, v.uin, v.shard, batch, i) for i, v in enumerate(found)],
        )
        for voter in found:
            await self.fcall("ballot_issue", voter.shard, voter.digest, voter.uin, b"e")
        return found

    async def cast(
        self,
        voter: Voter,
        *,
        signer: SigningKey | None = None,
        wrapped: bytes | None = None,
        queue_key: AeadKey | None = None,
    ) -> Cast:
        """Let a vote in through the gate; the rest spoils the signature, the wrapping or its key."""
        sealed, nonce = secrets.token_bytes(SEALED_BYTES), secrets.token_bytes(16)
        message = vote.signed_message(
            self.ballot, self.definition.sha256, nonce, hashlib.sha256(sealed).digest()
        )
        record = QueueRecord(voter.key.public, nonce, sealed, (signer or voter.key).sign(message), IP, 1)
        reference = draw_reference(voter.shard, self.shards, random=secrets.token_bytes)
        blob = wrapped or self.wrap(voter, record, reference, key=queue_key)
        reply = await self.fcall(
            "ballot_cast",
            voter.shard,
            voter.digest,
            gate_layout.identity(sealed, nonce, record.signature),
            reference,
            blob,
            hashlib.sha256(sealed).digest(),
            b"",
        )
        assert reply[3][0] == b"accepted", reply
        return Cast(voter, reference, sealed, record)

    def wrap(self, voter: Voter, record: QueueRecord, reference: str, *, key: AeadKey | None = None) -> bytes:
        """Wrap a record as the edge does, or as an edge with another `key` would."""
        return queue_record.wrap(
            key or self.keys.queue,
            record,
            ballot_id=self.ballot,
            credential_digest=voter.digest,
            reference=reference,
            random=secrets.token_bytes,
        )

    async def append(self, cast: Cast, **changed: bytes) -> str:
        """Append an entry behind the gate's back, as a broken or bewitched queue would; its id."""
        voter = cast.voter
        fields = {
            "k": b"v",
            "r": self.wrap(voter, cast.record, cast.reference),
            "d": voter.digest,
            "ref": cast.reference.encode(),
            "t": b"1750000000000000",
            "u": voter.uin,
            "c": b"e",
        } | changed
        entry = await self.admin.xadd(handoff.votes_key(self.ballot, voter.shard), fields)
        return str(entry.decode())

    async def fcall(self, function: str, shard: int, *arguments: str | bytes) -> Any:
        """Call the gate."""
        keys = handoff.shard_keys(self.ballot, shard)
        return await self.admin.fcall(function, len(keys), *keys, *arguments)

    async def rows(self, table: str) -> list[Any]:
        """Every row of this ballot in a table."""
        return list(
            await self.owner.fetch(f"SELECT * FROM ballot.{table} WHERE ballot = $1", self.ballot)  # noqa: S608  # ours
        )

    async def turnout(self, side: str) -> dict[str, int]:
        """Votes by method on one side of the turnout."""
        rows = await self.owner.fetch(
            "SELECT method, sum(votes)::bigint AS votes FROM ballot.turnout"
            " WHERE ballot = $1 AND side = $2 GROUP BY method",
            self.ballot,
            side,
        )
        return {row["method"]: row["votes"] for row in rows}

    async def state(self, cast: Cast) -> bytes | None:
        """The receipt state of a vote's reference."""
        key = handoff.references_key(self.ballot, cast.voter.shard)
        state: bytes | None = await self.admin.hget(key, gate_layout.reference_field(cast.reference))
        return state

    async def pending(self) -> int:
        """Entries given to a worker and not acknowledged."""
        return sum(
            [
                (await self.admin.xpending(handoff.votes_key(self.ballot, shard), handoff.GROUP))["pending"]
                for shard in range(self.shards)
            ]
        )

    async def forget(self) -> None:
        """Take the ballot out of the queue, and its marks with it: no later worker meets it."""
        await self.admin.hdel(handoff.PUBLISHED_KEY, self.ballot)
        for shard in range(self.shards):
            await self.admin.delete(*handoff.shard_keys(self.ballot, shard))
        await self.owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", self.ballot)
        await self.clear_fuse()

    async def clear_fuse(self) -> None:
        """Let no later worker find a fuse that a test has blown."""
        await self.owner.execute(
            "INSERT INTO ballot.events (kind, actor, detail)"
            """ VALUES ('fuse_cleared', 'worker', '{"by": "test"}')"""
        )

    @asynccontextmanager
    async def worker(
        self,
        verifier: Verifier,
        *,
        claim_idle_s: float = 0.3,
        batch: int = 512,
        store: Store | None = None,
        queue_type: type[OneBallotQueue] = OneBallotQueue,
        keys: Keys | None = None,
        clock: Clock | None = None,
        overruled: bool = False,
        pinned: Path | None = None,
    ) -> AsyncIterator[Rig]:
        """One worker's parts on this ballot; several may be used at once."""
        registry = CollectorRegistry()
        metrics = WorkerMetrics(registry)
        queue = queue_type(Nodes(self.stack.servers, "worker"), self.ballot)
        store = store or Store(lambda: postgres.connect(self.stack.servers, "voterdb", "ballot_worker"))
        turnout_store = Store(lambda: postgres.connect(self.stack.servers, "voterdb", "ballot_worker"))
        catalogue = Catalogue(pinned or self.stack.home.public_key_file)
        clock, keys = clock or SystemClock(), keys or self.keys
        guard = Guard(store=store, metrics=metrics, clock=clock, overruled=overruled)
        consumer = Consumer(
            name="test",
            queue=queue,
            store=store,
            checks=Checks(keys=keys, verifier=verifier),
            guard=guard,
            catalogue=catalogue,
            metrics=metrics,
            clock=clock,
            settings=ConsumerSettings(claim_idle_s=claim_idle_s, batch_entries=batch, block_ms=20),
        )
        attempts = AttemptsReader(
            queue=queue, store=store, keys=keys, catalogue=catalogue, metrics=metrics, clock=clock
        )
        turnout = TurnoutReader(
            queue=queue, store=turnout_store, catalogue=catalogue, metrics=metrics, clock=clock
        )
        restored = Restored(queue=queue, store=store, catalogue=catalogue, clock=clock)
        try:
            yield Rig(
                consumer, attempts, turnout, restored, guard, metrics, queue, store, turnout_store, registry
            )
        finally:
            for each in (store, turnout_store):
                await each.close()
            await queue.close()


@asynccontextmanager
async def ground(stack: Stack, ballot: str, *, shards: int = 1) -> AsyncIterator[Ground]:
    """A fresh ballot, forgotten by the queue afterwards."""
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    admin = valkey.connect(stack.servers, "admin")
    made = Ground(stack, ballot, shards, owner, admin)
    try:
        await made.prepare()
        try:
            yield made
        finally:
            await made.forget()
    finally:
        await owner.close()
        await admin.aclose()


class LosesAcknowledgements(OneBallotQueue):
    """The real queue, its connection breaking between commit and acknowledgement `times` times."""

    times = 1

    async def acknowledge(self, *args: Any, **kwargs: Any) -> None:
        """Break, or acknowledge."""
        if self.times:
            self.times -= 1
            raise Retry("the connection broke")
        await super().acknowledge(*args, **kwargs)
