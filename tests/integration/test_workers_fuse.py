"""The fuse on real servers: a wrong key of ours burns no vote, however often the worker is started again."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ballot import handoff, queue_record
from ballot.suite import AeadKey, SigningKey
from runtime.lifecycle import Retry
from tests.conftest import ballot_command
from tests.integration.workers_ground import IP, Ground, LosesAcknowledgements, ground
from tests.manual_clock import ManualClock
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import RunBallot, Stack
    from tests.integration.workers_ground import Rig
    from workers.checking import Checked
    from workers.store import Outcome

OTHER = AeadKey(bytes(31) + b"\x07")


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
        await made.clear_fuse()  # others write such events too
        yield made


async def test_the_fuse_stops_storing_and_rolls_the_batch_back(one: Ground, verifier: Verifier) -> None:
    """A hundred unreadable votes say that the fault is ours: nothing is kept, nothing more stored."""
    for voter in await one.voters(100):
        await one.cast(voter, wrapped=b"\x00" * 200)

    async with one.worker(verifier) as rig:
        assert await rig.drain() == 0
        assert rig.value("ballot_store_fused") == 1
        await one.cast((await one.voters(1))[0])
        assert await rig.drain() == 0

    assert await one.rows("quarantine") == []
    assert await one.rows("votes") == []
    assert await one.pending() == 100
    assert await _fuse_events(one) == ["fuse"]


async def test_small_batches_do_not_pass_by_the_fuse(one: Ground, verifier: Verifier) -> None:
    """Unreadable votes that come three at a time blow it at the eleventh, not at the hundredth."""
    voters = await one.voters(30)
    async with one.worker(verifier) as rig:
        for start in range(0, 30, 3):
            for voter in voters[start : start + 3]:
                await one.cast(voter, wrapped=b"\x00" * 200)
            await rig.consumer.run_once()

    assert len(await one.rows("quarantine")) <= 10
    assert await one.rows("votes") == []


async def test_a_restart_with_the_wrong_register_burns_nothing(one: Ground, verifier: Verifier) -> None:
    """After a fuse each start judges what waits before it stores: only a fault put right lets it go on."""
    wrong = replace(one.keys, digest=bytes(32))
    casts = [await one.cast(voter) for voter in await one.voters(40)]
    async with one.worker(verifier, keys=wrong) as rig:
        await rig.drain()
    held = len(await one.rows("quarantine"))
    assert held == 0  # one batch: it was rolled back whole

    for _ in range(3):
        async with one.worker(verifier, keys=wrong, claim_idle_s=0.0) as rig:
            assert await rig.drain() == 0
            assert rig.value("ballot_store_fused") == 1
    assert await one.rows("quarantine") == []

    async with one.worker(verifier, claim_idle_s=0.0) as rig:
        await rig.drain()
        assert rig.value("ballot_store_fused") == 0
    assert len(await one.rows("votes")) == 40
    assert {await one.state(cast) for cast in casts} == {b"s"}
    assert await _fuse_events(one) == ["fuse", "fuse_cleared"]


@pytest.mark.parametrize("fresh", [250, 0], ids=["fresh behind", "nothing fresh"])
async def test_what_is_stored_already_does_not_keep_the_fuse_blown(
    one: Ground, verifier: Verifier, fresh: int
) -> None:
    """Votes committed but never acknowledged, in front of good ones or alone, do not block a right worker."""
    voters = await one.voters(150 + fresh)
    for voter in voters[:150]:
        await one.cast(voter)
    async with one.worker(verifier, queue_type=LosesAcknowledgements) as rig:
        with pytest.raises(Retry):
            await rig.consumer.run_once()
    await _blow_fuse(one)
    for voter in voters[150:]:
        await one.cast(voter)

    async with one.worker(verifier, claim_idle_s=0.05) as rig:
        async with asyncio.timeout(20):
            while len(await one.rows("votes")) < len(voters) or await one.pending():
                await rig.consumer.run_once()

    assert await _fuse_events(one) == ["fuse", "fuse_cleared"]


async def test_an_old_fuse_with_nothing_waiting_is_cleared(one: Ground, verifier: Verifier) -> None:
    """Where nothing waits nothing can be burnt: the worker goes on, with its fuse in place."""
    await _blow_fuse(one)
    async with one.worker(verifier) as rig:
        await rig.consumer.run_once()
        assert rig.value("ballot_store_fused") == 0


async def test_a_fuse_is_a_workers_word_alone(one: Ground, verifier: Verifier) -> None:
    """What anybody else wrote about it, before that was kept from them, neither blows nor clears it."""
    async with one.worker(verifier) as rig:
        for actor, kind, blown in (
            ("monitor", "fuse", False),
            ("worker", "fuse", True),
            ("monitor", "fuse_cleared", True),
        ):
            await one.owner.execute("INSERT INTO ballot.events (kind, actor) VALUES ($1, $2)", kind, actor)
            assert await rig.store.fuse_blown() is blown


async def test_a_wrong_queue_key_burns_no_vote(one: Ground, verifier: Verifier) -> None:
    """Votes under a key that is not ours stay queued, in small batches too; the right key stores them."""
    voters = await one.voters(60)
    wrong = replace(one.keys, queue=OTHER)
    for given in (30, 60):
        async with one.worker(verifier, keys=wrong, claim_idle_s=0.05) as rig:
            for voter in [voters.pop() for _ in range(30)]:
                await one.cast(voter)
                await rig.consumer.run_once()
            async with asyncio.timeout(20):
                while await one.pending() < given:
                    await rig.consumer.run_once()
            assert rig.value("ballot_entries_held") > 0
    assert await one.rows("quarantine") == []
    assert await one.pending() == 60

    async with one.worker(verifier, claim_idle_s=0.0) as rig:
        await _until_stored(one, rig, 60)
    assert await one.rows("quarantine") == []


async def test_held_entries_do_not_keep_others_waiting(one: Ground, verifier: Verifier) -> None:
    """Behind foreign entries the readable ones are stored, and they prove that the foreign are at fault."""
    voters = await one.voters(12)
    strange = [await one.cast(voter, queue_key=OTHER) for voter in voters[:5]]
    async with one.worker(verifier, claim_idle_s=0.05) as rig:
        for _ in range(3):
            await rig.consumer.run_once()
        assert await one.rows("quarantine") == []
        good = [await one.cast(voter) for voter in voters[5:]]
        await _until_stored(one, rig, len(good))
        async with asyncio.timeout(20):
            while await one.pending():
                await rig.consumer.run_once()

    assert {row["reason"] for row in await one.rows("quarantine")} == {"unreadable"}
    assert [await one.state(cast) for cast in strange] == [b"h"] * 5
    assert {await one.state(cast) for cast in good} == {b"s"}


async def test_one_foreign_entry_does_not_hold_a_ballot_for_ever(
    one: Ground, run_ballot: RunBallot, verifier: Verifier
) -> None:
    """After a start too, what was stored before shows that a foreign entry is at fault: the drain ends."""
    voters = await one.voters(21)
    for voter in voters[:20]:
        await one.cast(voter)
    async with one.worker(verifier) as rig:
        await rig.drain()
    strange = await one.cast(voters[20], queue_key=OTHER)

    await asyncio.to_thread(run_ballot, "worker", "--until-drained")

    assert await one.state(strange) == b"h"
    assert await one.pending() == 0


async def test_a_start_does_not_make_a_wrong_key_right(one: Ground, verifier: Verifier) -> None:
    """A worker with a wrong key that starts in front of stored votes goes on holding what it cannot read."""
    wrong = replace(one.keys, queue=OTHER)
    for voter in await one.voters(20):
        await one.cast(voter)
    async with one.worker(verifier) as rig:
        await rig.drain()
    for voter in await one.voters(5):
        await one.cast(voter)
    async with one.worker(verifier, keys=wrong) as rig:
        await rig.drain()
        assert rig.value("ballot_entries_held") == 5
    assert await one.rows("quarantine") == []


async def test_a_holding_worker_leaves_them_to_the_right_one(one: Ground, verifier: Verifier) -> None:
    """Running beside a worker with the right key, one that holds entries does not keep taking them back."""
    wrong = replace(one.keys, queue=OTHER)
    for voter in await one.voters(5):
        await one.cast(voter)
    stream = handoff.votes_key(one.ballot, 0)
    async with one.worker(verifier, keys=wrong, claim_idle_s=0.4) as rig:
        await rig.consumer.run_once()
        assert rig.value("ballot_entries_held") == 5
        await asyncio.sleep(0.5)  # idle long enough for any other worker, not for the one that held them
        await rig.drain()
        waiting = await one.admin.xpending_range(stream, handoff.GROUP, min="-", max="+", count=10)
        assert {each["times_delivered"] for each in waiting} == {1}

        async with one.worker(verifier, claim_idle_s=0.4) as right:
            await right.consumer.run_once()
    assert len(await one.rows("votes")) == 5


async def test_attempts_are_stored_while_entries_are_held(one: Ground, verifier: Verifier) -> None:
    """Only an attempt whose address is under another key waits with the entries that are held."""
    (voter,) = await one.voters(1)
    for key in (one.keys.queue, OTHER):
        ip = queue_record.wrap_ip(
            key, IP, ballot_id=one.ballot, credential_digest=voter.digest, random=secrets.token_bytes
        )
        await one.fcall("ballot_access", 0, voter.digest, ip)
    async with one.worker(verifier) as rig:
        await rig.drain()
        await rig.attempts.run_once(rig.consumer.name, leave_foreign=True)

    assert len(await one.rows("attempts")) == 1
    assert await one.admin.xlen(handoff.attempts_key(one.ballot, 0)) == 1


async def test_a_person_can_overrule_the_fuse(one: Ground, verifier: Verifier) -> None:
    """When the entries are at fault and not the keys, everything is set aside or stored as it is judged."""
    for voter in await one.voters(30):
        await one.cast(voter, wrapped=b"\x00" * 200)
    (voter,) = await one.voters(1)
    good = await one.cast(voter)
    async with one.worker(verifier) as rig:
        assert await rig.drain() == 0

    async with one.worker(verifier, claim_idle_s=0.0, overruled=True) as rig:
        await _until_stored(one, rig, 1)

    assert await one.state(good) == b"s"
    assert len(await one.rows("quarantine")) == 30
    assert await _fuse_events(one) == ["fuse", "fuse_cleared"]


async def test_whoever_waits_for_the_end_is_told(one: Ground, run_ballot: RunBallot) -> None:
    """`ballot worker --until-drained` ends with 1 when the fuse keeps it from ever draining."""
    for voter in await one.voters(20):
        await one.cast(voter, wrapped=b"\x00" * 200)

    done = await asyncio.to_thread(run_ballot, "worker", "--until-drained", check=False)

    assert done.returncode == 1
    assert "nothing is stored" in done.stderr
    done = await asyncio.to_thread(run_ballot, "worker", "--until-drained", "--overrule-fuse")
    assert len(await one.rows("quarantine")) == 20


async def test_a_worker_with_a_blown_fuse_stays_up(one: Ground, stack: Stack) -> None:
    """The process does not end, so no supervisor starts it again; asked to stop it stops in order."""
    for voter in await one.voters(20):
        await one.cast(voter, wrapped=b"\x00" * 200)
    process = await asyncio.create_subprocess_exec(
        ballot_command(), "worker", env=stack.env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while not await _fuse_events(one):  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 2.0)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20.0) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert await one.rows("quarantine") == []


async def test_the_alarm_is_repeated_each_minute(
    one: Ground, verifier: Verifier, capfd: pytest.CaptureFixture[str]
) -> None:
    """A blown fuse goes on saying so, once a minute, for as long as it keeps the worker from storing."""
    clock = ManualClock()
    for voter in await one.voters(12):
        await one.cast(voter, wrapped=b"\x00" * 200)

    async with one.worker(verifier, clock=clock) as rig:
        await rig.consumer.run_once()
        first = capfd.readouterr().err.count('"fused"')
        for _ in range(2):
            clock.advance(61.0)
            await rig.guard.may_store(_nothing)
            await rig.guard.may_store(_nothing)

    assert first == 1
    assert capfd.readouterr().err.count('"fused"') == 2


async def test_hostile_voters_cannot_trip_the_fuse(one: Ground, verifier: Verifier) -> None:
    """A thousand badly signed votes are quarantined one by one, and the honest vote behind them is stored."""
    *hostile, honest = await one.voters(1001)
    forger = SigningKey.from_seed(bytes(32))
    for voter in hostile:
        await one.cast(voter, signer=forger)
    cast = await one.cast(honest)

    async with one.worker(verifier) as rig:
        assert await rig.drain() == 1001
        assert rig.value("ballot_quarantined_total", reason="bad_signature") == 1000

    assert await one.state(cast) == b"s"


async def _until_stored(made: Ground, rig: Rig, votes: int) -> None:
    async with asyncio.timeout(20):
        while len(await made.rows("votes")) < votes:
            await rig.consumer.run_once()


async def _blow_fuse(made: Ground) -> None:
    await made.owner.execute("INSERT INTO ballot.events (kind, actor) VALUES ('fuse', 'worker')")


async def _fuse_events(made: Ground) -> list[str]:
    """The fuse's events since the last test cleared them."""
    rows = await made.owner.fetch(
        "SELECT kind FROM ballot.events WHERE ballot IS NULL AND kind LIKE 'fuse%' AND seq > coalesce("
        "(SELECT max(seq) FROM ballot.events WHERE kind = 'fuse_cleared' AND detail ? 'by'), 0) ORDER BY seq"
    )
    return [row["kind"] for row in rows]


async def _nothing() -> list[tuple[Checked, Outcome]]:
    return []
