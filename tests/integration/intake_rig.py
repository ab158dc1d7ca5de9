"""A ballot at the gate and edges in front of it, set up without the desk: what the edge's tests stand on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio.cluster import RedisCluster

from ballot import definition, document, handoff, sealing
from ballot.code import Code
from ballot.encoding import b64encode, canonical_json, format_time
from ballot.suite import SigningKey, key_id, keyed_digest
from runtime import valkey
from tests.conftest import ballot_command
from tests.vectors.make import PUBLIC_KEY, RESULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import aiohttp
    from redis.asyncio import Redis

    from ballot.document import BallotDocument
    from ballot.vote import CastVote
    from runtime.home import Home
    from runtime.servers import Servers

HOUR_US = 3_600_000_000
ANSWER_S = 20.0
DEFINITION = """
[ballot]
id = "{ballot}"
title = "Depots: pay"
kind = "industrial-action"
union = "Union of Examples"
employer = "Example Transport"
scrutineer = "Example Scrutineers"
contact = "help@scrutineer.example"
opens = {opens}
closes = {closes}
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}} ]
"""


def now_us() -> int:
    """Return the machine's time in microseconds."""
    return time.time_ns() // 1_000


def build_document(ballot: str) -> BallotDocument:
    """Return a document for `ballot` with the test vectors' keys."""
    window = {"opens": format_time(now_us() - HOUR_US), "closes": format_time(now_us() + HOUR_US)}
    parsed = definition.parse_toml(DEFINITION.format(ballot=ballot, **window))
    return document.build(parsed, public_key=PUBLIC_KEY, result_key=RESULT.public)


@dataclass(frozen=True, slots=True)
class Voter:
    """A voter of one ballot: who, the code and what follows from it."""

    uin: bytes
    code: Code
    key: SigningKey
    digest: bytes

    def vote(self, on: BallotDocument, answer: str = "yes") -> CastVote:
        """Return a vote sealed and signed on the voter's side; another one each time."""
        return sealing.seal(on, self.key, {"strike": [answer]}, random=os.urandom)


@dataclass(frozen=True, slots=True)
class Booth:
    """One ballot at the gate of real servers, with what a test does to it."""

    home: Home
    document: BallotDocument
    shards: int
    desk: Redis
    worker: Redis
    edge: Redis

    @property
    def id(self) -> str:
        """Return the ballot's id."""
        return self.document.definition.id

    async def call(self, function: str, *args: bytes | str | int, shard: int = 0) -> Any:
        """Call a function of the gate as the user whose verb it is: edge or desk."""
        keys = handoff.shard_keys(self.id, shard)
        client = self.edge if function in {"ballot_cast", "ballot_access"} else self.desk
        return await client.fcall(function, len(keys), *keys, *args)

    async def arm(self, *, opens_us: int | None = None, closes_us: int | None = None) -> None:
        """Arm every shard; by default open since an hour, for another hour."""
        opens_us = opens_us or self.document.definition.opens_us
        closes_us = closes_us or self.document.definition.closes_us
        for shard in range(self.shards):
            await self.call("ballot_arm", opens_us, closes_us, shard=shard)

    async def publish(self, signature: bytes | None = None) -> None:
        """Publish the document as the desk does, signed by the desk unless the test gives a signature."""
        desk_key = pinned_desk_key(self.home)
        entry = {
            "desk_public_key": b64encode(desk_key.public),
            "document": b64encode(self.document.canonical),
            "document_signature": b64encode(signature or document.sign(self.document, desk_key)),
            "shards": self.shards,
        }
        await self.desk.hset(handoff.PUBLISHED_KEY, self.id, canonical_json(entry))

    def draw(self, uin: bytes) -> Voter:
        """Return a voter with a code that nobody issued yet."""
        code = Code.draw(os.urandom)
        signing_key = code.signing_key(self.id)
        digest = keyed_digest(self.home.secret("credential-digest"), sha256(signing_key.public))
        return Voter(uin, code, signing_key, digest)

    async def issue(self, count: int = 1, *, uin: bytes | None = None) -> list[Voter]:
        """Issue codes to new voters, or one more to the voter with `uin`."""
        voters = [self.draw(uin or os.urandom(16)) for _ in range(count)]
        for voter in voters:
            await self.call("ballot_issue", voter.digest, voter.uin, "e", shard=shard_of(voter, self.shards))
        return voters

    async def stored(self, shard: int = 0) -> list[dict[bytes, bytes]]:
        """Return the entries of the votes stream."""
        return await entries(self.worker, handoff.votes_key(self.id, shard))

    async def attempts(self, shard: int = 0) -> list[dict[bytes, bytes]]:
        """Return the entries of the attempts stream."""
        return await entries(self.worker, handoff.attempts_key(self.id, shard))

    def path(self, resource: str) -> str:
        """Return the path of a resource of this ballot."""
        return f"/api/v1/ballots/{self.id}/{resource}"


