"""Batches on real servers: the call that stores a sound batch whole, what it refuses, and what overlaps."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

import workers.store
from ballot import handoff
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from runtime import postgres
from runtime.lifecycle import Retry
from tests.integration.workers_ground import Cast, Ground, LosesAcknowledgements, OneBallotQueue, ground
from workers.checking import Checks
from workers.published import PublishedBallot
from workers.store import Outcome, Row, Store
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.conftest import Stack
    from workers.queue import Given

ANSWER_S = 0.2
HERE = Verifier(0)
"""Signatures checked in the worker's own process, as they are unless the setting says otherwise."""


@pytest.fixture
async def one(stack: Stack, ballot_id: str) -> AsyncIterator[Ground]:
    """A ballot of one shard."""
    async with ground(stack, ballot_id) as made:
        yield made


async def _rows(made: Ground, casts: Sequence[Cast]) -> list[Row]:
    """The rows of what is in the stream, as a worker makes them."""
    checks = Checks(keys=made.keys, verifier=HERE)
    ballot = PublishedBallot(made.ballot, made.definition.sha256, made.shards)
    entries = await made.admin.xrange(handoff.votes_key(made.ballot, 0))
    checked = await checks.check(ballot, {entry.decode(): fields for entry, fields in entries})
    assert len(checked) == len(casts)
    return [each.row for each in checked]


async def _quarantined(made: Ground, rows: list[Row], _: list[Cast]) -> None:
    await made.owner.execute(
        "INSERT INTO ballot.quarantine (ballot, shard, entry, reason, record)"
        " VALUES ($1, 0, $2, 'unreadable', '')",
        made.ballot,
        rows[1].entry.id,
    )


async def _revoked(made: Ground, rows: list[Row], casts: list[Cast]) -> None:
    await made.owner.execute(
        "INSERT INTO ballot.revocations VALUES ($1, $2, $3, 7, 1)",
        made.ballot,
        casts[1].voter.digest,
        rows[1].entry.at_us,
    )


async def _returned(made: Ground, _: list[Row], casts: list[Cast]) -> None:
    await made.owner.execute(
        "INSERT INTO ballot.returns (ballot, uin, method, received_us, recorded_us, counted, shard, entry)"
        " VALUES ($1, $2, 'postal', 1, 1, true, 0, '1-1')",
        made.ballot,
        casts[1].voter.uin,
    )


async def _never_issued(_: Ground, rows: list[Row], __: list[Cast]) -> None:
    rows[1].entry.digest = secrets.token_bytes(32)


async def _issued_to_another(_: Ground, rows: list[Row], __: list[Cast]) -> None:
    rows[1].entry.uin = secrets.token_bytes(16)


async def _issued_in_another_shard(made: Ground, _: list[Row], casts: list[Cast]) -> None:
    await made.owner.execute(
        "UPDATE ballot.register SET shard = 3 WHERE ballot = $1 AND credential_digest = $2",
        made.ballot,
        casts[1].voter.digest,
    )


async def _twice_in_the_batch(_: Ground, rows: list[Row], __: list[Cast]) -> None:
    rows.append(rows[1])


async def _one_reference(_: Ground, rows: list[Row], __: list[Cast]) -> None:
    rows[1].entry.reference = rows[0].entry.reference


async def _one_sealed_vote(_: Ground, rows: list[Row], __: list[Cast]) -> None:
    rows[1].record = rows[0].record


async def _stored_already(made: Ground, rows: list[Row], _: list[Cast]) -> None:
    assert await _store_votes(made, rows[1:2])


