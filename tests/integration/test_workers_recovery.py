"""What fails around a worker: databases away or restored, queues that lost something, workers killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from redis.exceptions import ResponseError

from ballot import handoff
from runtime import postgres
from runtime.lifecycle import Fatal, Retry
from tests.conftest import ballot_command
from tests.integration.workers_ground import Ground, ground
from tests.manual_clock import ManualClock
from workers.gates import GateKept
from workers.link import PAGE_COMMANDS, OtherKindError
from workers.store import Store
from workers.trust import Trust
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import RunBallot, Stack
    from workers.turnout import TurnoutReader

FORGOT = GateKept(0, 0, closed=False, revoked=None, released=0)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """One pool for the module: starting processes takes longer than the tests."""
    pool = Verifier(1)
    yield pool
    pool.close()


@pytest.fixture
async def one(stack: Stack, ballot_id: str) -> AsyncIterator[Ground]:
    """A ballot of one shard."""
    async with ground(stack, ballot_id) as made:
        yield made


@pytest.mark.parametrize("gap", [False, True], ids=["older", "with a gap"])
async def test_what_a_restored_database_has_forgotten_is_stored_again(
    stack: Stack, ballot_id: str, verifier: Verifier, gap: bool
) -> None:
    """Votes stored, acknowledged and then gone with an older copy come back from the queue, every one."""
    async with ground(stack, ballot_id, shards=2) as made:
        async with made.worker(verifier) as rig:
            for voter in await made.voters(20):
                await made.cast(voter)
            await rig.drain()
            assert await rig.restored.check() == []
            whole = {row["uin"]: row["sealed"] for row in await made.rows("votes")}

            await _forget_votes(made, 7, mark=not gap)
            await rig.drain()
            assert len(await made.rows("votes")) < 20

            async with made.worker(verifier) as later:
                assert await later.drain() == 0
                rewound = await later.restored.check()
                assert rewound
                await later.drain()
                again = {row["uin"]: row["sealed"] for row in await made.rows("votes")}
                assert again == whole
                later.restored._looked_s -= 60
                assert await later.restored.check() == []

        kinds = {row["kind"] for row in await made.rows("events")}
        assert kinds == {"storing_rewound"}


@pytest.mark.parametrize("lost", [0, 3], ids=["copies alone", "copies and a restored database"])
async def test_a_copied_entry_does_not_pass_for_a_restored_database(
    one: Ground, verifier: Verifier, capfd: pytest.CaptureFixture[str], lost: int
) -> None:
    """A vote that the queue holds twice is one alarm; only votes really missing rewind the stream."""
    casts = [await one.cast(voter) for voter in await one.voters(6)]
    async with one.worker(verifier) as rig:
        await rig.drain()
        await one.append(casts[0])
        await one.append(casts[1])
        await rig.drain()
        if lost:
            await _forget_votes(one, lost, mark=False)
        for _ in range(2):
            rig.restored._looked_s -= 60
            await rig.restored.check()
            await rig.drain()

    rewinds = [row for row in await one.rows("events") if row["kind"] == "storing_rewound"]
    assert len(rewinds) == (1 if lost else 0)
    assert capfd.readouterr().err.count('"entries_copied"') == (0 if lost else 1)
    assert len(await one.rows("votes")) == 6


async def test_entries_lost_for_good_are_not_read_again_for_ever(one: Ground, verifier: Verifier) -> None:
    """What vanished from the queue before it was stored is read for once, and then borne."""
    for voter in await one.voters(3):
        await one.cast(voter)
    async with one.worker(verifier, claim_idle_s=0.0) as rig:
        await _lose_one_that_was_given_out(one)
        await rig.drain()
        assert len(await one.rows("votes")) == 2
        looks = []
        for _ in range(3):
            rig.restored._looked_s -= 60
            looks.append(len(await rig.restored.check()))
            await rig.drain()

    assert looks[1:] == [0, 0]


async def test_an_entry_that_vanished_after_it_was_given_out_is_an_alarm(
    one: Ground, verifier: Verifier, capfd: pytest.CaptureFixture[str]
) -> None:
    """Taken over from a dead worker but no longer in the stream: said aloud and counted, not passed over."""
    for voter in await one.voters(3):
        await one.cast(voter)
    async with one.worker(verifier, claim_idle_s=0.0) as rig:
        await _lose_one_that_was_given_out(one)
        await rig.drain()

        assert rig.value("ballot_entries_vanished_total") == 1
    assert "entries_vanished" in capfd.readouterr().err


async def test_a_copied_reference_does_not_change_a_stored_votes_receipt(
    one: Ground, verifier: Verifier
) -> None:
    """Junk that copies an accepted reference, with its vote or after it, leaves the receipt at stored."""
    cast = await one.cast((await one.voters(1))[0])
    for _ in range(2):
        await one.append(cast, r=b"junk")
        async with one.worker(verifier) as rig:
            await rig.drain()
        assert await one.state(cast) == b"s"
    assert {row["reason"] for row in await one.rows("quarantine")} == {"unreadable"}
    assert len(await one.rows("quarantine")) == 2


async def test_a_lost_trust_mark_is_given_again(one: Ground, verifier: Verifier) -> None:
    """The mark removed or changed while queue and worker run on does not keep the edges closed."""
    async with one.worker(verifier) as rig:
        trust = Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics)
        await trust.check()
        (run_id,) = (await rig.queue.runs())[0]
        for lost in (
            one.admin.delete(handoff.TRUST_KEY),
            one.admin.hset(handoff.TRUST_KEY, "another run", "1"),
            _an_earlier_versions(one.admin),
        ):
            await lost
            await trust.check()
            assert await rig.queue.trusted() == {run_id}


async def test_many_shards_are_asked_for_at_once(one: Ground, verifier: Verifier) -> None:
    """In pages, one gone or never armed among them; what is neither a stream nor a gate is a failure."""
    voter = (await one.voters(1))[0]
    await one.cast(voter)
    stream, gone = handoff.votes_key(one.ballot, 0), handoff.votes_key("never", 0)
    (entry, _), *_ = await one.admin.xrange(stream)
    many = [handoff.votes_key("never", shard) for shard in range(2 * PAGE_COMMANDS + 1)]
    async with one.worker(verifier) as rig:
        assert await rig.queue.extents([gone, stream, *many]) == {
            **dict.fromkeys([gone, *many], ("0-0", 0)),
            stream: (entry.decode(), 1),
        }
        shards = [("never", 0), (one.ballot, 0)]
        assert await rig.queue.accepted(shards) == {shards[0]: 0, shards[1]: 1}
        kept = await rig.queue.kept(shards)
        assert kept[shards[0]] is None
        assert (kept[shards[1]] or FORGOT).closes_us == one.definition.closes_us
        await one.admin.hset(handoff.gate_key(one.ballot, 0), "accepted", "none")
        assert await rig.queue.accepted(shards[1:]) == {shards[1]: -1}
        await one.admin.set(gone, "junk")
        try:
            with pytest.raises(OtherKindError):
                await rig.queue.extents([stream, gone])
        finally:
            await one.admin.delete(gone)


async def _an_earlier_versions(admin: Any) -> None:
    """Leave the mark as one run's name, which it was before it became a hash."""
    await admin.delete(handoff.TRUST_KEY)
    await admin.set(handoff.TRUST_KEY, "an earlier run")


