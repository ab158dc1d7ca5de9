"""The gate on a real Valkey: one voter one vote, window, latch, other methods, nothing half done."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from ballot import handoff
from ballot.gate_layout import Mark, reference_field
from ballot.receipt import draw_reference
from runtime import valkey
from runtime.addresses import ADMIN
from tests.integration.intake_rig import HOUR_US, Booth, booth, now_us, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Stack

SEALED = b"s" * 32
MINUTE_US = 60_000_000
ATTEMPTS_MAX = 65_536
UNKNOWN_TRIES_MAX = 16_384
STATE_NAMES = (
    *("opens_us", "closes_us", "state", "now_us", "accepted", "repeated", "released"),
    *("voted_e", "voted_p", "voted_w", "credentials", "votes_last_id", "votes_length", "counted"),
)


@pytest.fixture
async def gate(stack: Stack, ballot_id: str) -> AsyncIterator[Booth]:
    """One shard of an open ballot."""
    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        yield found


async def cast(gate: Booth, digest: bytes, *, identity: bytes = b"i" * 16) -> list[Any]:
    """Cast one vote and return its row."""
    reference = draw_reference(0, 1, random=os.urandom)
    reply = await gate.call("ballot_cast", digest, identity, reference, b"record", SEALED, b"ip")
    return list(reply[3])


async def state(gate: Booth) -> dict[str, str]:
    """Return what `ballot_state` says, by name."""
    reply = await gate.call("ballot_state")
    return {name: value.decode() for name, value in zip(STATE_NAMES, reply, strict=True)}


@pytest.mark.parametrize("layout", ["0", "11", None])
async def test_a_ballot_of_another_layout_is_neither_read_nor_written(
    gate: Booth, stack: Stack, layout: str | None
) -> None:
    """Code that packs otherwise would turn voters away or let them vote again: it says LAYOUT instead."""
    (voter,) = await gate.issue()
    admin: Any = valkey.connect(stack.servers, ADMIN)
    key = handoff.gate_key(gate.id, 0)
    try:
        assert await admin.hdel(key, "layout") == 1
        if layout is not None:
            await admin.hset(key, "layout", layout)
        before = await admin.hgetall(key)
        for attempt in (cast(gate, voter.digest), state(gate), gate.issue()):
            with pytest.raises(ResponseError, match="LAYOUT this ballot was set up by another version"):
                await attempt
        assert await admin.hgetall(key) == before
    finally:
        await admin.aclose()


async def test_codes_issued_keep_their_ballot_to_the_layout(stack: Stack, ballot_id: str) -> None:
    """Codes are packed too, before a ballot is armed."""
    async with booth(stack.servers, ballot_id) as found:
        await found.issue()

        assert await found.desk.hget(handoff.gate_key(ballot_id, 0), "layout") == b"1"
        assert (await state(found))["state"] == "unarmed"


async def test_one_vote_a_voter_and_the_same_again(gate: Booth) -> None:
    """The first vote is accepted, the identical one gets the same answer, another is refused and logged."""
    (voter,) = await gate.issue()

    first = await cast(gate, voter.digest)
    again = await cast(gate, voter.digest)
    other = await cast(gate, voter.digest, identity=b"j" * 16)

    assert first[0] == b"accepted"
    assert again == [b"repeated", *first[1:4]]
    assert other == [b"not_accepted", b"", b"", b""]
    (entry,) = await gate.stored()
    assert entry[handoff.REFERENCE_FIELD] == first[1]
    assert entry[handoff.UIN_FIELD] == voter.uin
    assert [item[handoff.OUTCOME_FIELD] for item in await gate.attempts()] == [b"repeated", b"used"]
    assert (await state(gate))["voted_e"] == "1"
    value: Any = await gate.desk.hget(handoff.voted_key(gate.id, 0), voter.uin)
    mark = Mark.from_value(value)
    assert mark == Mark("e", int(first[2]), b"i" * 16, first[1].decode())
    assert mark.to_value() == value
    references: Any = await gate.desk.hgetall(handoff.references_key(gate.id, 0))
    assert references == {reference_field(mark.reference): b"a"}


async def test_votes_of_one_voter_in_one_call(gate: Booth) -> None:
    """Within one call, too, only the first of a voter's votes counts, also with two codes."""
    (old,) = await gate.issue()
    (new,) = await gate.issue(uin=old.uin)
    args: list[bytes | str] = []
    for digest, identity in ((old.digest, b"a" * 16), (new.digest, b"b" * 16), (old.digest, b"a" * 16)):
        args += [digest, identity, draw_reference(0, 1, random=os.urandom), b"record", SEALED, b"ip"]

    reply = await gate.call("ballot_cast", *args)

    assert [row[0] for row in reply[3:]] == [b"accepted", b"not_accepted", b"repeated"]
    assert len(await gate.stored()) == 1