@pytest.mark.parametrize(
    "spoil",
    [
        _quarantined,
        _revoked,
        _returned,
        _never_issued,
        _issued_to_another,
        _issued_in_another_shard,
        _twice_in_the_batch,
        _one_reference,
        _one_sealed_vote,
        _stored_already,
    ],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
async def test_the_one_call_stores_nothing_of_a_batch_with_an_odd_entry(one: Ground, spoil: Any) -> None:
    """One entry that must be judged by itself, and not a row, count or mark of the others is written."""
    casts = [await one.cast(voter) for voter in await one.voters(3)]
    rows = await _rows(one, casts)
    await spoil(one, rows, casts)
    before = await _written(one)

    assert not await _store_votes(one, rows)

    assert await _written(one) == before


async def test_the_one_call_writes_what_the_other_would(one: Ground) -> None:
    """A sound batch is stored with the same rows, turnout and mark as entry by entry."""
    casts = [await one.cast(voter) for voter in await one.voters(6)]
    rows = await _rows(one, casts)
    assert await _store_votes(one, rows[:3])
    store = _store(one)
    try:
        judged = await store.judge_batch(one.ballot, 0, rows[:3], epoch=0)
        outcomes = await store.store_batch(one.ballot, 0, rows[3:], epoch=0, judge=lambda _: None)
    finally:
        await store.close()

    assert {outcome.status for outcome in judged} == {"redelivered"}
    assert outcomes == [Outcome(row.entry.id, "stored", fresh=True, equal_sealed=False) for row in rows[3:]]
    assert {row["uin"]: row["sealed"] for row in await one.rows("votes")} == {
        cast.voter.uin: cast.sealed for cast in casts
    }
    assert len(await one.rows("ip_records")) == 6
    assert await one.turnout("stored") == {"electronic": 6}
    (mark,) = await one.rows("marks")
    assert (mark["entries"], mark["entry"]) == (6, rows[-1].entry.id)


async def test_a_vote_is_stored_with_the_number_of_its_acceptance(one: Ground) -> None:
    """By either way of storing; of a gate that does not number yet, or with an odd number, it has none."""
    casts = [await one.cast(voter) for voter in await one.voters(3)]
    rows = await _rows(one, casts)
    assert await _store_votes(one, rows[:2])
    rows[2].entry.number = None
    assert await _store_votes(one, rows[2:])
    older, odd, *several = [await one.cast(voter) for voter in await one.voters(5)]
    stream = handoff.votes_key(one.ballot, 0)
    await one.admin.delete(stream)
    appended = [await one.append(older), await one.append(odd, n=b"nine")]
    appended += [await one.append(cast, n=str(60 + place).encode()) for place, cast in enumerate(several)]
    await one.append(casts[0], n=b"77")  # a redelivered one, so that all are judged entry by entry
    async with one.worker(HERE) as rig:
        await rig.drain()

    stored = {row["uin"]: row["number"] for row in await one.rows("votes")}
    assert stored == {
        cast.voter.uin: number
        for cast, number in zip(
            [*casts, older, odd, *several], [1, 2, None, None, None, 60, 61, 62], strict=True
        )
    }


async def test_workers_of_the_version_before_go_on(one: Ground) -> None:
    """The functions as they call them are still theirs to call, and store as they did: without numbers."""
    casts = [await one.cast(voter) for voter in await one.voters(4)]
    rows = await _rows(one, casts)
    connection = await postgres.connect(one.stack.servers, "voterdb", "ballot_worker")
    try:
        plain = workers.store._vote_columns(rows[:2])[:-1]
        call = f"SELECT ballot.store_votes({', '.join(f'${place}' for place in range(1, 15))})"
        assert await connection.fetchval(call, one.ballot, 0, *plain)
        assert not await connection.fetchval(call, one.ballot, 0, *plain)
        judged = workers.store._entry_columns(rows)[:-1]
        call = f"SELECT * FROM ballot.store_batch({', '.join(f'${place}' for place in range(1, 20))})"  # noqa: S608  # placeholders only
        outcomes = [Outcome(*record) for record in await connection.fetch(call, one.ballot, 0, *judged)]
    finally:
        await connection.close()

    assert [outcome.status for outcome in outcomes] == ["redelivered", "redelivered", "stored", "stored"]
    assert [row["number"] for row in await one.rows("votes")] == [None] * 4
    (mark,) = await one.rows("marks")
    assert (mark["entries"], mark["entry"]) == (4, rows[-1].entry.id)


async def test_what_is_held_keeps_its_number_in_its_record(one: Ground) -> None:
    """Quarantine keeps the entry as it came, the number with it."""
    (voter,) = await one.voters(1)
    await one.cast(voter, signer=SigningKey.from_seed(bytes(32)))
    async with one.worker(HERE) as rig:
        await rig.drain()

    (held,) = await one.rows("quarantine")
    assert orjson.loads(held["record"])["n"] == b64encode(b"1")


async def test_a_sound_backlog_goes_by_the_one_call(one: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch after batch of good votes is stored whole; only the one with a copy is judged entry by entry."""
    judged, by_entry = [], workers.store._batch

    async def noted(connection: Any, epoch: int, ballot: str, shard: int, rows: Any) -> list[Outcome]:
        judged.append(len(rows))
        return await by_entry(connection, epoch, ballot, shard, rows)

    monkeypatch.setattr(workers.store, "_batch", noted)
    casts = [await one.cast(voter) for voter in await one.voters(40)]
    await one.append(casts[-1])
    async with one.worker(HERE, batch=16) as rig:
        assert await rig.drain() == 41
        assert rig.value("ballot_stored_votes_total") == 40
        assert rig.value("ballot_redelivered_total") == 1

    assert judged == [9]
    assert await one.pending() == 0


async def test_a_batch_that_fails_takes_the_one_behind_it_along(one: Ground) -> None:
    """What was read behind a batch that could not be acknowledged comes again with it, and is stored once."""
    for voter in await one.voters(50):
        await one.cast(voter)
    async with one.worker(HERE, batch=16, queue_type=LosesAcknowledgements) as rig:
        with pytest.raises(Retry):
            await rig.consumer.run_once()
        assert await one.pending() == 32
        await rig.drain()

        assert rig.value("ballot_stored_votes_total") == 50
        assert rig.value("ballot_redelivered_total") == 16
    assert len(await one.rows("votes")) == 50
    assert await one.pending() == 0


async def test_behind_a_blown_fuse_nothing_is_stored(one: Ground) -> None:
    """A good batch that was checked while the fuse blew on the one before it stays in the queue."""
    voters = await one.voters(48)
    for voter in voters[:16]:
        await one.cast(voter, wrapped=b"\x00" * 200)
    for voter in voters[16:]:
        await one.cast(voter)
    async with one.worker(HERE, batch=16) as rig:
        assert await rig.drain() == 0
        assert rig.value("ballot_store_fused") == 1

    assert await one.rows("votes") == []
    assert await one.rows("quarantine") == []


async def test_the_next_batch_is_checked_while_one_is_stored(one: Ground, stack: Stack) -> None:
    """The database's work and the worker's overlap: one batch waits here until the next is checked."""
    checked = asyncio.Event()

    class Waits(Store):
        """A database that is slow until the next batch was checked."""

        async def store_batch(self, *args: Any, **kwargs: Any) -> list[Outcome]:
            await asyncio.wait_for(checked.wait(), 10)
            return await super().store_batch(*args, **kwargs)

    class Counts(Verifier):
        """Says when the second batch comes to it."""

        batches = 0

        async def signed(self, claims: Any) -> list[bool]:
            self.batches += 1
            if self.batches == 2:
                checked.set()
            return await super().signed(claims)

    for voter in await one.voters(32):
        await one.cast(voter)
    store = Waits(lambda: postgres.connect(stack.servers, "voterdb", "ballot_worker"))
    async with one.worker(Counts(0), batch=16, store=store) as rig:
        assert await rig.consumer.run_once() == 32


async def test_no_vote_without_its_credential_in_the_register(one: Ground) -> None:
    """Not even the owner writes such a vote, or takes a credential with a vote out of the register."""
    (cast,) = [await one.cast(voter) for voter in await one.voters(1)]
    rows = await _rows(one, [cast])
    assert await _store_votes(one, rows)

    for statement in (
        """INSERT INTO ballot.votes SELECT ballot, sha256(uin), 'ZZZZ-0000-0000-0000', accepted_us,
           sha256(uin), channel, credential, nonce, sealed, signature, sealed_sha256,
           decode(md5('x'), 'hex'), shard, '1-1'
           FROM ballot.votes WHERE ballot = $1""",
        "DELETE FROM ballot.register WHERE ballot = $1",
        "UPDATE ballot.register SET credential_digest = sha256(uin) WHERE ballot = $1",
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await one.owner.execute(statement, one.ballot)


def _store(made: Ground) -> Store:
    return Store(lambda: postgres.connect(made.stack.servers, "voterdb", "ballot_worker"))


async def _store_votes(made: Ground, rows: Sequence[Row]) -> bool:
    """The one call, in the worker's role."""
    connection = await postgres.connect(made.stack.servers, "voterdb", "ballot_worker")
    try:
        columns = workers.store._vote_columns(rows)
        return bool(await connection.fetchval(workers.store._STORE_VOTES, 0, made.ballot, 0, *columns))
    finally:
        await connection.close()


async def _written(made: Ground) -> list[Any]:
    """Everything that storing writes, but for an empty mark."""
    tables = ("votes", "ip_records", "turnout", "quarantine", "returns", "events")
    marks = [dict(row) for row in await made.rows("marks") if row["entries"]]
    return [sorted(map(str, await made.rows(table))) for table in tables] + marks


class SlowToAnswer(Store):
    """The real store, whose answer comes some time after the commit."""

    async def store_batch(self, *args: Any, **kwargs: Any) -> list[Outcome]:
        """Commit, and answer later."""
        outcomes = await super().store_batch(*args, **kwargs)
        await asyncio.sleep(ANSWER_S)
        return outcomes


class BreaksOnce(OneBallotQueue):
    """The real queue, away for the second read of new entries."""

    reads = 0

    async def read_new(self, *args: Any, **kwargs: Any) -> Given:
        """Break, or read."""
        self.reads += 1
        if self.reads == 2:
            raise Retry("the connection broke")
        return await super().read_new(*args, **kwargs)


async def test_a_hiccup_of_the_queue_costs_no_alarm(
    stack: Stack, ballot_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is committed while the next read fails is said and counted as any other, once."""
    store = SlowToAnswer(lambda: postgres.connect(stack.servers, "voterdb", "ballot_worker"))
    async with ground(stack, ballot_id) as made:
        bad, *good = await made.voters(20)
        await made.cast(bad, signer=SigningKey.from_seed(bytes(32)))
        for voter in good:
            await made.cast(voter)
        async with made.worker(HERE, batch=16, store=store, queue_type=BreaksOnce) as rig:
            with pytest.raises(Retry):
                await rig.consumer.run_once()
            await rig.drain()
            counted = rig.value("ballot_quarantined_total", reason="bad_signature")
        assert len(await made.rows("votes")) == len(good)
        assert await made.pending() == 0
    assert capfd.readouterr().err.count('"quarantined"') == 1
    assert counted == 1
