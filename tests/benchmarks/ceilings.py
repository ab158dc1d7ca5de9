"""The raw ceilings: what disk, gate, database and cryptography give when nothing else is asked of them."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballot import sealing, vote
from ballot.code import Code
from ballot.handoff import shard_keys
from ballot.receipt import draw_reference
from ballot.sealing import hpke_info
from ballot.suite import SigningKey, verify_signature
from runtime import postgres, valkey
from runtime.addresses import OWNER
from tally.count import SealedVote, open_and_count
from tally.opening import OpeningKey
from tests.benchmarks.driver import Stage
from tests.benchmarks.figure import Figure
from tests.integration.intake_rig import Booth, booth, build_document
from tests.vectors.make import seed

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

BATCH = 64
CALLS = {1: 1_500, BATCH: 60}
WRAPPED_BYTES, SEALED_IP_BYTES = 1_500, 60
ROW_BYTES, COPY_ROWS = 1_200, 20_000
SPAN_S = 0.7


def rate(once: Callable[[], object], span_s: float = SPAN_S) -> float:
    """How often a second `once` can be done, one after the other."""
    count, started_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < span_s:
        once()
        count += 1
    return count / elapsed_s


def fsyncs(directory: Path) -> float:
    """Appends of one vote's size a second, each followed by the fdatasync that Valkey uses too."""
    file = directory / "fsync-rate"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    block = os.urandom(WRAPPED_BYTES)

    def once() -> None:
        os.write(descriptor, block)
        os.fdatasync(descriptor)

    try:
        return rate(once)
    finally:
        os.close(descriptor)
        file.unlink()


async def gate(stage: Stage) -> list[Figure]:
    """The gate by a direct client on one connection: calls beside fsyncs, batches beside single votes."""
    single, batched, raw = [], [], []
    async with booth(stage.found, "bench-gate") as poll:
        await poll.arm()
        client = valkey.dedicated(stage.found, "intake")
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # untyped there
        try:
            for _ in range(stage.rounds):
                raw.append(fsyncs(stage.found.home.data))
                single.append(await _calls_a_second(poll, connection, batch=1))
                batched.append(await _calls_a_second(poll, connection, batch=BATCH))
        finally:
            await connection.disconnect()
            await client.aclose()
    votes = [BATCH * calls for calls in batched]
    one = "one connection, each call after the answer to the last"
    return [
        Figure("gate calls a second, batches of 1", "calls/s", single, raw, "raw fdatasync", note=one),
        Figure(
            f"gate calls a second, batches of {BATCH}", "calls/s", batched, raw, "raw fdatasync", note=one
        ),
        Figure(
            "votes a second at the gate", "votes/s", votes, single, "batches of 1", note=f"batches of {BATCH}"
        ),
    ]


async def _calls_a_second(poll: Booth, connection: "AbstractConnection", *, batch: int) -> float:
    """Issue, pack ahead, then call; every vote must be accepted."""
    commands = [await _cast(poll, connection, batch) for _ in range(CALLS[batch])]
    replies = []
    started_s = time.perf_counter()
    for command in commands:
        await connection.send_packed_command(command, check_health=False)
        replies.append(await connection.read_response())
    seconds = time.perf_counter() - started_s
    if any(row[0] != b"accepted" for reply in replies for row in reply[3:]):
        raise RuntimeError("the gate did not accept every vote of the benchmark")
    return len(commands) / seconds


async def _cast(poll: Booth, connection: "AbstractConnection", batch: int) -> Any:
    digests = [os.urandom(32) for _ in range(batch)]
    await poll.call("ballot_issue", *[part for digest in digests for part in (digest, os.urandom(16), "e")])
    arguments: list[bytes] = []
    for digest in digests:
        reference = draw_reference(0, 1, random=os.urandom).encode()
        sealed_sha256, sealed_ip = os.urandom(32), os.urandom(SEALED_IP_BYTES)
        arguments += [digest, os.urandom(16), reference, os.urandom(WRAPPED_BYTES), sealed_sha256, sealed_ip]
    keys = shard_keys(poll.id, 0)
    return connection.pack_commands([("FCALL", "ballot_cast", len(keys), *keys, *arguments)])


