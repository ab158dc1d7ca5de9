"""Queue to voter database on real servers: stored as cast, once, or set aside with a reason; never lost."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

import pytest

from ballot import handoff, queue_record, vote
from ballot.queue_record import QueueRecord
from ballot.receipt import draw_reference
from ballot.suite import SigningKey, Unreadable, keyed_digest
from runtime.lifecycle import Retry
from tests.integration.workers_ground import IP, Cast, Ground, LosesAcknowledgements, Voter, ground
from workers.opening import attempt_place, open_ip
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import RunBallot, Stack


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


async def test_a_vote_is_stored_exactly_as_cast(stack: Stack, ballot_id: str, verifier: Verifier) -> None:
    """Every byte the voter sealed and signed is in the row, and each receipt then says stored."""
    async with ground(stack, ballot_id, shards=4) as made, made.worker(verifier) as rig:
        casts = [await made.cast(voter) for voter in await made.voters(40)]

        assert await rig.drain() == 40

        rows = {row["uin"]: row for row in await made.rows("votes")}
        for cast in casts:
            row = rows[cast.voter.uin]
            assert row["sealed"] == cast.sealed
            assert row["sealed_sha256"] == hashlib.sha256(cast.sealed).digest()
            assert (row["nonce"], row["signature"]) == (cast.record.nonce, cast.record.signature)
            assert (row["credential"], row["reference"]) == (cast.record.credential, cast.reference)
            assert (row["shard"], row["channel"]) == (cast.voter.shard, "email")
            assert await made.state(cast) == b"s"
        assert len(rows) == 40
        assert await made.pending() == 0
        assert await made.turnout("stored") == {"electronic": 40}
        assert rig.value("ballot_stored_votes_total") == 40
        assert rig.value("ballot_store_lag_seconds_count") == 40


async def test_no_address_is_in_the_vote(one: Ground, verifier: Verifier) -> None:
    """The IP address is in its own table only, and opens with the workers' key for that event alone."""
    async with one.worker(verifier) as rig:
        cast = await one.cast((await one.voters(1))[0])
        await rig.drain()

    (vote,) = await one.rows("votes")
    (record,) = await one.rows("ip_records")
    assert IP not in str(dict(vote))
    assert IP.encode() not in b"".join(v for v in vote if isinstance(v, bytes))
    assert record["event"] == vote["event"]
    assert open_ip(one.keys.ip, record["sealed_ip"], ballot=one.ballot, place=vote["event"]) == IP
    for key, place in ((one.keys.queue, vote["event"]), (one.keys.ip, bytes(16))):
        with pytest.raises(Unreadable):
            open_ip(key, record["sealed_ip"], ballot=one.ballot, place=place)
    assert cast.voter.uin == vote["uin"]


async def test_a_commit_without_acknowledgement_is_harmless(one: Ground, verifier: Verifier) -> None:
    """What was committed and not acknowledged comes again, changes nothing and is then acknowledged."""
    casts = [await one.cast(voter) for voter in await one.voters(5)]
    async with one.worker(verifier, queue_type=LosesAcknowledgements) as rig:
        with pytest.raises(Retry):
            await rig.consumer.run_once()
        before = await one.rows("votes")
        assert (len(before), await one.pending()) == (5, 5)

        await rig.drain()

        assert await one.rows("votes") == before
        assert await one.pending() == 0
        assert rig.value("ballot_redelivered_total") == 5
    assert await one.turnout("stored") == {"electronic": 5}
    assert {await one.state(cast) for cast in casts} == {b"s"}


async def test_another_worker_takes_over_what_a_dead_one_held(one: Ground, verifier: Verifier) -> None:
    """Entries given to a worker that never comes back are claimed by the next and stored once."""
    for voter in await one.voters(3):
        await one.cast(voter)
    stream = handoff.votes_key(one.ballot, 0)
    await one.admin.xgroup_create(stream, handoff.GROUP, id="0")
    await one.admin.xreadgroup(handoff.GROUP, "dead", {stream: ">"})

    async with one.worker(verifier, claim_idle_s=0.05) as rig:
        async with asyncio.timeout(10):
            while await one.pending():
                await rig.consumer.run_once()

    assert len(await one.rows("votes")) == 3


async def test_two_workers_store_each_entry_once(stack: Stack, ballot_id: str, verifier: Verifier) -> None:
    """Two workers given the very same entries at the same time store each vote once and agree on it."""
    async with ground(stack, ballot_id, shards=2) as made:
        casts = [await made.cast(voter) for voter in await made.voters(120)]
        async with (
            made.worker(verifier, claim_idle_s=0.0, batch=32) as first,
            made.worker(verifier, claim_idle_s=0.0, batch=32) as second,
        ):
            await asyncio.gather(first.drain(), second.drain())
            stored = [rig.value("ballot_stored_votes_total") for rig in (first, second)]

        assert sum(stored) == 120
        assert len(await made.rows("votes")) == len(await made.rows("ip_records")) == len(casts)
        assert await made.turnout("stored") == {"electronic": 120}
        assert await made.rows("quarantine") == []
        marks = [row["entries"] for row in await made.rows("marks") if row["side"] == "stored"]
        assert sum(marks) == 120


