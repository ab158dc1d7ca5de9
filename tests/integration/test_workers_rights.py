"""What a worker may do and whom it believes: rights in the queue and the database, the desk's pinned key."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from redis.exceptions import NoPermissionError

from ballot import handoff
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from runtime import postgres, valkey
from runtime.lifecycle import Retry
from tests.integration.workers_ground import Ground, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import Stack

WORKER_MUST_NOT = [
    ("HSET", "gate", "state", "open"),
    ("HSET", "voted", "x", "y"),
    ("HDEL", "voted", "x"),
    ("HDEL", "gate", "state"),
    ("HSET", "credentials", "x", "y"),
    ("HGETALL", "credentials"),
    ("HGET", "voted", "x"),
    ("HGET", "references", "x"),
    ("SET", "votes", "x"),
    ("DEL", "votes"),
    ("XADD", "votes", "*", "k", "v"),
    ("XDEL", "votes", "1-1"),
    ("XTRIM", "votes", "MAXLEN", "0"),
    ("HSET", "unknown", "1", "1"),
]
EDGE_MUST_NOT = [
    ("HKEYS", "credentials"),
    ("HKEYS", "voted"),
    ("HDEL", "voted", "x"),
    ("HDEL", "credentials", "x"),
    ("HDEL", "gate", "state"),
    ("HGETALL", "voted"),
    ("XRANGE", "votes", "-", "+"),
    ("DEL", "votes"),
]


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


@pytest.mark.parametrize(
    ("user", "command"),
    [("worker", command) for command in WORKER_MUST_NOT] + [("intake", command) for command in EDGE_MUST_NOT],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_the_queue_refuses_what_a_role_has_no_business_with(
    stack: Stack, ballot_id: str, user: str, command: tuple[str, ...]
) -> None:
    """A worker reopens no ballot, unmarks no voter and removes no vote; an edge lists and unmarks nobody."""
    verb, key, *arguments = command
    client: Any = valkey.connect(stack.servers, user)
    try:
        with pytest.raises(NoPermissionError):
            await client.execute_command(verb, f"{{{ballot_id}:00}}:{key}", *arguments)
    finally:
        await client.aclose()


async def test_the_worker_calls_no_function(stack: Stack, one: Ground) -> None:
    """Not even one that only reads: the gate is not the worker's business."""
    client = valkey.connect(stack.servers, "worker")
    try:
        for call, function in ((client.fcall, "ballot_release"), (client.fcall_ro, "ballot_state")):
            with pytest.raises(NoPermissionError):
                await call(function, 9, *handoff.shard_keys(one.ballot, 0), "x", "y")
    finally:
        await client.aclose()


async def test_the_unknown_counter_is_kept_short_with_the_edges_rights(stack: Stack, one: Ground) -> None:
    """The edge's user can still drop the oldest minutes of the one hash it may list, from inside the gate."""
    key = handoff.shard_keys(one.ballot, 0)[6]
    await one.admin.hset(key, mapping={str(minute): "1" for minute in range(1600)})
    client = valkey.connect(stack.servers, "intake")
    try:
        await client.fcall(
            "ballot_access", 9, *handoff.shard_keys(one.ballot, 0), secrets.token_bytes(32), b""
        )
    finally:
        await client.aclose()
    assert await one.admin.hlen(key) == 1500


async def test_without_the_desks_pinned_key_nothing_is_believed(
    one: Ground, verifier: Verifier, tmp_path: Path
) -> None:
    """No pinned file: the key in the queue is not taken instead; when the file comes the ballot is served."""
    cast = await one.cast((await one.voters(1))[0])
    pinned = tmp_path / "desk.json"

    async with one.worker(verifier, pinned=pinned) as rig:
        with pytest.raises(Retry):
            await rig.consumer.run_once()
        assert await one.rows("votes") == []

        pinned.write_bytes(one.stack.home.public_key_file.read_bytes())
        rig.consumer._refreshed_s -= 60
        await rig.drain()

    assert await one.state(cast) == b"s"


async def test_a_ballot_refused_for_a_wrong_pinned_key_is_looked_at_again(
    one: Ground, verifier: Verifier, tmp_path: Path
) -> None:
    """The wrong key's refusal is said once; with the right key in its place the votes are stored."""
    cast = await one.cast((await one.voters(1))[0])
    pinned = tmp_path / "desk.json"
    wrong = SigningKey.from_seed(bytes(32))
    pinned.write_text(json.dumps({"public_key": b64encode(wrong.public)}))

    async with one.worker(verifier, pinned=pinned) as rig:
        for _ in range(3):
            assert await rig.consumer.run_once() == 0
            rig.consumer._refreshed_s -= 60
        assert [row["kind"] for row in await one.rows("events")] == ["document_refused"]

        pinned.write_bytes(one.stack.home.public_key_file.read_bytes())
        await rig.drain()

    assert await one.state(cast) == b"s"


async def test_a_document_that_the_desk_did_not_sign_is_not_served(one: Ground, verifier: Verifier) -> None:
    """Without the desk's signature on the document no voter's could be judged: nothing is read."""
    await one.cast((await one.voters(1))[0])
    published = await one.admin.hget(handoff.PUBLISHED_KEY, one.ballot)
    await one.admin.hset(
        handoff.PUBLISHED_KEY, one.ballot, published.replace(b'"document":"ey', b'"document":"eY')
    )

    async with one.worker(verifier) as rig:
        assert await rig.consumer.run_once() == 0

    assert [row["kind"] for row in await one.rows("events")] == ["document_refused"]
    assert await one.rows("votes") == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM ballot.votes",
        "INSERT INTO ballot.events (kind, actor) VALUES ('x', 'x')",
        "UPDATE ballot.votes SET uin = uin",
        "DELETE FROM ballot.votes",
        "TRUNCATE ballot.votes",
        "SELECT count(*) FROM ballot.ip_records",
        "SELECT ballot.worker_event(null, 'armed', '{}')",
    ],
)
async def test_the_worker_role_has_no_right_on_a_table(stack: Stack, statement: str) -> None:
    """As the worker's role every verb on a table is refused, and so is another's kind of event."""
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_worker")
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_worker_cannot_cast(stack: Stack, one: Ground) -> None:
    """The worker's queue user reads and acknowledges; the gate does not take a vote from it."""
    (voter,) = await one.voters(1)
    client = valkey.connect(stack.servers, "worker")
    try:
        keys = handoff.shard_keys(one.ballot, 0)
        row = (voter.digest, bytes(16), "0000-0000-0000-0000", b"x", bytes(32), b"")
        with pytest.raises(Exception, match=r"(?i)no permission|ACL"):
            await client.fcall("ballot_cast", 9, *keys, *row)
    finally:
        await client.aclose()
    assert await one.admin.xlen(handoff.votes_key(one.ballot, 0)) == 0