async def entries(client: Redis, stream: str) -> list[dict[bytes, bytes]]:
    """Return the entries of a stream."""
    found: Any = await client.xrange(stream)
    return [entry for _, entry in found]


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 digest of `data`."""
    return hashlib.sha256(data).digest()


def shard_of(voter: Voter, shards: int) -> int:
    """Return the voter's shard."""
    return voter.digest[0] >> (8 - (shards.bit_length() - 1))


def pinned_desk_key(home: Home) -> SigningKey:
    """Return the desk's key, its public half pinned in the home as `ballot open` pins it."""
    key = SigningKey.from_seed(home.secret("desk"))
    entry = {"id": key_id(key.public), "use": "desk", "alg": "Ed25519", "public_key": b64encode(key.public)}
    if not home.public_key_file.exists():
        home.public_key_file.write_text(json.dumps(entry, indent=2) + "\n")
    return key


@asynccontextmanager
async def booth(servers: Servers, ballot: str, *, shards: int = 1) -> AsyncIterator[Booth]:
    """Open the clients with which a test plays desk, worker and edge; the queue is vouched for."""
    # In a Cluster these are the library's cluster clients, alike in what we use; a worker's user has none.
    users = ("desk", "admin" if servers.valkey.cluster else "worker", "intake")
    clients: list[Any] = [valkey.connect(servers, user) for user in users]
    desk, worker, edge_ = clients
    try:
        await vouch(worker)
        yield Booth(servers.home, build_document(ballot), shards, desk, worker, edge_)
    finally:
        for client in (desk, worker, edge_):
            await client.aclose()


@asynccontextmanager
async def served_booth(servers: Servers, ballot: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open ballot, once the edge that `web` speaks to serves it."""

    async def served() -> bool:
        async with web.get("/readyz") as ready, web.get(found.path("document")) as document:
            return ready.status == 200 and document.status == 200

    async with booth(servers, ballot) as found:
        await found.arm()
        await found.publish()
        await until(served)
        yield found


async def vouch(worker: Redis | RedisCluster) -> None:
    """Write the trust marks as a worker does after comparing its marks."""
    if isinstance(worker, RedisCluster):
        found: Any = await worker.info("server", "replication", target_nodes=RedisCluster.PRIMARIES)
        servers = list(found.values())
    else:
        servers = [await worker.info("server", "replication")]
    for server in servers:
        run = handoff.run_name(server["run_id"], server["master_replid"])
        await worker.hset(handoff.TRUST_KEY, run, "1")


@dataclass(frozen=True, slots=True)
class EdgeProcess:
    """A running `ballot intake`."""

    url: str
    metrics_url: str
    process: subprocess.Popen[str]

    def children(self) -> list[int]:
        """Return the pids of its edge processes."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123  # proc
            return [int(child) for child in file.read().split() if b"intake" in _command_line(int(child))]


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123  # proc
        return file.read()


@contextmanager
def edge(
    env: dict[str, str], *, processes: int = 1, settings: dict[str, str] | None = None
) -> Iterator[EdgeProcess]:
    """Run `ballot intake` on free ports until the block ends."""
    command = [sys.executable, ballot_command(), "intake", "--port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(
        [*command, "--processes", str(processes)],
        env={**env, **(settings or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"intake on (https?://\S+), metrics on port (\d+)\n", line)
        assert match, line
        yield EdgeProcess(match[1], f"http://127.0.0.1:{match[2]}/metrics", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=ANSWER_S)


async def until(condition: Callable[[], Any], *, seconds: float = ANSWER_S) -> Any:
    """Poll `condition` (a coroutine function) until it gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        await asyncio.sleep(0.02)
