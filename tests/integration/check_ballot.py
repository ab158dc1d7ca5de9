"""A small real ballot for the checker's tests: desk commands, the gate's own function, rows as a worker's.

It needs neither edge nor worker, so that what the checker sees depends on nothing it is compared with.
"""

import asyncio
import csv
import hashlib
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from ballot import document, gate_layout, handoff, receipt, sealing
from ballot.code import Code
from ballot.encoding import b64encode
from ballot.suite import SigningKey, key_id, keyed_digest
from ballot.vote import CastVote
from ops.check import report
from ops.check.command import Wanted, examine
from ops.check.receipts import published_key
from ops.pinned import pinned_key
from runtime import postgres, valkey
from tests.conftest import Stack, ballot_command

VOTERS = 12
CAST = 8
TABLES = (
    "votes",
    "ip_records",
    "quarantine",
    "releases",
    "returns",
    "revocations",
    "register",
    "electorate",
    "turnout",
    "marks",
    "lifecycle",
)
#: How saved rows go back, for a table without and with an identity column.
BACK = (
    "INSERT INTO ballot.@ SELECT * FROM saved_@",
    "INSERT INTO ballot.@ OVERRIDING SYSTEM VALUE SELECT * FROM saved_@",
)
DEFINITION = """
[ballot]
id = "{id}"
title = "A small ballot"
kind = "industrial-action"
union = "Union"
employer = "Employer"
scrutineer = "Scrutineer"
contact = "help@scrutineer.example"
opens = 2020-01-01T00:00:00Z
closes = 2099-01-01T00:00:00Z
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}} ]
"""


@dataclass(frozen=True, slots=True)
class SmallBallot:
    """The ballot, its codes and whose each is, and the receipts of the first eight."""

    id: str
    stack: Stack
    codes: list[Code]
    members: list[str]
    receipts: list[receipt.Receipt]

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[asyncpg.Connection]:
        """The voter database as its owner, who may do anything."""
        connection = await postgres.connect(self.stack.servers, "voterdb", "ballot_owner")
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Any]:
        """The queue as its administrator."""
        client = valkey.connect(self.stack.servers, "admin")
        try:
            yield client
        finally:
            await client.aclose()

    @property
    def keys(self) -> tuple[str, ...]:
        """The nine keys of its one shard."""
        return handoff.shard_keys(self.id, 0)

    def _saying(self, statement: str, table: str) -> str:
        return statement.replace("@", table).replace("#", self.id)

    def write_receipts(self, path: Path, *more: dict[str, Any]) -> Path:
        """Write the voters' receipts, and `more`, as JSON lines."""
        lines = [json.dumps(each) for each in [*(given.to_dict() for given in self.receipts), *more]]
        path.write_text("\n".join(lines) + "\n")
        return path

    @asynccontextmanager
    async def restored(self) -> AsyncIterator[None]:
        """Whatever is done inside is undone after it, in both places."""
        async with self.owner() as owner, self.queue() as queue:
            saved = {key: await queue.dump(key) for key in self.keys}
            for table in TABLES:
                await owner.execute(
                    self._saying(
                        "CREATE TEMP TABLE saved_@ AS SELECT * FROM ballot.@ WHERE ballot = '#'", table
                    )
                )
            try:
                yield
            finally:
                for key, value in saved.items():
                    await queue.delete(key)
                    if value is not None:
                        await queue.restore(key, 0, value)
                # As replica: foreign keys are not checked while a table is taken out and put back.
                await owner.execute("SET session_replication_role = replica")
                for table in TABLES:
                    await owner.execute(self._saying("DELETE FROM ballot.@ WHERE ballot = '#'", table))
                    await owner.execute(self._saying(BACK[table == "lifecycle"], table))


@asynccontextmanager
async def without_keys(stack: Stack) -> AsyncIterator[None]:
    """Take away the constraints that keep a vote single, as only the owner can, and put them back."""
    dropped = "ALTER TABLE ballot.votes DROP CONSTRAINT votes_pkey, DROP CONSTRAINT votes_event_key"
    back = "ALTER TABLE ballot.votes ADD PRIMARY KEY (ballot, uin), ADD UNIQUE (event)"
    await _owner_does(stack, dropped + ", DROP CONSTRAINT votes_ballot_reference_key")
    try:
        yield
    finally:
        await _owner_does(stack, back + ", ADD UNIQUE (ballot, reference)")


