"""What a worker read from a queue that was rebuilt meanwhile is never stored, however late it arrives."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import click
import pytest

from ballot import document, handoff
from ops.recovery import fence
from runtime import postgres, valkey
from runtime.lifecycle import Retry
from tests.integration.intake_rig import pinned_desk_key
from tests.integration.test_recovery_rebuilding import own, run_recover, stop_queue
from tests.integration.workers_ground import ground
from workers.store import Store
from workers.verification import Verifier

if TYPE_CHECKING:
    from tests.conftest import Stack
    from tests.integration.workers_ground import Ground

__all__ = ["own"]  # a fixture: a home whose queue may be broken

BALLOT = "in-flight"
GIVEN_S = 20.0


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
            with pytest.raises(Retry, match=r"QE001|voter database"):
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

        with pytest.raises(ZeroDivisionError):
            async with fence.raised(queue, database):
                raise ZeroDivisionError
        assert await owner.fetchval(fence.NUMBER) == before + 1
        assert "epoch" in (await fence.differs(queue, database))[0]
        async with fence.raised(queue, database) as number:
            assert number == before + 2
        assert await queue.get(handoff.EPOCH_KEY) == str(number).encode()
        assert await fence.differs(queue, database) == []
    finally:
        await owner.close()
        await database.close()
        await queue.aclose()


async def test_a_restored_voter_database_follows_the_queue(own: Stack) -> None:
    """A queue that is a little ahead is believed, with an event; one that is far ahead, or behind, never."""
    owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")

    async def connect() -> Any:
        return await postgres.connect(own.servers, "voterdb", "ballot_worker")

    store = Store(connect)
    try:
        at = await owner.fetchval(fence.NUMBER)
        assert [await store.epoch(said) for said in (at - 1, at, at + 1001, -1)] == [at] * 4
        assert await store.epoch(at + 7) == at + 7
        assert await store.epoch(at) == at + 7
        detail = await owner.fetchval(
            "SELECT detail FROM ballot.events WHERE kind = 'queue_epoch_raised' ORDER BY seq DESC LIMIT 1"
        )
        assert f'"to": {at + 7}' in detail
        recovered = await owner.fetchval("SELECT ballot.recovery_epoch($1)", at + 9)
        assert recovered == at + 10
        assert await owner.fetchval("SELECT ballot.recovery_epoch($1)", at) == at + 11
    finally:
        await store.close()
        await owner.close()
