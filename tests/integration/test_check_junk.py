"""Whatever bytes somebody put into queue or database: the check is finished, and says so."""

from itertools import cycle
from typing import Any

import pytest

from ballot import handoff
from tests.conftest import Stack
from tests.integration.check_ballot import SmallBallot, build, examined


@pytest.fixture(scope="module")
def small(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> SmallBallot:
    """Twelve voters, eight stored votes, nothing wrong."""
    return build(stack, tmp_path_factory.mktemp("check"))


def named(report: dict[str, Any]) -> set[tuple[str, str]]:
    """What was found, as (kind, where)."""
    return {(found["kind"], found["where"]) for found in report["findings"]}


KEYS = handoff.shard_keys("any", 0)
READ = 5
"""How many of them the books are made from: gate, credentials, voted, references, votes."""

JUNK = (b"", b"\x00", b"\xff" * 40, b"-1", b"9" * 40, b"1e400", "\u0662".encode(), b"e" + b"x" * 16)
"""Nothing, no text, of no right length, below zero, too large, no number in another way, half a mark."""


async def fill_with_junk(queue: Any, key: str) -> None:
    """Add junk under junk names, and put junk in the place of what is there."""
    if await queue.type(key) == b"stream" or key.endswith(("votes", "attempts", "tries")):
        for value in JUNK:
            fields = dict.fromkeys([b"k", b"r", b"d", b"ref", b"t", b"u", b"c", b"m", b"rt", b"won"], value)
            await queue.xadd(key, fields | {value: value})
            await queue.xadd(key, fields | {b"k": b"v"})
        await queue.xadd(key, {b"k": b"v"}, id="18446744073709551615-18446744073709551614")
        return
    for name, value in zip(await queue.hkeys(key), cycle(JUNK), strict=False):
        await queue.hset(key, name, value)
    for name, value in zip(JUNK, reversed(JUNK), strict=True):
        await queue.hset(key, name, value)


@pytest.mark.parametrize("number", range(len(KEYS)), ids=[key.partition(":")[2] for key in KEYS])
async def test_junk_in_the_queue_ends_no_check(small: SmallBallot, number: int) -> None:
    """Whatever bytes stand in a key, and whatever type it has: the check is finished, and says so."""
    key = small.keys[number]
    async with small.restored():
        async with small.queue() as queue:
            await fill_with_junk(queue, key)
        filled, junk = examined(small, signatures=True)
        async with small.queue() as queue:
            await queue.set(key, b"\xff")
        retyped, other = examined(small)

    assert (filled, junk["differences"] > 0) == ((1, True) if number < READ else (0, False))
    assert (retyped, ("altered", key) in named(other)) == (1, True)


@pytest.mark.parametrize("field", ["opens_us", "closes_us", "last_us", "state", "accepted", "released"])
async def test_junk_in_a_field_of_the_gate_is_found(small: SmallBallot, field: str) -> None:
    """Each alone, because one alone can keep a shard from saying how it is."""
    async with small.restored():
        async with small.queue() as queue:
            await queue.hset(small.keys[0], field, b"\xff\x1b[2J")

        status, report = examined(small)

    # What the state is follows from the times.
    assert (status, report["differences"] > 0) == ((1, True) if field != "state" else (0, False))


async def test_junk_in_the_database_ends_no_check(small: SmallBallot) -> None:
    """Entries that are none, times beyond the calendar, keys and shards that fit nothing."""
    reference = small.receipts[0].reference
    junk = f"""
        SET session_replication_role = replica;
        UPDATE ballot.votes SET entry = 'junk', accepted_us = 9223372036854775807, credential = '',
            nonce = '', sealed = '', signature = '', uin = '', shard = -7
         WHERE ballot = '{small.id}' AND reference = '{reference}';
        UPDATE ballot.register SET shard = 999, issued_us = -9223372036854775808, uin = ''
         WHERE ballot = '{small.id}' AND position = 2;
        INSERT INTO ballot.register
        VALUES ('{small.id}', decode(repeat('ab', 32), 'hex'), '', 77, 'probe', -1, -1, 0);
        INSERT INTO ballot.revocations VALUES ('{small.id}', '', -1, 99, -1);
        INSERT INTO ballot.quarantine VALUES ('{small.id}', -1, '', 'conflict', '', '', '', -1, '');
        INSERT INTO ballot.returns VALUES ('{small.id}', '', 'postal', -1, -1, true, -1, '-');
        UPDATE ballot.lifecycle SET opens_us = -1, closes_us = 9223372036854775807, document = ''
         WHERE ballot = '{small.id}'"""  # noqa: S608  # our own names
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(junk)

        status, report = examined(small, signatures=True)

    assert (status, ("signature does not verify", reference) in named(report)) == (1, True)
