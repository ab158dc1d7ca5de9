"""What the gate's size costs: memory a code, and votes a second with many codes in it beside few.

Memory is what the server says it uses, before and after, without the votes' stream. Codes are synthetic
digests, sent straight to the gate. BENCH_GATE_CODES sets how many the large ballot has.
"""

import os
import time
from typing import TYPE_CHECKING

from ballot import handoff
from ballot.receipt import draw_reference
from runtime import valkey
from runtime.addresses import ADMIN
from runtime.preparation import function_files
from tests.benchmarks.driver import Stage
from tests.benchmarks.figure import Figure
from tests.integration.intake_rig import Booth, booth

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

FEW = 10_000
MEASURED = 100_000
MANY = int(os.environ.get("BENCH_GATE_CODES", "1300000"))
BATCH = 64
CALLS = 50
ISSUE_ROWS = 2_000
VOTED_ROWS = 512
KEPT = 40_000
WRAPPED_BYTES, SEALED_IP_BYTES = 1_500, 76

Row = tuple[bytes, bytes]
"""Digest and UIN."""

Ballot = tuple[Booth, list[Row]]


async def size(stage: Stage) -> list[Figure]:
    """Memory a code before and after voting, then votes a second in turn with few and with many codes."""
    admin = valkey.dedicated(stage.found, ADMIN, timeout_s=30.0)
    try:
        async with booth(stage.found, "bench-measured") as measured:
            await measured.arm()
            empty = await _used(admin)
            rows = await _fill(measured, MEASURED)
            before = (await _used(admin) - empty) / MEASURED
            await _all_vote(measured, admin, rows)
            after = (await _used(admin) - empty) / MEASURED
            await admin.delete(*handoff.shard_keys(measured.id, 0))
        async with booth(stage.found, "bench-few") as few, booth(stage.found, "bench-many") as many:
            await few.arm()
            await many.arm()
            some = await _fill(few, FEW)
            empty = await _used(admin)
            others = await _fill(many, MANY)
            large = (await _used(admin) - empty) / MANY
            rounds = min(stage.rounds, FEW // (BATCH * CALLS))
            speeds = [await _in_turn(stage, number, (few, some), (many, others)) for number in range(rounds)]
            await admin.delete(*handoff.shard_keys(many.id, 0))
    finally:
        await admin.aclose()
    structures = f"credentials, marks, references, without the votes' stream; {MEASURED:,} codes"
    return [
        Figure(
            "gate memory a code before voting",
            "B",
            [before, large],
            [],
            "",
            goal=100,
            aim=64,
            at_most=True,
            goal_is_for_ours=True,
            note=f"{structures}, then {MANY:,}",
        ),
        Figure(
            "gate memory a code after all have voted",
            "B",
            [after],
            [],
            "",
            goal=200,
            aim=128,
            at_most=True,
            goal_is_for_ours=True,
            note=structures,
        ),
        Figure(
            f"votes a second with {MANY:,} codes in the gate",
            "votes/s",
            [ours for _, ours in speeds],
            [baseline for baseline, _ in speeds],
            f"{FEW:,} codes",
            goal=0.90,
            aim=0.97,
            note=f"calls of {BATCH}, one on the one ballot, one on the other, by a direct client",
        ),
    ]


async def attempts(stage: Stage) -> list[Figure]:
    """Votes sent again, each with its line in the log of attempts, beside a gate that keeps none."""
    admin = valkey.dedicated(stage.found, ADMIN, timeout_s=30.0)
    logged, silent = [], []
    try:
        async with booth(stage.found, "bench-again") as poll:
            await poll.arm()
            await admin.function_load(_without_log(), replace=True)
            for _ in range(stage.rounds):
                calls = [(poll, _votes(rows)) for rows in _batches(await _fill(poll, BATCH * 20))]
                await _timed(stage, [("ballot_cast", *call) for call in calls])
                again = [(name, *call) for call in calls for name in ("ballot_cast", "silent_cast")]
                both = await _timed(stage, again)
                logged.append(BATCH / both[0])
                silent.append(BATCH / both[1])
            await admin.function_delete("silent")
    finally:
        await admin.aclose()
    note = (
        f"calls of {BATCH} in turn by a direct client; at the edge a vote costs several times as much beside"
    )
    return [
        Figure("votes sent again a second, with their log", "votes/s", logged, silent, "no log", note=note)
    ]


def _without_log() -> str:
    """The gate's own source as another library that leaves the entries out."""
    (file,) = (path for path in function_files() if path.name == "gate.lua")
    source = (
        file.read_text().replace("#!lua name=ballot", "#!lua name=silent").replace("'ballot_", "'silent_")
    )
    before, entry, after = source.partition("  redis.call('XADD', issued and")
    if not entry:
        raise RuntimeError("the gate logs attempts in another way than the benchmark knows")
    return before + after.partition("'t', seen.now)")[2]


async def _used(admin: "Redis") -> int:
    return int((await admin.info("memory"))["used_memory"])


async def _fill(poll: Booth, count: int) -> list[Row]:
    """Issue synthetic codes; some of them are given back, from all over."""
    kept: list[Row] = []
    every = max(count // KEPT, 1)
    for first in range(0, count, ISSUE_ROWS):
        random = os.urandom(48 * min(ISSUE_ROWS, count - first))
        rows = [(random[at : at + 32], random[at + 32 : at + 48]) for at in range(0, len(random), 48)]
        await poll.call("ballot_issue", *[part for digest, uin in rows for part in (digest, uin, b"e")])
        kept += rows if count <= MEASURED else rows[::every]
    return kept


async def _all_vote(poll: Booth, admin: "Redis", rows: list[Row]) -> None:
    for first in range(0, len(rows), VOTED_ROWS):
        reply = await poll.call("ballot_cast", *_votes(rows[first : first + VOTED_ROWS], record=b"r"))
        if any(bytes(row[0]) != b"accepted" for row in reply[3:]):
            raise RuntimeError("the gate did not accept every vote of the benchmark")
    await admin.delete(handoff.votes_key(poll.id, 0))


def _votes(rows: list[Row], record: bytes = b"") -> list[bytes]:
    arguments: list[bytes] = []
    for digest, _ in rows:
        reference = draw_reference(0, 1, random=os.urandom).encode()
        wrapped = record or os.urandom(WRAPPED_BYTES)
        arguments += [digest, os.urandom(16), reference, wrapped, os.urandom(32), os.urandom(SEALED_IP_BYTES)]
    return arguments


def _batches(rows: list[Row]) -> list[list[Row]]:
    return [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]


async def _in_turn(stage: Stage, number: int, few: Ballot, many: Ballot) -> tuple[float, float]:
    """Votes a second of both, in the round with this number: each voter votes once."""
    span = slice(number * BATCH * CALLS, (number + 1) * BATCH * CALLS)
    pairs = zip(_batches(few[1][span]), _batches(many[1][span]), strict=True)
    calls = [((few[0], _votes(left)), (many[0], _votes(right))) for left, right in pairs]
    seconds = await _timed(stage, [("ballot_cast", *call) for pair in calls for call in pair])
    return BATCH / seconds[0], BATCH / seconds[1]


async def _timed(stage: Stage, calls: list[tuple[str, Booth, list[bytes]]]) -> tuple[float, float]:
    """Seconds a call of the even ones and of the odd ones, all prepared ahead."""
    client = valkey.dedicated(stage.found, "intake")
    connection: AbstractConnection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # untyped there
    try:
        packed = []
        for function, poll, arguments in calls:
            keys = handoff.shard_keys(poll.id, 0)
            packed.append(connection.pack_commands([("FCALL", function, len(keys), *keys, *arguments)]))
        took: tuple[list[float], list[float]] = ([], [])
        for number, command in enumerate(packed):
            started_s = time.perf_counter()
            await connection.send_packed_command(command, check_health=False)
            reply = await connection.read_response()
            took[number % 2].append(time.perf_counter() - started_s)
            if any(bytes(row[0]) not in {b"accepted", b"repeated"} for row in reply[3:]):
                raise RuntimeError("the gate did not accept every vote of the benchmark")
    finally:
        await connection.disconnect()
        await client.aclose()
    return (_typical(took[0]), _typical(took[1]))


def _typical(seconds: list[float]) -> float:
    """The mean without the slowest tenth: a neighbour's burst hits one half more than the other."""
    kept = sorted(seconds)[: max(len(seconds) * 9 // 10, 1)]
    return sum(kept) / len(kept)