async def _owner_does(stack: Stack, statement: str) -> None:
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def run(stack: Stack, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the real `ballot` command; unlike the fixture, for use in fixtures of any scope."""
    done = subprocess.run(
        [ballot_command(), *(str(each) for each in arguments)],
        capture_output=True,
        text=True,
        env=stack.env,
        check=False,
        timeout=120,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def examined(
    small: SmallBallot,
    *,
    receipts: Path | None = None,
    signatures: bool = False,
    attempts: Path | None = None,
    result: Path | None = None,
) -> tuple[int, dict[str, Any]]:
    """What `ballot check` would end with and report; in this process, because starting one takes longer."""
    home = small.stack.home
    wanted = Wanted(
        small.id,
        receipts,
        signatures,
        attempts,
        result,
        receipts_key=published_key(home.public / "receipts.json") if receipts is not None else None,
        desk_key=pinned_key(home.public_key_file) if signatures else None,
    )
    with ThreadPoolExecutor(1) as elsewhere:  # the caller's loop is not ours
        check = elsewhere.submit(lambda: asyncio.run(examine(home, small.stack.servers, wanted)))
        outcome = check.result()
    return int(outcome.differences != 0), json.loads(report.as_json(outcome))


def build(stack: Stack, directory: Path) -> SmallBallot:
    """Set the ballot up with the desk's commands, let eight of twelve vote, and store what they cast."""
    ballot_id = f"c-{secrets.token_hex(6)}"
    definition, roll, codes = directory / "ballot.toml", directory / "roll.csv", directory / "codes.csv"
    definition.write_text(DEFINITION.format(id=ballot_id))
    voters = [f"m{i},Voter {i},voter{i}@members.example,,\n" for i in range(VOTERS)]
    roll.write_text("member_id,name,email,mobile,address\n" + "".join(voters))
    run(stack, "create", definition)
    run(
        stack, "keys", "create", ballot_id, "--threshold", "1", "--shares", "1", "--out", directory / "shares"
    )
    run(stack, "roll", "import", ballot_id, roll)
    run(stack, "codes", "issue", ballot_id, "--out", codes)
    run(stack, "open", ballot_id)
    with codes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    drawn = [Code.parse(row["code"]) for row in rows]
    signing = SigningKey.from_seed(stack.home.secret("receipts"))
    public = stack.home.public / "receipts.json"
    if not public.exists():
        entry = {"id": key_id(signing.public), "use": "receipts", "alg": "Ed25519"}
        public.write_text(json.dumps({**entry, "public_key": b64encode(signing.public)}))
    built = SmallBallot(ballot_id, stack, drawn, [row["member_id"] for row in rows], [])
    asyncio.run(_vote(built, signing))
    return built


async def _vote(built: SmallBallot, signing: SigningKey) -> None:
    canonical = (built.stack.home.public / f"{built.id}.document").read_bytes()
    paper = document.parse(canonical)
    answers = {"strike": ["yes"]}
    votes = [
        sealing.seal(paper, code.signing_key(built.id), answers, random=secrets.token_bytes)
        for code in built.codes[:CAST]
    ]
    async with built.queue() as queue, built.owner() as owner:
        leaves = [await cast(built, queue, each) for each in votes]
        built.receipts.extend(receipt.issue(leaves, signing))
        await store(built, queue, owner, {each.identity: each for each in votes})


async def cast(built: SmallBallot, queue: Any, vote: CastVote) -> receipt.Leaf:
    """Cast one vote at the gate, as an edge does."""
    digest = digest_of(built, vote.credential)
    reference = receipt.draw_reference(0, 1, random=secrets.token_bytes)
    row = [digest, vote.identity, reference, b"wrapped", vote.sealed_sha256, b"ip"]
    reply = await queue.fcall("ballot_cast", len(built.keys), *built.keys, *row)
    outcome, given, accepted_us, sealed_sha256 = reply[3][:4]
    assert outcome == b"accepted"
    return receipt.Leaf(built.id, given.decode(), int(accepted_us), sealed_sha256)


def digest_of(built: SmallBallot, credential: bytes) -> bytes:
    """The keyed digest by which gate and register know a credential."""
    return keyed_digest(built.stack.home.secret("credential-digest"), hashlib.sha256(credential).digest())


async def store(
    built: SmallBallot, queue: Any, owner: asyncpg.Connection, votes: dict[bytes, CastVote]
) -> None:
    """Store and acknowledge everything in the stream, as a worker does."""
    key = built.keys[4]
    marks = await queue.hgetall(built.keys[2])
    await queue.xgroup_create(key, handoff.GROUP, id="0", mkstream=True)
    [[_, entries]] = await queue.xreadgroup(handoff.GROUP, "test", {key: ">"}, count=1000)
    for entry, fields in entries:
        vote = votes[gate_layout.Mark.from_value(marks[fields[b"u"]]).identity]
        await owner.execute(
            """INSERT INTO ballot.votes (ballot, uin, reference, accepted_us, credential_digest, channel,
                 credential, nonce, sealed, signature, sealed_sha256, event, shard, entry, number)
               VALUES ($1, $2, $3, $4, $5, 'email', $6, $7, $8, $9, $10, $11, 0, $12, $13)""",
            built.id,
            fields[b"u"],
            fields[b"ref"].decode(),
            int(fields[b"t"]),
            fields[b"d"],
            vote.credential,
            vote.nonce,
            vote.sealed,
            vote.signature,
            vote.sealed_sha256,
            secrets.token_bytes(16),
            entry.decode(),
            int(fields[b"n"]),
        )
        await owner.execute(
            "INSERT INTO ballot.ip_records (event, ballot, sealed_ip)"
            " SELECT event, ballot, 'ip' FROM ballot.votes WHERE ballot = $1 AND reference = $2",
            built.id,
            fields[b"ref"].decode(),
        )
        await queue.hset(built.keys[3], gate_layout.reference_field(fields[b"ref"].decode()), "s")
    await queue.xack(key, handoff.GROUP, *(entry for entry, _ in entries))
    await owner.execute(
        "INSERT INTO ballot.turnout"
        " SELECT ballot, accepted_us - accepted_us % 60000000, 'electronic', side, count(*)"
        " FROM ballot.votes, (VALUES ('stored'), ('accepted')) AS sides (side)"
        " WHERE ballot = $1 GROUP BY 1, 2, 4",
        built.id,
    )
    await owner.execute(
        "INSERT INTO ballot.marks SELECT $1, 0, side, $2, $3"
        " FROM (VALUES ('stored'), ('turnout')) AS sides (side)",
        built.id,
        entries[-1][0].decode(),
        len(entries),
    )