async def test_a_conflict_keeps_both_votes_visible(one: Ground, verifier: Verifier) -> None:
    """A second vote of one UIN is quarantined whole, in one batch or two; the first stays stored."""
    voter, other = await one.voters(2)
    first, unrelated = await one.cast(voter), await one.cast(other)
    second = _another_vote(one, first)
    async with one.worker(verifier) as rig:
        await one.append(second)
        await rig.drain()
        await one.append(_another_vote(one, first))
        await rig.drain()
        assert rig.value("ballot_quarantined_total", reason="conflict") == 2

    assert {row["reference"] for row in await one.rows("votes")} == {first.reference, unrelated.reference}
    held = await one.rows("quarantine")
    assert [(row["reason"], row["uin"]) for row in held] == [("conflict", voter.uin)] * 2
    assert second.reference in {row["reference"] for row in held}
    assert await one.state(second) == b"h"
    assert await one.state(first) == b"s"


async def test_a_copied_sealed_vote_is_stored_and_raises_an_alarm(one: Ground, verifier: Verifier) -> None:
    """The same sealed bytes under two credentials: both are kept, for refusing one could hit the original."""
    original, copy = [await one.cast(voter) for voter in await one.voters(2)]
    copied = Cast(copy.voter, copy.reference, original.sealed, _signed(one, copy.voter.key, original.sealed))
    stream = handoff.votes_key(one.ballot, 0)
    ids = [entry_id for entry_id, _ in await one.admin.xrange(stream)]
    await one.admin.xdel(stream, ids[1])
    await one.append(copied)

    async with one.worker(verifier) as rig:
        await rig.drain()

    assert [row["sealed"] for row in await one.rows("votes")] == [original.sealed] * 2
    kinds = [row["kind"] for row in await one.rows("events")]
    assert set(kinds) == {"equal_sealed"}


async def test_each_reason_for_quarantine(one: Ground, verifier: Verifier) -> None:
    """What cannot be read, is badly signed or was never issued is set aside with its reason."""
    voters = await one.voters(5)
    casts = {
        "bad_signature": await one.cast(voters[0], signer=SigningKey.from_seed(bytes(32))),
        "unreadable": await one.cast(voters[1], wrapped=b"\x00" * 200),
    }
    strange = _another_vote(one, await one.cast(voters[2]))
    strange.voter = _stranger(one)
    strange.record = _signed(one, strange.voter.key)
    await one.append(strange)
    await one.append(_another_vote(one, strange), u=b"short", t=b"yesterday")
    good = await one.cast(voters[3])

    async with one.worker(verifier) as rig:
        await rig.drain()

        reasons = {row["reference"]: row["reason"] for row in await one.rows("quarantine")}
        assert {reason: reasons[cast.reference] for reason, cast in casts.items()} == {r: r for r in casts}
        assert reasons[strange.reference] == "not_in_register"
        assert sorted(reasons.values()) == ["bad_signature", "not_in_register", "unreadable", "unreadable"]
        assert await one.state(good) == b"s"
        assert await one.state(casts["unreadable"]) == b"h"
        assert await one.pending() == 0
        events = [row["detail"] for row in await one.rows("events") if row["kind"] == "quarantined"]
        assert len(events) == 4
        assert rig.value("ballot_quarantined_total", reason="bad_signature") == 1
    (record,) = [r["record"] for r in await one.rows("quarantine") if r["reference"] == strange.reference]
    assert b'"ref":' in record


async def test_the_second_wall_holds_for_what_the_gate_would_never_send(
    one: Ground, verifier: Verifier
) -> None:
    """The same vote twice is stored once; a return of somebody who voted, or of nobody, is set aside."""
    voter, other = await one.voters(2)
    cast = await one.cast(voter)
    await one.append(cast)
    returned = {"k": b"r", "m": b"postal", "rt": b"1", "t": b"1750000000000000", "won": b"1"}
    stream = handoff.votes_key(one.ballot, 0)
    for uin in (voter.uin, secrets.token_bytes(16), other.uin, other.uin):
        await one.admin.xadd(stream, returned | {"u": uin})

    async with one.worker(verifier) as rig:
        await rig.drain()

    assert len(await one.rows("votes")) == 1
    assert [row["uin"] for row in await one.rows("returns")] == [other.uin]
    reasons = sorted(row["reason"] for row in await one.rows("quarantine"))
    assert reasons == ["conflict", "conflict", "not_in_register"]
    assert await one.turnout("stored") == {"electronic": 1, "postal": 1}
    assert await one.state(cast) == b"s"


