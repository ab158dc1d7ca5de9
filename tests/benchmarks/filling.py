"""Everyone votes: children seal, the gate accepts, and what a worker would do is written at once."""

import asyncio
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from ballot import document, gate_layout, handoff, limits, queue_record, receipt, sealing
from ballot.code import key_seed
from ballot.encoding import b64encode
from ballot.queue_record import QueueRecord
from ballot.suite import SigningKey, key_id, keyed_digest
from runtime import children, postgres, valkey
from runtime.addresses import OWNER
from runtime.home import Home
from runtime.servers import Servers
from workers.opening import Keys, seal_ip

CAST_AT_ONCE = 1_000
MINUTE_US = 60_000_000
LEFT_IN_STREAM = 1_000
"""Entries of each shard that are left when the stream is trimmed."""

VOTES = [
    "ballot",
    "uin",
    "reference",
    "accepted_us",
    "credential_digest",
    "channel",
    "credential",
    "nonce",
    "sealed",
    "signature",
    "sealed_sha256",
    "event",
    "shard",
    "entry",
]

SealedVote: TypeAlias = tuple[int, bytes, bytes, str, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""shard, digest, identity, reference, wrapped, sealed SHA-256, and what is stored: credential, nonce, sealed,
signature, event, sealed IP address."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    ballot: str
    votes: int
    shards: int
    jobs: int
    entries: bool
    receipts: Path | None


class Sealer:
    """What a voter's device and an edge make of a code, in a child process."""

    def __init__(self, home: Home, ballot: str, shards: int) -> None:
        self._paper = document.parse((home.public / f"{ballot}.document").read_bytes())
        self._keys = Keys.of(home)
        self._shards = shards
        self._plain = [
            sealing.answers_plaintext(self._paper.definition, {"strike": [answer]})
            for answer in ("yes", "no", "yes")
        ]

    def seal(self, codes: Sequence[str]) -> list[SealedVote]:
        """Seal and sign one vote a code."""
        return [self._seal(code) for code in codes]

    def _seal(self, code: str) -> SealedVote:
        ballot = self._paper.definition.id
        key = SigningKey.from_seed(key_seed(code.replace("-", ""), ballot))
        plain = self._plain[key.public[0] % len(self._plain)]
        vote = sealing.seal_plaintext(self._paper, key, plain, random=os.urandom)
        digest = keyed_digest(self._keys.digest, vote.credential_sha256)
        shard = receipt.shard_of_digest(digest, self._shards)
        reference = receipt.draw_reference(shard, self._shards, random=os.urandom)
        ip = f"2001:db8::{digest[0]:x}:{digest[1]:x}"
        wrapped = queue_record.wrap(
            self._keys.queue,
            QueueRecord(vote.credential, vote.nonce, vote.sealed, vote.signature, ip, 1),
            ballot_id=ballot,
            credential_digest=digest,
            reference=reference,
            random=os.urandom,
        )
        event = os.urandom(16)
        sealed_ip = seal_ip(self._keys.ip, ip, ballot=ballot, place=event, random=os.urandom)
        given = (shard, digest, vote.identity, reference, wrapped, vote.sealed_sha256)
        return (*given, vote.credential, vote.nonce, vote.sealed, vote.signature, event, sealed_ip)


_own: list[Sealer] = []


def become(home: Home, ballot: str, shards: int) -> None:
    """Make this process, a child, a sealer."""
    _own[:] = [Sealer(home, ballot, shards)]


def seal(codes: Sequence[str]) -> list[SealedVote]:
    """Seal one batch in a child process."""
    return _own[0].seal(codes)


class Filling:
    """One ballot being filled; the gate's answers decide what is stored."""

    def __init__(self, home: Home, found: Servers, wanted: Wanted, *, advance: Callable[[int], None]) -> None:
        self._home = home
        self._found = found
        self._wanted = wanted
        self._advance = advance
        self._minutes: Counter[int] = Counter()
        self._last = ["0-0"] * wanted.shards
        self._count = [0] * wanted.shards
        self._receipts_key = SigningKey.from_seed(home.secret("receipts"))
        self._queue: Any = None
        self._database: Any = None
        self._receipts: IO[bytes] | None = None

    async def fill(self, batches: Iterator[list[str]]) -> None:
        """Cast and store every batch, then say how far storing and turnout have come."""
        wanted = self._wanted
        self._queue = valkey.connect(self._found, "admin", timeout_s=60.0)
        self._database = await postgres.connect(self._found, "voterdb", OWNER)
        try:
            with ExitStack() as stack:
                if wanted.receipts is not None:
                    self._publish_key()
                    self._receipts = stack.enter_context(wanted.receipts.open("wb"))
                pool = stack.enter_context(
                    children.pool(
                        wanted.jobs,
                        initializer=become,
                        initargs=(self._home, wanted.ballot, wanted.shards),
                    )
                )
                for shard in range(wanted.shards):
                    await self._queue.xgroup_create(
                        self._keys(shard)[4], handoff.GROUP, id="0", mkstream=True
                    )
                columns = await self._columns()
                async for sealed in _sealed(pool, batches, ahead=2 * wanted.jobs):
                    for shard in range(wanted.shards):
                        mine = [vote for vote in sealed if vote[0] == shard]
                        for start in range(0, len(mine), CAST_AT_ONCE):
                            await self._batch(shard, mine[start : start + CAST_AT_ONCE], columns)
            await self._close_books()
        finally:
            await self._database.close()
            await self._queue.aclose()

    def _keys(self, shard: int) -> tuple[str, ...]:
        return handoff.shard_keys(self._wanted.ballot, shard)

    async def _columns(self) -> list[str]:
        """The columns of a vote; the number, too, where the gate gives one and there is a place for it."""
        has_number = await self._database.fetchval(
            "SELECT true FROM information_schema.columns"
            " WHERE table_schema = 'ballot' AND table_name = 'votes' AND column_name = 'number'"
        )
        return [*VOTES, "number"] if has_number else VOTES

    async def _batch(self, shard: int, sealed: list[SealedVote], columns: list[str]) -> None:
        """(1) The gate accepts, (2) the entries are delivered, (3) stored, and (4) acknowledged."""
        keys = self._keys(shard)
        answer = await self._queue.fcall(
            "ballot_cast",
            len(keys),
            *keys,
            *(value for vote in sealed for value in (*vote[1:6], b"")),
        )
        outcomes = {row[0] for row in answer[3:]}
        if outcomes != {b"accepted"}:
            raise AssertionError(f"the gate answered {outcomes}")
        by_reference = {vote[3]: vote for vote in sealed}
        stream = keys[4]
        [[_, entries]] = await self._queue.xreadgroup(
            handoff.GROUP, "filling", {stream: ">"}, count=len(sealed)
        )
        rows = [
            self._row(shard, entry, fields, by_reference[fields[b"ref"].decode()], columns)
            for entry, fields in entries
        ]
        await self._store(rows, columns)
        self._write_receipts(rows)
        stored = {gate_layout.reference_field(row[2]): b"s" for row in rows}
        await self._queue.hset(keys[3], mapping=stored)
        await self._queue.xack(stream, handoff.GROUP, *(entry for entry, _ in entries))
        if not self._wanted.entries:
            await self._queue.xtrim(stream, maxlen=LEFT_IN_STREAM, approximate=False)
        self._last[shard] = entries[-1][0].decode()
        self._count[shard] += len(rows)
        self._minutes.update(row[3] - row[3] % MINUTE_US for row in rows)
        self._advance(len(rows))

    def _row(
        self, shard: int, entry: bytes, fields: dict[bytes, bytes], vote: SealedVote, columns: list[str]
    ) -> tuple[Any, ...]:
        _, digest, _, reference, _, sealed_sha256, credential, nonce, sealed, signature, event, sealed_ip = (
            vote
        )
        channel = handoff.CHANNELS[fields[handoff.CHANNEL_FIELD]]
        at_us = int(fields[handoff.ACCEPTED_FIELD])
        voter = (self._wanted.ballot, fields[handoff.UIN_FIELD], reference, at_us, digest, channel)
        cast = (credential, nonce, sealed, signature, sealed_sha256, event, shard, entry.decode())
        number = (int(fields[b"n"]),) if len(columns) > len(VOTES) else ()
        return (*voter, *cast, *number, sealed_ip)

    async def _store(self, rows: list[tuple[Any, ...]], columns: list[str]) -> None:
        async with self._database.transaction():
            await self._database.copy_records_to_table(
                "votes", schema_name="ballot", columns=columns, records=[row[:-1] for row in rows]
            )
            await self._database.copy_records_to_table(
                "ip_records",
                schema_name="ballot",
                columns=["event", "ballot", "sealed_ip"],
                records=[(row[11], row[0], row[-1]) for row in rows],
            )

    def _publish_key(self) -> None:
        """Publish the receipts key, as an edge does when it starts."""
        public, file = self._receipts_key.public, self._home.public / "receipts.json"
        if not file.exists():
            entry = {"id": key_id(public), "use": "receipts", "alg": "Ed25519"}
            file.write_text(json.dumps({**entry, "public_key": b64encode(public)}))

    def _write_receipts(self, rows: list[tuple[Any, ...]]) -> None:
        if self._receipts is None:
            return
        leaves = [receipt.Leaf(row[0], row[2], row[3], hashlib.sha256(row[8]).digest()) for row in rows]
        for start in range(0, len(leaves), limits.RECEIPT_BATCH_MAX):
            bodies = receipt.issue_bodies(
                leaves[start : start + limits.RECEIPT_BATCH_MAX], self._receipts_key
            )
            self._receipts.write(b"\n".join(bodies) + b"\n")

    async def _close_books(self) -> None:
        """Write the turnout and the marks, as storing and the turnout reader leave them."""
        ballot = self._wanted.ballot
        await self._database.copy_records_to_table(
            "turnout",
            schema_name="ballot",
            records=[
                (ballot, minute, "electronic", side, count)
                for minute, count in self._minutes.items()
                for side in ("accepted", "stored")
            ],
        )
        await self._database.copy_records_to_table(
            "marks",
            schema_name="ballot",
            records=[
                (ballot, shard, side, self._last[shard], self._count[shard])
                for shard in range(self._wanted.shards)
                for side in ("turnout", "stored")
            ],
        )
        await self._database.execute("ANALYZE ballot.votes")


async def _sealed(
    pool: ProcessPoolExecutor, batches: Iterator[list[str]], *, ahead: int
) -> AsyncIterator[list[SealedVote]]:
    """Seal batch after batch in the pool, at most `ahead` of them before they are asked for."""
    under_way: deque[Future[list[SealedVote]]] = deque()
    for batch in batches:
        under_way.append(pool.submit(seal, batch))
        if len(under_way) > ahead:
            yield await asyncio.wrap_future(under_way.popleft())
    while under_way:
        yield await asyncio.wrap_future(under_way.popleft())