async def test_a_reference_is_never_given_twice(gate: Booth) -> None:
    """A reference in use is refused before anything is written, so that the next try can draw another."""
    one, two = await gate.issue(2)
    reference = draw_reference(0, 1, random=os.urandom)
    await gate.call("ballot_cast", one.digest, b"i" * 16, reference, b"r", SEALED, b"ip")

    reply = await gate.call("ballot_cast", two.digest, b"i" * 16, reference, b"r", SEALED, b"ip")

    assert reply[3][0] == b"taken"
    assert (await cast(gate, two.digest))[0] == b"accepted"


async def test_a_revoked_code_is_dead_at_once_but_its_vote_is_still_confirmed(gate: Booth) -> None:
    """A revoked code casts nothing; the vote it cast before is still answered with its reference."""
    voted, fresh = await gate.issue(2)
    first = await cast(gate, voted.digest)

    revoked_us, *existed = await gate.call("ballot_revoke", voted.digest, fresh.digest, b"n" * 32)

    assert existed == [1, 1, 0]
    assert await gate.desk.hget(handoff.gate_key(gate.id, 0), "revoked") == b"2"
    assert int(revoked_us) > int(first[2])
    assert (await cast(gate, fresh.digest))[0] == b"not_accepted"
    assert await cast(gate, voted.digest) == [b"repeated", *first[1:4]]
    outcomes = [item[handoff.OUTCOME_FIELD] for item in await gate.attempts()]
    assert outcomes == [b"revoked", b"repeated"]


async def test_issuing_again_revives_nothing_and_never_moves_a_code(gate: Booth) -> None:
    """Issue is idempotent, leaves a revoked code revoked, and refuses to give a code to a second voter."""
    (voter,) = await gate.issue()
    await gate.call("ballot_revoke", voter.digest)

    assert await gate.call("ballot_issue", voter.digest, voter.uin, "e") == 0
    assert (await cast(gate, voter.digest))[0] == b"not_accepted"
    with pytest.raises(ResponseError, match="CONFLICT"):
        await gate.call("ballot_issue", b"n" * 32, voter.uin, "e", voter.digest, os.urandom(16), "e")
    assert (await state(gate))["credentials"] == "1"


async def test_unknown_credentials_are_counted(gate: Booth) -> None:
    """A credential nobody was issued is in no log of attempts, is counted by minute, all of it bounded."""
    key = handoff.unknown_key(gate.id, 0)
    await gate.desk.hset(key, mapping={str(minute): 1 for minute in range(2_000)})

    await cast(gate, b"n" * 32)
    await gate.call("ballot_access", b"n" * 32, b"ip")

    counts: Any = await gate.desk.hgetall(key)
    assert len(counts) == 1_500
    assert list(counts.values())[-1] in {b"1", b"2"}
    assert max(int(minute) for minute in counts) > 2_000
    assert not await gate.attempts()