async def test_a_credential_revoked_before_acceptance_is_not_in_the_register(
    one: Ground, verifier: Verifier
) -> None:
    """Revoked at or before the acceptance time is quarantined; revoked later leaves the vote good."""
    early, late = await one.voters(2)
    casts = [await one.cast(early), await one.cast(late)]
    entries = await one.admin.xrange(handoff.votes_key(one.ballot, 0))
    accepted = {fields[b"u"]: int(fields[b"t"]) for _, fields in entries}
    for position, (voter, delay) in enumerate(((early, 0), (late, 1))):
        await one.owner.execute(
            "INSERT INTO ballot.revocations VALUES ($1, $2, $3, 7, $4)",
            one.ballot,
            voter.digest,
            accepted[voter.uin] + delay,
            position,
        )

    async with one.worker(verifier) as rig:
        await rig.drain()

    assert [row["uin"] for row in await one.rows("votes")] == [late.uin]
    assert [row["reason"] for row in await one.rows("quarantine")] == ["not_in_register"]
    assert [await one.state(cast) for cast in casts] == [b"h", b"s"]


async def test_attempts_are_stored_and_leave_the_queue(one: Ground, verifier: Verifier) -> None:
    """An attempt is kept with its outcome and sealed address; an odd entry never stops the rest."""
    (voter,) = await one.voters(1)
    sealed = queue_record.wrap_ip(
        one.keys.queue, IP, ballot_id=one.ballot, credential_digest=voter.digest, random=secrets.token_bytes
    )
    await one.fcall("ballot_access", 0, voter.digest, sealed)
    stream = handoff.attempts_key(one.ballot, 0)
    await one.admin.xadd(stream, {"k": "nonsense"})

    async with one.worker(verifier) as rig:
        await rig.consumer.run_once()
        assert await rig.attempts.run_once(rig.consumer.name) == 2
        assert await rig.attempts.run_once(rig.consumer.name) == 0

    (row,) = await one.rows("attempts")
    assert (row["kind"], row["outcome"], row["credential_digest"]) == ("access", "ready", voter.digest)
    place = attempt_place(0, row["entry"])
    assert open_ip(one.keys.ip, row["sealed_ip"], ballot=one.ballot, place=place) == IP
    assert await one.admin.xlen(stream) == 0


async def test_a_line_may_stand_for_several_attempts(one: Ground, verifier: Verifier) -> None:
    """What the gate only counted is stored as one line: how many, the first one's time and the last one's."""
    digest = secrets.token_bytes(32)
    entry = {"k": "vote", "o": "used", "d": digest, "ip": b"", "t": "1750000000000009", "n": "7", "f": "175"}
    await one.admin.xadd(handoff.attempts_key(one.ballot, 0), entry)

    async with one.worker(verifier) as rig:
        await rig.consumer.run_once()
        assert await rig.attempts.run_once(rig.consumer.name) == 1

    (row,) = await one.rows("attempts")
    assert (row["count"], row["first_us"], row["at_us"]) == (7, 175, 1750000000000009)


async def test_the_command_drains_and_ends(one: Ground, run_ballot: RunBallot) -> None:
    """`ballot worker --until-drained` stores everything, counts the turnout and exits 0."""
    casts = [await one.cast(voter) for voter in await one.voters(20)]

    done = await asyncio.to_thread(run_ballot, "worker", "--until-drained", "--metrics-port", "0")

    assert done.returncode == 0
    assert len(await one.rows("votes")) == 20
    assert await one.turnout("accepted") == {"electronic": 20}
    for cast in casts:
        assert cast.reference not in done.stderr
        assert cast.voter.uin.hex() not in done.stderr


def _signed(made: Ground, key: SigningKey, sealed: bytes | None = None) -> QueueRecord:
    """A fresh vote, or this sealed one, signed by `key`."""
    sealed, nonce = sealed or secrets.token_bytes(1264), secrets.token_bytes(16)
    message = vote.signed_message(made.ballot, made.definition.sha256, nonce, hashlib.sha256(sealed).digest())
    return QueueRecord(key.public, nonce, sealed, key.sign(message), IP, 1)


def _another_vote(made: Ground, cast: Cast) -> Cast:
    """Another, well-signed vote of the same voter."""
    reference = draw_reference(cast.voter.shard, made.shards, random=secrets.token_bytes)
    record = _signed(made, cast.voter.key)
    return Cast(cast.voter, reference, record.sealed, record)


def _stranger(made: Ground) -> Voter:
    """Somebody to whom no code was issued."""
    key = SigningKey.from_seed(secrets.token_bytes(32))
    digest = keyed_digest(made.keys.digest, hashlib.sha256(key.public).digest())
    return Voter(secrets.token_bytes(16), key, digest, 0)
