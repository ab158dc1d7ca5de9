"""What a worker read from a queue that was rebuilt meanwhile is never stored, however late it arrives."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from redis.exceptions import ResponseError

from ballot import document, handoff
from ops.recovery import fence, in_place, merge, wrong
from ops.recovery.shard import Shard
from runtime import postgres, valkey
from runtime.lifecycle import Retry
from tests.integration.intake_rig import pinned_desk_key
from tests.integration.test_recovery_rebuilding import own, run_recover, stop_queue
from tests.integration.workers_ground import ground
from workers.store import Store
from workers.trust import Trust
from workers.verification import Verifier

if TYPE_CHECKING:
    from tests.conftest import Stack
    from tests.integration.workers_ground import Ground

__all__ = ["own"]  # a fixture: a home whose queue may be broken

BALLOT = "in-flight"
GIVEN_S = 20.0
ROOT = Path(__file__).resolve().parents[2]
OLDER_FINISH = """local function opening(keys)
  redis.call('HDEL', keys[1], 'recovery_lost')
  return redis.call('HDEL', keys[1], 'recovering')
end

local function finish(keys"""
OLDER_BATCH = (
    "INSERT INTO ballot.marks (ballot, shard, side, entry, entries) VALUES ($1, 0, 'stored', '1-0', 1)"
)


async def _open(made: Ground) -> None:
    await made.owner.execute(
        "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us, document, document_signature)"
        " VALUES ($1, 'armed', $2, $3, $4, $5)",
        made.ballot,
        made.definition.opens_us,
        made.definition.closes_us,
        made.document.canonical,
        document.sign(made.document, pinned_desk_key(made.stack.home)),
    )


async def _given(made: Ground) -> None:
    """Wait until a worker has been given an entry."""
    stream = handoff.votes_key(made.ballot, 0)
    async with asyncio.timeout(GIVEN_S):
        while not (await made.admin.xpending(stream, handoff.GROUP))["pending"]:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.02)


async def test_a_batch_in_flight_is_not_stored_after_the_recovery(own: Stack) -> None:
    """Its voter, of whom the rebuilt gate knows nothing, votes again, and that is the one vote there is."""
    connection = await postgres.connect(own.servers, "voterdb", "ballot_worker")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    store = Store(lambda: asyncio.sleep(0, connection))
    verifier = Verifier(0)
    async with ground(own, BALLOT) as made:
        await _open(made)
        first, late = await made.voters(2)
        async with made.worker(verifier, store=store) as rig:
            await made.cast(first)
            await rig.drain()
            os.kill(backend, signal.SIGSTOP)
            try:
                lost = await made.cast(late)
                storing = asyncio.create_task(rig.consumer.run_once())
                await _given(made)
                shutil.rmtree(stop_queue(own))
                report = await asyncio.to_thread(run_recover, own)
                await asyncio.to_thread(own.servers.ensure_running)
            finally:
                os.kill(backend, signal.SIGCONT)
            with pytest.raises(Retry, match=r"QE001"):
                await storing
        assert report["report"]["ballots"][BALLOT]["stored"] == 1

        await made.admin.aclose()
        made.admin = valkey.connect(own.servers, "admin")  # its port may be another one now
        again = await made.cast(late)
        async with made.worker(verifier) as rig:
            await rig.drain()
        stored = {row["uin"]: row["reference"] for row in await made.rows("votes")}
        assert stored[late.uin] == again.reference != lost.reference
        assert len(stored) == 2
        assert await made.rows("quarantine") == []
    verifier.close()


async def test_a_late_call_of_an_edge_meets_a_shard_that_takes_nothing(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it comes, and whoever vouches: nothing is accepted until a recovery has ended well."""
    monkeypatch.setattr(in_place, "EDGES_NOTICE_S", 0.1)
    original, answers, fails = merge.merge, [], [True, False]
    sources = merge.Sources(desk_public=pinned_desk_key(own.home).public)
    async with ground(own, "late-call") as made:
        await _open(made)
        voter, other = await made.voters(2)

        async def tried() -> None:
            for call in (
                made.cast(voter),
                made.fcall("ballot_access", 0, voter.digest, b""),
                made.fcall("ballot_return", 0, other.uin, "postal", "1"),
            ):
                with pytest.raises(ResponseError, match="RECOVERING") as refused:
                    await call
                answers.append(refused)

        async def late(*args: Any, **named: Any) -> Any:
            await tried()
            if fails.pop(0):
                raise ZeroDivisionError
            return await original(*args, **named)

        monkeypatch.setattr(merge, "merge", late)
        with pytest.raises(ZeroDivisionError):
            await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        await made.admin.delete(handoff.RECOVERING_KEY)  # as on a Cluster whose node of that key was lost
        told = await wrong.compare(own.servers, own.home.desk / "roots")
        assert f"ballot late-call shard 0: {wrong.LATCHED}" in told
        await tried()

        await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        await made.cast(voter)
        assert len(answers) == 9
        assert await wrong.compare(own.servers, own.home.desk / "roots") == []


async def test_a_late_word_of_a_worker_is_taken_back_as_long_as_a_recovery_lasts(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the merge, and after the last look for such words; the latch goes only after that."""
    monkeypatch.setattr(in_place, "EDGES_NOTICE_S", 0.1)
    monkeypatch.setattr(in_place, "KEEP_SHUT_S", 0.05)
    sources = merge.Sources(desk_public=pinned_desk_key(own.home).public)
    original, finish, connect = merge.merge, Shard.finish, valkey.connect
    at_the_latch: list[tuple[int, int]] = []

    async with ground(own, "late-word") as made:
        await _open(made)

        async def vouches() -> None:
            await made.admin.hset(handoff.TRUST_KEY, "a-run-of-before", "1")

        async def merging(*args: Any, **named: Any) -> Any:
            await vouches()
            async with asyncio.timeout(GIVEN_S):
                while await made.admin.exists(handoff.TRUST_KEY):  # noqa: ASYNC110  # the keeper does it
                    await asyncio.sleep(0.01)
            return await original(*args, **named)

        async def finishing(self: Shard, epoch: int = 0) -> None:
            await finish(self, epoch)
            await vouches()

        def connecting(*args: Any, **named: Any) -> Any:
            client: Any = connect(*args, **named)
            delete = client.delete

            async def deleting(*keys: str) -> Any:
                if handoff.RECOVERING_KEY in keys:
                    at_the_latch.append(
                        (await client.exists(handoff.TRUST_KEY), await client.exists(handoff.RECOVERING_KEY))
                    )
                return await delete(*keys)

            client.delete = deleting
            return client

        monkeypatch.setattr(merge, "merge", merging)
        monkeypatch.setattr(Shard, "finish", finishing)
        monkeypatch.setattr(valkey, "connect", connecting)
        await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        assert at_the_latch == [(0, 1)]
        assert not await made.admin.exists(handoff.TRUST_KEY, handoff.RECOVERING_KEY)


async def test_an_older_copy_of_a_gate_is_not_vouched_for(own: Stack) -> None:
    """From before a revocation, or with another closing time; nothing that is stored is missing in it."""
    verifier = Verifier(0)
    async with ground(own, "older-copy") as made:
        await _open(made)
        (voter,) = await made.voters(1)
        gate, codes, *_ = handoff.shard_keys(made.ballot, 0)
        older = {key: await made.admin.dump(key) for key in (gate, codes)}
        revoked_us, existed = await made.fcall("ballot_revoke", 0, voter.digest)
        assert existed == 1
        await made.owner.execute(
            "INSERT INTO ballot.revocations VALUES ($1, $2, $3, 7, 0)",
            made.ballot,
            voter.digest,
            int(revoked_us),
        )
        newer = {key: await made.admin.dump(key) for key in (gate, codes)}

        async def vouched(copy: dict[str, Any], **changed: int) -> bool:
            await made.admin.delete(handoff.TRUST_KEY, *copy)
            for key, value in copy.items():
                await made.admin.restore(key, 0, value)
            if changed:
                await made.admin.hset(gate, mapping=changed)
            async with made.worker(verifier) as rig:
                trust = Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics)
                with suppress(Retry):
                    return await trust.check()
            assert not await made.admin.exists(handoff.TRUST_KEY)
            return False

        assert await vouched(newer)
        assert not await vouched(older)
        assert not await vouched(newer, closes_us=made.definition.closes_us + 1)
        assert await vouched(newer)
    verifier.close()


async def test_a_gate_from_before_a_recovery_is_known_by_itself(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Cluster of which one node came back older, nothing missing: another has the queue's number."""
    monkeypatch.setattr(in_place, "EDGES_NOTICE_S", 0.1)
    sources = merge.Sources(desk_public=pinned_desk_key(own.home).public)
    verifier = Verifier(0)
    async with ground(own, "older-node") as made:
        await _open(made)
        (voter,) = await made.voters(1)
        key = handoff.gate_key(made.ballot, 0)
        older = await made.admin.dump(key)
        await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        newer = await made.admin.dump(key)
        number = int(await made.admin.get(handoff.EPOCH_KEY))
        assert int(await made.admin.hget(key, "epoch")) == number

        async def vouched(copy: Any) -> bool:
            await made.admin.delete(handoff.TRUST_KEY, key)
            await made.admin.restore(key, 0, copy)
            async with made.worker(verifier) as rig:
                trust = Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics)
                with suppress(Retry):
                    return await trust.check()
            return False

        assert await vouched(newer)
        assert not await vouched(older)
        told = await wrong.compare(own.servers, own.home.desk / "roots")
        said = f"the gate is from before a recovery (epoch 0, on record is {number})"
        assert told == [f"ballot older-node shard 0: {said}"]
        for junk, is_less in (("junk", True), ("9" * 5_000, True), ("-5", True), (str(number + 1), False)):
            await made.admin.hset(key, "epoch", junk)
            assert await vouched(await made.admin.dump(key)) != is_less
            told = await wrong.compare(own.servers, own.home.desk / "roots")
            assert any("from before a recovery" in each for each in told) == is_less
        await made.owner.execute("DELETE FROM ballot.gate_epochs")  # a voterdb of before that recovery
        assert await vouched(newer)
        assert await vouched(older)
        for junk in ("junk", "9" * 5_000):
            await made.admin.hset(key, "epoch", junk)
            assert await vouched(await made.admin.dump(key))
            assert await wrong.compare(own.servers, own.home.desk / "roots") == []

        await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        assert await vouched(await made.admin.dump(key))
        await made.cast(voter)
    verifier.close()


async def test_no_gate_is_refused_for_a_number_that_it_was_never_given(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library or a whole command of an older version opens gates without one; whatever was there before."""
    monkeypatch.setattr(in_place, "EDGES_NOTICE_S", 0.1)
    sources = merge.Sources(desk_public=pinned_desk_key(own.home).public)
    verifier = Verifier(0)
    library = (ROOT / "ops" / "valkey" / "recovery.lua").read_text()
    older = library.replace("local function finish(keys", OLDER_FINISH)
    older = older.replace("of_this_layout(finish)", "of_this_layout(opening)")
    assert older != library
    original = merge.merge

    async def merging(*args: Any, **named: Any) -> Any:
        found = await original(*args, **named)
        await made.admin.function_load(older, replace=True)  # as any command of that version does
        return found

    async def recovered() -> list[tuple[str, int]]:
        await in_place.merge_in_place(own.home, own.servers, sources, ["asked for"])
        async with made.worker(verifier) as rig:
            assert await Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics).check()
        assert await wrong.compare(own.servers, own.home.desk / "roots") == []
        return [(row["ballot"], row["number"]) for row in await made.rows("gate_epochs")]

    async with ground(own, "older-version") as made:
        await _open(made)
        monkeypatch.setattr(merge, "merge", merging)
        rows = await recovered()
        number = int(await made.admin.get(handoff.EPOCH_KEY))
        assert rows == [(made.ballot, number)]
        assert int(await made.admin.hget(handoff.gate_key(made.ballot, 0), "epoch")) == number

        async def finish(self: Shard, _: int) -> None:
            await self._call("ballot_recover_finish", [])

        async def opened(*_: Any) -> None:
            """That version has no such step."""

        monkeypatch.setattr(Shard, "finish", finish)
        monkeypatch.setattr(fence, "opened", opened)
        await made.admin.delete(handoff.gate_key(made.ballot, 0))  # lost with all that it had
        assert await recovered() == []
    verifier.close()


async def test_recovery_waits_for_who_stores_and_says_so(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a batch is not committed nothing is raised; then voterdb's number first, the queue's last."""
    monkeypatch.setattr(fence, "LOCK_WAIT_MS", 100)
    owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")
    database = await postgres.connect(own.servers, "voterdb", "ballot_recovery")
    queue: Any = valkey.connect(own.servers, "admin")
    try:
        before = await owner.fetchval(fence.NUMBER)
        storing = owner.transaction()
        await storing.start()
        await owner.execute("SELECT ballot.storing_fence($1)", before)
        with pytest.raises(click.ClickException, match="a worker is storing"):
            async with fence.raised(queue, database):
                pytest.fail("it did not wait")
        await storing.rollback()

        older = owner.transaction()  # a worker that knows no number: it takes no lock of ours
        await older.start()
        await owner.execute(OLDER_BATCH, BALLOT)
        with pytest.raises(click.ClickException, match="a worker is storing"):
            async with fence.raised(queue, database):
                pytest.fail("it did not wait")
        await older.rollback()

        with pytest.raises(ZeroDivisionError):
            async with fence.raised(queue, database):
                raise ZeroDivisionError
        at = await owner.fetchval(fence.NUMBER)
        assert at > before
        assert "epoch" in (await fence.differs(queue, database))[0]
        async with fence.raised(queue, database) as number:
            assert number > at
        assert await queue.get(handoff.EPOCH_KEY) == str(number).encode()
        assert await fence.differs(queue, database) == []
    finally:
        await owner.close()
        await database.close()
        await queue.aclose()


async def test_no_restore_of_both_brings_a_number_back(own: Stack) -> None:
    """A voterdb of before every recovery, a queue that is lost: no number that a batch of then may have."""
    owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")
    database = await postgres.connect(own.servers, "voterdb", "ballot_recovery")
    queue: Any = valkey.connect(own.servers, "admin")
    before = await owner.fetchval(fence.NUMBER)
    given = []
    try:
        for _ in range(3):
            await owner.execute("UPDATE ballot.queue_epoch SET number = 0")
            await queue.delete(handoff.EPOCH_KEY)
            async with fence.raised(queue, database) as number:
                given.append(number)
            await asyncio.sleep(0.002)
        assert sorted({*given, before, 0}) == [*sorted({0, before}), *given]
        assert await fence.differs(queue, database) == []
    finally:
        await owner.close()
        await database.close()
        await queue.aclose()


async def test_a_restored_voter_database_follows_the_queue(own: Stack) -> None:
    """A queue that is ahead is believed, with an event; one ahead of the clock, or behind, never."""
    owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")

    async def connect() -> Any:
        return await postgres.connect(own.servers, "voterdb", "ballot_worker")

    store = Store(connect)
    try:
        at = await owner.fetchval(fence.NUMBER)
        assert [await store.epoch(said) for said in (at - 1, at, 10**14, -1)] == [at] * 4
        assert await store.epoch(at + 7) == at + 7
        assert await store.epoch(at) == at + 7
        detail = await owner.fetchval(
            "SELECT detail FROM ballot.events WHERE kind = 'queue_epoch_raised' ORDER BY seq DESC LIMIT 1"
        )
        assert f'"to": {at + 7}' in detail
        recovered = await owner.fetchval("SELECT ballot.recovery_epoch($1)", at + 10_000_000)
        assert recovered == at + 10_000_001
        assert await owner.fetchval("SELECT ballot.recovery_epoch($1)", at) == at + 10_000_002
        assert await owner.fetchval("SELECT ballot.recovery_epoch($1)", 10**14) == at + 10_000_003
    finally:
        await store.close()
        await owner.close()