async def test_the_window_is_decided_by_the_queue_and_latched(stack: Stack, ballot_id: str) -> None:
    """No vote before opens, none from closes on, and extending or re-arming never reopens a closed ballot."""
    async with booth(stack.servers, ballot_id) as gate:
        (voter,) = await gate.issue()
        assert (await cast(gate, voter.digest))[0] == b"not_found"
        opens_us = now_us() + 300_000
        await gate.arm(opens_us=opens_us, closes_us=opens_us + HOUR_US)

        assert (await cast(gate, voter.digest))[0] == b"not_open"
        accepted = await until(lambda: _accepted(gate, voter.digest))
        assert opens_us <= int(accepted[2])

        done, now, name, previous = await gate.call("ballot_set_closes", now_us() + 200_000)
        assert (done, name, int(previous)) == (1, b"open", opens_us + HOUR_US)
        assert int(now) < now_us() + 200_000
        await until(lambda: _closed(gate))
        assert (await gate.call("ballot_set_closes", now_us() + HOUR_US))[0] == 0
        assert (await cast(gate, voter.digest))[0] == b"repeated"
        assert (await cast(gate, voter.digest, identity=b"j" * 16))[0] == b"not_open"
        assert (await gate.call("ballot_latch"))[2] == b"closed"
        with pytest.raises(ResponseError, match="ARMED"):
            await gate.arm(opens_us=opens_us, closes_us=opens_us + HOUR_US)


async def _accepted(gate: Booth, digest: bytes) -> list[Any] | None:
    row = await cast(gate, digest)
    return row if row[0] == b"accepted" else None


async def _closed(gate: Booth) -> bool:
    return (await state(gate))["state"] == "closed"


async def test_a_clock_that_steps_back_moves_nothing_back(gate: Booth) -> None:
    """The gate's time never falls below the last it saw; revoking still comes after every acceptance."""
    (voter, other) = await gate.issue(2)
    ahead_us = now_us() + 600_000_000
    await gate.desk.hset(handoff.gate_key(gate.id, 0), "last_us", str(ahead_us))

    accepted = await cast(gate, voter.digest)
    revoked_us = (await gate.call("ballot_revoke", other.digest))[0]

    assert int(accepted[2]) == ahead_us
    assert int(revoked_us) == ahead_us + 1
    assert int((await state(gate))["now_us"]) == ahead_us + 1


async def test_other_methods_and_electronic_exclude_each_other(gate: Booth) -> None:
    """Whatever is recorded first counts; a lost return goes to the stream once, a repeated one never."""
    online, paper = await gate.issue(2)
    await cast(gate, online.digest)
    at = now_us()
    rows = (online.uin, "postal", at, paper.uin, "postal", at, paper.uin, "workplace", at)

    first = await gate.call("ballot_return", *rows)
    again = await gate.call("ballot_return", *rows)

    assert first == [[b"lost", b"electronic"], [b"recorded", b"postal"], [b"lost", b"postal"]]
    assert again == [[b"lost", b"electronic"], [b"repeated", b"postal"], [b"lost", b"postal"]]
    assert (await cast(gate, paper.digest))[0] == b"not_accepted"
    returns = [entry for entry in await gate.stored() if entry[handoff.KIND_FIELD] == handoff.KIND_RETURN]
    assert [entry[handoff.WON_FIELD] for entry in returns] == [b"0", b"1", b"0"]
    assert [item[handoff.OUTCOME_FIELD] for item in await gate.attempts()] == [b"already_voted"]
    marks = await gate.call("ballot_voted", online.uin, paper.uin, b"n" * 16)
    assert [mark[:1] for mark in marks] == [b"e", b"p", b""]