async def copy(stage: Stage) -> list[Figure]:
    """Rows of 1.2 kB a second: one INSERT statement a batch beside COPY, both committed durably."""
    connection = await postgres.connect(stage.found, "voterdb", OWNER)
    copied, inserted = [], []
    try:
        await connection.execute("CREATE TABLE public.ceiling (id bytea PRIMARY KEY, sealed bytea NOT NULL)")
        for _ in range(stage.rounds):
            copied.append(await _rows_a_second(lambda rows: _copy(connection, rows)))
            inserted.append(await _rows_a_second(lambda rows: _insert(connection, rows)))
        await connection.execute("DROP TABLE public.ceiling")
    finally:
        await connection.close()
    note = f"{COPY_ROWS} rows of 1.2 kB with a primary key; the worker's batch size, without its checks"
    return [Figure("rows inserted a second, 256 a statement", "rows/s", inserted, copied, "COPY", note=note)]


Rows = list[tuple[bytes, bytes]]


async def _rows_a_second(write: Callable[[Rows], Awaitable[None]]) -> float:
    rows = [(secrets.token_bytes(16), os.urandom(ROW_BYTES)) for _ in range(COPY_ROWS)]
    started_s = time.perf_counter()
    await write(rows)
    return COPY_ROWS / (time.perf_counter() - started_s)


async def _copy(connection: Any, rows: Rows) -> None:
    await connection.copy_records_to_table("ceiling", schema_name="public", records=rows)


async def _insert(connection: Any, rows: Rows) -> None:
    insert = "INSERT INTO public.ceiling SELECT * FROM unnest($1::bytea[], $2::bytea[])"
    for start in range(0, len(rows), 256):
        batch = rows[start : start + 256]
        await connection.execute(insert, [row[0] for row in batch], [row[1] for row in batch])


async def crypto(stage: Stage) -> list[Figure]:
    """Opening and checking a vote as tally and worker do, beside the bare primitive, on one core."""
    document = build_document("bench")
    definition = document.definition
    cast = sealing.seal(
        document, Code.draw(os.urandom).signing_key("bench"), {"strike": ["yes"]}, random=os.urandom
    )
    key = OpeningKey(mlkem_seed=seed("ballot mlkem768", 64), x25519_private=seed("ballot x25519"))
    bind = sealing.bind(cast.nonce, cast.credential)
    info = hpke_info(definition.id, definition.sha256, bind)
    batch = [SealedVote(line, bind, cast.sealed) for line in range(BATCH)]
    signing_key, message = SigningKey.from_seed(os.urandom(32)), os.urandom(128)
    signature = signing_key.sign(message)
    rounds: dict[str, list[float]] = {"open": [], "count": [], "verify": [], "check": []}
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "open": (1, lambda: key.open(cast.sealed, info=info)),
        "count": (BATCH, lambda: open_and_count(batch, definition=definition, key=key)),
        "verify": (1, lambda: verify_signature(signing_key.public, signature, message)),
        "check": (1, lambda: _check(cast, definition.sha256)),
    }
    for _ in range(stage.rounds):
        for name, (size, once) in work.items():
            rounds[name].append(size * await asyncio.to_thread(rate, once))
    return [
        Figure("votes opened and counted a second", "votes/s", rounds["count"], rounds["open"], "HPKE opens"),
        Figure("votes checked a second", "votes/s", rounds["check"], rounds["verify"], "Ed25519 verifies"),
    ]


def _check(cast: vote.CastVote, definition_sha256: bytes) -> None:
    vote.verify(
        ballot_id="bench",
        definition_sha256=definition_sha256,
        credential=cast.credential,
        nonce=cast.nonce,
        sealed=cast.sealed,
        signature=cast.signature,
    )