async def test_attempts_without_end_do_not_keep_a_drain_waiting(one: Ground, run_ballot: RunBallot) -> None:
    """`--until-drained` ends when the votes are stored, while somebody goes on making attempts."""
    await one.cast((await one.voters(1))[0])
    stream = handoff.attempts_key(one.ballot, 0)

    async def flood() -> None:
        while True:
            pipeline = one.admin.pipeline(transaction=False)
            for _ in range(20):
                pipeline.xadd(stream, {"k": "nonsense"}, maxlen=5000)
            await pipeline.execute()
            await asyncio.sleep(0.005)

    flooding = asyncio.create_task(flood())
    try:
        done = await asyncio.to_thread(run_ballot, "worker", "--until-drained")
    finally:
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

    assert done.returncode == 0
    assert len(await one.rows("votes")) == 1


async def test_a_turnout_that_nobody_counts_is_an_alarm(
    one: Ground, verifier: Verifier, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the place held by somebody who counts nothing, the reader that waits says so after a minute."""
    clock = ManualClock()
    await one.cast((await one.voters(1))[0])
    async with asyncio.timeout(10):
        while not await one.owner.fetchval("SELECT ballot.worker_turnout_place()"):  # noqa: ASYNC110  # freed late
            await asyncio.sleep(0.02)
    async with one.worker(verifier, clock=clock) as rig:
        await rig.consumer.run_once()
        for _ in range(2):
            assert await rig.turnout.run_once() == 0
            assert "turnout_stuck" not in capfd.readouterr().err
            clock.advance(31.0)
        assert await rig.turnout.run_once() == 0
        assert rig.value("ballot_turnout_stuck_total") == 1
    assert "turnout_stuck" in capfd.readouterr().err


async def test_the_database_away_then_back(one: Ground, stack: Stack, verifier: Verifier) -> None:
    """While the database is away nothing is acknowledged or lost; when it is back everything is stored."""
    for voter in await one.voters(4):
        await one.cast(voter)
    away = True

    async def connect() -> Any:
        if away:
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                return await asyncpg.connect(
                    host="127.0.0.1", port=closed.getsockname()[1], user="x", timeout=2
                )
        return await postgres.connect(stack.servers, "voterdb", "ballot_worker")

    async with one.worker(verifier, store=Store(connect)) as rig:
        for _ in range(3):
            with pytest.raises(Retry):
                await rig.consumer.run_once()
        away = False
        await rig.drain()
        assert len(await one.rows("votes")) == 4
        await one.owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ballot_worker'"
        )
        cast = await one.cast((await one.voters(1))[0])
        with contextlib.suppress(Retry):
            await rig.drain()
        await rig.drain()

    assert await one.state(cast) == b"s"
    assert await one.pending() == 0


async def test_the_turnout_is_exact_across_restarts(stack: Stack, ballot_id: str, verifier: Verifier) -> None:
    """However often the reader starts again, accepted equals what the gate let in, by method."""
    async with ground(stack, ballot_id, shards=2) as made:
        voters = await made.voters(12)
        for voter in voters[:9]:
            await made.cast(voter)
        for voter in voters[8:]:
            await made.fcall("ballot_return", voter.shard, voter.uin, "postal", "1750000000000000")

        for _ in range(3):
            async with made.worker(verifier) as rig:
                await rig.drain()
                await _take_place_and_count(rig.turnout)
        await made.fcall("ballot_return", voters[0].shard, voters[0].uin, "workplace", "1750000000000000")
        async with made.worker(verifier) as rig:
            await rig.drain()
            await _take_place_and_count(rig.turnout)

        assert await made.turnout("accepted") == {"electronic": 9, "postal": 3}
        assert await made.turnout("stored") == {"electronic": 9, "postal": 3}
        counted = sorted((row["method"], row["counted"]) for row in await made.rows("returns"))
        assert counted == [("postal", False), *[("postal", True)] * 3, ("workplace", False)]


async def test_a_turnout_batch_counts_once(one: Ground, stack: Stack) -> None:
    """The same step of the turnout given twice is added once."""
    store = Store(lambda: postgres.connect(stack.servers, "voterdb", "ballot_worker"))
    counts = {(60_000_000, "electronic"): 3}

    for expected in (True, False):
        assert expected == await store.turnout_add(
            one.ballot, 0, epoch=0, begin="0-0", end="5-1", entries=3, counts=counts
        )
    with pytest.raises(Fatal):
        await store.turnout_add(one.ballot, 0, epoch=0, begin="5-1", end="5-0", entries=1, counts=counts)
    await store.close()

    assert await one.turnout("accepted") == {"electronic": 3}


async def test_a_queue_that_lost_votes_is_not_trusted(one: Ground, stack: Stack, verifier: Verifier) -> None:
    """With an entry stored that the stream no longer reaches, the trust mark is refused; else it is given."""
    for voter in await one.voters(2):
        await one.cast(voter)
    async with one.worker(verifier) as rig:
        await rig.drain()
        queue = rig.queue
        trust = Trust(queue=queue, store=rig.store, metrics=rig.metrics)
        await trust.check()
        (run_id,) = (await queue.runs())[0]
        assert await queue.trusted() == {run_id}

        await one.owner.execute(
            "UPDATE ballot.marks SET entry = '99999999999999-0' WHERE ballot = $1 AND side = 'stored'",
            one.ballot,
        )
        await one.admin.delete(handoff.TRUST_KEY)
        await one.admin.hset(handoff.TRUST_KEY, "an earlier run", "1")
        with pytest.raises(Retry):
            await Trust(queue=queue, store=rig.store, metrics=rig.metrics).check()
        assert await queue.trusted() == set()

        await one.owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", one.ballot)
        await Trust(queue=queue, store=rig.store, metrics=rig.metrics).check()
        assert await queue.trusted() == {run_id}


async def test_killed_workers_change_nothing(stack: Stack, ballot_id: str, run_ballot: RunBallot) -> None:
    """Worker processes killed while they store leave nothing undone and nothing double."""
    async with ground(stack, ballot_id, shards=2) as made:
        voters = await made.voters(600)
        env = {**stack.env, "BALLOT_WORKER_CLAIM_IDLE": "0.5"}
        killed = []
        for start in range(0, 600, 200):
            process = await asyncio.create_subprocess_exec(
                ballot_command(), "worker", env=env, stderr=asyncio.subprocess.DEVNULL
            )
            for voter in voters[start : start + 200]:
                await made.cast(voter)
            async with asyncio.timeout(30):
                while not await made.rows("votes"):  # noqa: ASYNC110  # another process does it
                    await asyncio.sleep(0.01)
            process.kill()
            killed.append(await process.wait())

        await asyncio.to_thread(run_ballot, "worker", "--until-drained")

        assert killed == [-signal.SIGKILL] * 3
        assert {row["uin"] for row in await made.rows("votes")} == {voter.uin for voter in voters}
        assert len(await made.rows("ip_records")) == 600
        assert await made.rows("quarantine") == []
        assert await made.turnout("accepted") == await made.turnout("stored") == {"electronic": 600}
        assert await made.pending() == 0


async def _take_place_and_count(turnout: TurnoutReader) -> None:
    """Count to the end, waiting for the place of a reader whose connection has only just gone."""
    async with asyncio.timeout(10):
        while not await turnout._store.take_turnout_place():  # noqa: ASYNC110  # the server frees it
            await asyncio.sleep(0.02)
        while await turnout.run_once():
            pass


async def _forget_votes(made: Ground, votes: int, *, mark: bool) -> None:
    """Take the last votes of one shard out of the database, as an older copy would not have them."""
    for shard in range(made.shards):
        gone = await made.owner.fetch(
            "DELETE FROM ballot.votes WHERE (ballot, uin) IN (SELECT ballot, uin FROM ballot.votes"
            " WHERE ballot = $1 AND shard = $2 ORDER BY ballot.entry_order(entry) DESC LIMIT $3)"
            " RETURNING event",
            made.ballot,
            shard,
            votes,
        )
        await made.owner.execute(
            "DELETE FROM ballot.ip_records WHERE event = ANY ($1)", [row["event"] for row in gone]
        )
        last = await made.owner.fetchval(
            "SELECT entry FROM ballot.votes WHERE ballot = $1 AND shard = $2"
            " ORDER BY ballot.entry_order(entry) DESC LIMIT 1",
            made.ballot,
            shard,
        )
        await made.owner.execute(
            "UPDATE ballot.marks SET entries = entries - $3, entry = CASE WHEN $4 THEN $5 ELSE entry END"
            " WHERE ballot = $1 AND shard = $2 AND side = 'stored'",
            made.ballot,
            shard,
            len(gone),
            mark,
            last or "0-0",
        )


async def _lose_one_that_was_given_out(made: Ground) -> None:
    """Give every entry to a worker that dies, and take one of them out of the stream."""
    stream = handoff.votes_key(made.ballot, 0)
    with contextlib.suppress(ResponseError):
        await made.admin.xgroup_create(stream, handoff.GROUP, id="0")
    await made.admin.xreadgroup(handoff.GROUP, "dead", {stream: ">"})
    entries = await made.admin.xrange(stream)
    await made.admin.xdel(stream, entries[1][0])