async def test_a_second_paper_by_the_same_method_is_lost_and_not_a_repetition(gate: Booth) -> None:
    """Only the same method and time is the same paper again; every other paper goes to the stream, once."""
    [voter] = await gate.issue(1)
    first, second, third = (now_us() - minutes for minutes in (3, 2, 1))
    rows = [part for at in (first, second, third) for part in (voter.uin, "postal", at)]

    told = await gate.call("ballot_return", *rows)
    again = await gate.call("ballot_return", *rows)

    assert told == [[b"recorded", b"postal"], [b"lost", b"postal"], [b"lost", b"postal"]]
    assert again == [[b"repeated", b"postal"], [b"lost", b"postal"], [b"lost", b"postal"]]
    stored = await gate.stored()
    assert [entry[handoff.WON_FIELD] for entry in stored] == [b"1", b"0", b"0"]
    assert [int(entry[handoff.RECEIVED_FIELD]) for entry in stored] == [first, second, third]
    assert (await state(gate))["voted_p"] == "1"


async def test_release_takes_back_only_that_vote(gate: Booth) -> None:
    """Only the electronic mark with that reference is released, once; then a new code votes."""
    (voter,) = await gate.issue()
    first = await cast(gate, voter.digest)

    assert await gate.call("ballot_release", voter.uin, "0000-0000-0000-0000") == 0
    assert await gate.call("ballot_release", voter.uin, first[1]) == 1
    assert await gate.call("ballot_release", voter.uin, first[1]) == 0

    (reissued,) = await gate.issue(uin=voter.uin)
    assert (await cast(gate, reissued.digest))[0] == b"accepted"
    found = await state(gate)
    assert (found["accepted"], found["released"], found["voted_e"]) == ("2", "1", "1")


async def test_access_uses_nothing_up(gate: Booth) -> None:
    """Asking as often as one likes answers ready until the vote, and each try is logged."""
    (voter,) = await gate.issue()

    answers = [(await gate.call("ballot_access", voter.digest, b"ip"))[3][0] for _ in range(3)]
    await cast(gate, voter.digest)
    answers.append((await gate.call("ballot_access", voter.digest, b"ip"))[3][0])

    assert answers == [b"ready", b"ready", b"ready", b"not_accepted"]
    logged = [item[handoff.OUTCOME_FIELD] for item in await gate.attempts()]
    assert logged == [b"ready", b"ready", b"ready", b"used"]


async def test_simultaneous_casts_have_one_winner(gate: Booth) -> None:
    """Of two hundred distinct votes with one code over many connections exactly one is accepted."""
    (voter,) = await gate.issue()

    connections = asyncio.Semaphore(30)

    async def one() -> list[Any]:
        async with connections:
            return await cast(gate, voter.digest, identity=os.urandom(16))

    rows = await asyncio.gather(*(one() for _ in range(200)))

    assert sorted({row[0] for row in rows}) == [b"accepted", b"not_accepted"]
    assert sum(row[0] == b"accepted" for row in rows) == 1
    assert len(await gate.attempts()) == 199


WRONG_CALLS: dict[str, tuple[str, tuple[bytes | str | int, ...]]] = {
    "no votes": ("ballot_cast", ()),
    "half a vote": ("ballot_cast", (b"d" * 32, b"i" * 16)),
    "short digest": ("ballot_cast", (b"d" * 31, b"i" * 16, "r" * 19, b"w", SEALED, b"")),
    "short identity": ("ballot_cast", (b"d" * 32, b"i" * 15, "r" * 19, b"w", SEALED, b"")),
    "empty record": ("ballot_cast", (b"d" * 32, b"i" * 16, "r" * 19, b"", SEALED, b"")),
    "huge record": ("ballot_cast", (b"d" * 32, b"i" * 16, "r" * 19, b"w" * 131_073, SEALED, b"")),
    "too many": ("ballot_access", (b"d" * 32, b"") * 1_025),
    "closes before opens": ("ballot_arm", (5, 4)),
    "time in hexadecimal": ("ballot_arm", ("0x1", "0x2")),
    "time with exponent": ("ballot_set_closes", ("1e15",)),
    "unknown method": ("ballot_return", (b"u" * 16, "pigeon", 1)),
    "short code": ("ballot_issue", (b"d" * 32, b"u" * 15, "e")),
    "short revocation": ("ballot_revoke", (b"d" * 31,)),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
async def test_a_wrong_call_changes_nothing(gate: Booth, name: str) -> None:
    """Arguments are checked whole before anything is written."""
    function, args = WRONG_CALLS[name]
    before = await state(gate)

    with pytest.raises(ResponseError, match="ARGUMENT"):
        await gate.call(function, *args)

    assert {**await state(gate), "now_us": ""} == {**before, "now_us": ""}


async def later(gate: Booth, minutes: int = 1) -> None:
    """Let the gate see a later minute than the clock's."""
    ahead_us = now_us() + minutes * MINUTE_US
    await gate.desk.hset(handoff.gate_key(gate.id, 0), "last_us", str(ahead_us))


def counted(entries: list[dict[bytes, bytes]]) -> int:
    """Return for how many attempts these entries stand."""
    return sum(int(entry.get(handoff.COUNT_FIELD, b"1")) for entry in entries)


async def test_further_tries_of_one_credential_are_counted(gate: Booth) -> None:
    """The first thousand have an entry each, the others one a minute, with number, times and last address."""
    voter, other = await gate.issue(2)
    began_us = now_us()
    await gate.call("ballot_access", *((voter.digest, b"ip") * 1_000))
    await gate.call("ballot_access", *((voter.digest, b"ip 2") * 500))
    before = await gate.attempts()
    await later(gate)

    await gate.call("ballot_access", other.digest, b"ip")

    after = await gate.attempts()
    assert len(before) == 1_000
    one, further = sorted(after[1_000:], key=len)
    assert one[handoff.DIGEST_FIELD] == other.digest
    assert further[handoff.DIGEST_FIELD] == voter.digest
    assert (further[handoff.OUTCOME_FIELD], further[handoff.IP_FIELD]) == (b"ready", b"ip 2")
    assert int(further[handoff.COUNT_FIELD]) == 500
    assert (
        began_us <= int(further[handoff.FIRST_FIELD]) <= int(further[handoff.AT_FIELD]) < began_us + MINUTE_US
    )
    assert not await gate.desk.exists(handoff.counted_key(gate.id, 0))
    assert await gate.desk.hget(handoff.unknown_key(gate.id, 0), "tried") == b"1501"


JUNK: dict[Any, Any] = {
    b"": b"",
    b"junk": b"junk",
    b"1:vote:used:": b"x" * 18,
    b"1:vote:used:" + b"d" * 32: b"short",
    b"1:vote:used:" + b"d" * 31: b"x" * 18,
    b"1:vote:used:" + b"d" * 32 + b"\x00": b"x" * 18,
    b"1:other:used:" + b"d" * 32: b"x" * 18,
    b"1:vote:used:" + b"e" * 32: b"x" * 200,
    b"-1:vote:used:" + b"d" * 32: b"x" * 18,
    b"\xff\x00:vote:used:" + b"d" * 32: b"",
}


@pytest.mark.parametrize("when", ["open", "closed"])
async def test_junk_among_the_counts_breaks_nothing(gate: Booth, when: str) -> None:
    """Whatever is in that hash, votes are answered, and what is no count is taken out of it."""
    voter, other = await gate.issue(2)
    key = handoff.counted_key(gate.id, 0)
    await gate.call("ballot_access", *((voter.digest, b"ip") * 1_010))
    await gate.desk.hset(key, mapping=JUNK)
    await gate.desk.hset(key, "9" * 400 + ":vote:used:" + "d" * 32, b"x" * 18)
    await later(gate)

    assert (await cast(gate, other.digest))[0] == b"accepted"
    assert (await cast(gate, other.digest))[0] == b"repeated"
    if when == "closed":
        await gate.desk.hset(handoff.gate_key(gate.id, 0), "state", "closed")
        await gate.call("ballot_latch")

    assert await gate.desk.hlen(key) == (1 if when == "open" else 0)
    assert await gate.desk.hget(handoff.unknown_key(gate.id, 0), "unlisted") == str(len(JUNK)).encode()
    of_voter = [each for each in await gate.attempts() if each[handoff.DIGEST_FIELD] == voter.digest]
    assert counted(of_voter) == 1_010


async def test_a_count_that_is_junk_is_begun_anew(gate: Booth) -> None:
    """Also where the next try would be counted."""
    (voter,) = await gate.issue()
    await gate.call("ballot_access", *((voter.digest, b"ip") * 1_001))
    key = handoff.counted_key(gate.id, 0)
    fields: Any = await gate.desk.hgetall(key)
    await gate.desk.hset(key, mapping=dict.fromkeys(fields, b"junk"))

    reply = await gate.call("ballot_access", voter.digest, b"ip")

    assert reply[3][0] == b"ready"


async def test_counts_of_another_type_break_no_vote(gate: Booth) -> None:
    """What the call decided and wrote is answered, though nothing can be moved."""
    (voter,) = await gate.issue()
    await gate.desk.xadd(handoff.counted_key(gate.id, 0), {"not": "a hash"})
    await gate.desk.hset(handoff.gate_key(gate.id, 0), "counting", "1")

    assert (await cast(gate, voter.digest))[0] == b"accepted"
    assert (await cast(gate, voter.digest))[0] == b"repeated"


async def test_a_closed_shard_moves_all_its_counts(gate: Booth) -> None:
    """Those of the very minute too, so many a call, until the answer says that none is left."""
    at = now_us().to_bytes(7, "big")
    minute = f"{now_us() // MINUTE_US + 60}:vote:used:".encode()
    counts: dict[Any, Any] = {
        minute + os.urandom(32): (3).to_bytes(4, "big") + at + at + b"ip" for _ in range(1_500)
    }
    await gate.desk.hset(handoff.counted_key(gate.id, 0), mapping=counts)
    await gate.call("ballot_latch")
    assert not await gate.attempts()
    await gate.desk.hset(handoff.gate_key(gate.id, 0), "state", "closed")

    left = [int((await gate.call("ballot_latch"))[13])]
    while left[-1]:
        left.append(int((await gate.call("ballot_latch"))[13]))

    assert len(left) > 1
    assert counted(await gate.attempts()) == 3 * 1_500


async def test_a_repeated_vote_beyond_the_budget_still_writes(gate: Booth) -> None:
    """Otherwise its wait for the disk would wait for nothing, and so not for the original."""
    (voter,) = await gate.issue()
    first = await cast(gate, voter.digest)
    await gate.call("ballot_access", *((voter.digest, b"ip") * 1_000))
    size = (await gate.desk.info("persistence"))["aof_current_size"]

    again = await cast(gate, voter.digest)

    assert again == [b"repeated", *first[1:4]]
    assert (await state(gate))["repeated"] == "1"
    assert (await gate.desk.info("persistence"))["aof_current_size"] > size
    await later(gate)
    assert (await gate.call("ballot_latch"))[2] == b"open"
    assert [entry for entry in await gate.attempts() if entry.get(handoff.COUNT_FIELD) == b"1"]


async def test_a_full_log_counts_and_loses_none(gate: Booth) -> None:
    """While nobody takes attempts out of the queue each is still counted, and votes are accepted as ever."""
    voters = await gate.issue(70)
    (voter,) = await gate.issue()
    for each in voters:
        await gate.call("ballot_access", *((each.digest, b"ip") * 1_000))
    full = await gate.attempts()

    assert (await cast(gate, voter.digest))[0] == b"accepted"
    assert len(full) <= ATTEMPTS_MAX + 1_000
    await forget(gate, full)
    await later(gate)
    await gate.call("ballot_latch")
    assert counted(full) + counted(await gate.attempts()) == 70_000
    assert {entry[handoff.DIGEST_FIELD] for entry in full} | {
        entry[handoff.DIGEST_FIELD] for entry in await gate.attempts()
    } == {each.digest for each in voters}


async def forget(gate: Booth, entries: list[dict[bytes, bytes]]) -> None:
    """Take all entries out of the log of attempts, as the worker does once they are stored."""
    key = handoff.attempts_key(gate.id, 0)
    found: Any = await gate.worker.xrange(key)
    ids = [entry_id for entry_id, _ in found]
    assert len(ids) == len(entries)
    for first in range(0, len(ids), 1_000):
        await gate.worker.xdel(key, *ids[first : first + 1_000])


async def test_tries_with_unknown_credentials_have_a_budget(gate: Booth) -> None:
    """The latest are kept, all are counted, and the log of attempts has none of them."""
    for _ in range(20):
        rows = [part for _ in range(1_000) for part in (os.urandom(32), b"ip")]
        await gate.call("ballot_access", *rows)
    flood = b"n" * 32
    await gate.call("ballot_access", *((flood, b"ip") * 1_000))
    await gate.call("ballot_access", *((flood, b"ip") * 1_000))

    counts: Any = await gate.desk.hgetall(handoff.unknown_key(gate.id, 0))
    assert sum(int(count) for minute, count in counts.items() if minute.isdigit()) == 22_000
    kept = await gate.desk.xlen(handoff.unknown_tries_key(gate.id, 0))
    assert UNKNOWN_TRIES_MAX <= kept <= UNKNOWN_TRIES_MAX + 200
    assert not await gate.attempts()


FORBIDDEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "the edge reads no stream": ("intake", ("XRANGE", "{b:00}:votes", "-", "+")),
    "the edge deletes no key": ("intake", ("DEL", "{b:00}:voted")),
    "the edge gives no trust": ("intake", ("SET", "ballot:trust", "x")),
    "the edge publishes nothing": ("intake", ("HSET", "ballot:published", "b", "x")),
    "the edge changes no setting": ("intake", ("CONFIG", "SET", "appendfsync", "no")),
    "the edge loads no function": ("intake", ("FUNCTION", "FLUSH")),
    "the worker appends nothing": ("worker", ("XADD", "{b:00}:votes", "*", "k", "v")),
    "the desk gives no trust": ("desk", ("SET", "ballot:trust", "x")),
    "the desk reads no setting": ("desk", ("CONFIG", "GET", "masterauth")),
    "the checker reads no setting": ("checker", ("CONFIG", "GET", "masterauth")),
    "a replica reads no key": ("replica", ("HGET", "{b:00}:voted", "x")),
    "a replica asks nothing": ("replica", ("INFO",)),
    "the checker writes nothing": ("checker", ("HSET", "{b:00}:gate", "state", "open")),
}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_each_user_has_only_its_verbs(stack: Stack, name: str) -> None:
    """What a process has no business doing, its user is not allowed to do."""
    user, command = FORBIDDEN[name]
    client = valkey.connect(stack.servers, user)

    with pytest.raises(NoPermissionError):
        await client.execute_command(*command)

    await client.aclose()


@pytest.mark.parametrize("user", ["worker", "checker"])
async def test_worker_and_checker_cannot_cast(stack: Stack, gate: Booth, user: str) -> None:
    """A function runs with its caller's rights: worker's and checker's cast nothing, not even half."""
    (voter,) = await gate.issue()
    client = valkey.connect(stack.servers, user)
    keys = handoff.shard_keys(gate.id, 0)
    reference = draw_reference(0, 1, random=os.urandom)

    with pytest.raises(ResponseError):
        await client.fcall(
            "ballot_cast", len(keys), *keys, voter.digest, b"i" * 16, reference, b"r", SEALED, b"ip"
        )

    await client.aclose()
    assert (await cast(gate, voter.digest))[0] == b"accepted"
