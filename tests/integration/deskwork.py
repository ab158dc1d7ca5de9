"""A scrutineer's morning, for the desk's tests: a definition, a roll, keys, codes, voters who cast."""

import csv
import hashlib
import json
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ballot import document, handoff, queue_record, receipt, sealing, suite
from ballot.code import Code
from ballot.encoding import b64encode, canonical_json
from ballot.vote import CastVote
from runtime import postgres, valkey
from scrutineer.desk_key import desk_key
from scrutineer.session import Desk
from tests.conftest import RunBallot, Stack, ballot_command

T = TypeVar("T")
VOTERS = 20
ROLL = 12
SHARDS = 2
HEADER = ["member_id", "name", "email", "mobile", "address"]


#: `ballot codes issue` in a process that sends itself a signal at a step.
DYING = """
import os, sys
from pathlib import Path
from scrutineer import codes, session
ballot, out, at, number = sys.argv[1:]
def step(name):
    if name == at:
        os.kill(os.getpid(), int(number))
session.run_desk(lambda desk: codes.issue_all(desk, ballot, Path(out), step=step), people=True)
"""


def definition(
    ballot: str,
    *,
    closes_in: timedelta = timedelta(hours=1),
    kind: str = "industrial-action",
    methods: str = '["electronic", "postal", "workplace"]',
    more: str = "",
) -> str:
    """A definition with one question, open since an hour ago."""
    now = datetime.now(UTC).replace(microsecond=0)
    methods = '["electronic"]' if kind == "probe" else methods
    return f"""
[ballot]
id = "{ballot}"
title = "Pay"
kind = "{kind}"
union = "Union"
employer = "Employer"
scrutineer = "Scrutineer"
contact = "help@scrutineer.example"
opens = {(now - timedelta(hours=1)).isoformat()}
closes = {(now + closes_in).isoformat()}
methods = {methods}
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Strike?"
form = "single"
options = [ {{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}} ]
{more}"""


def write_roll(path: Path, rows: Iterable[list[str]]) -> Path:
    """Write a roll with the usual header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def members(count: int, *, start: int = 0) -> list[list[str]]:
    """Voters with an email, a mobile or an address each, in turn."""
    rows = []
    for number in range(start, start + count):
        email = f"voter{number}@planted-mail.example" if number % 3 == 0 else ""
        mobile = f"07700 9{number:05d}" if number % 3 == 1 else ""
        address = f"{number} Planted Street\nPlantedtown" if number % 3 == 2 else ""
        rows.append([f"M-{number:05d}", f"Plantedname Number{number}", email, mobile, address])
    return rows


def key_registration(ballot: str, *, result_seed: bytes, shares_used: int = 2) -> dict[str, Any]:
    """What the key holders' ceremony sends to the desk."""
    result = suite.SigningKey.from_seed(result_seed)
    mlkem = MLKEM768PrivateKey.generate().public_key().public_bytes_raw()
    x25519 = X25519PrivateKey.generate().public_key().public_bytes_raw()
    statement = canonical_json(
        {
            "ballot": ballot,
            "rehearsed_at": "2026-01-01T00:00:00Z",
            "shares_used": shares_used,
            "test_vote_sha256": "00" * 32,
        }
    )
    message = b"strike-ballot/v1/rehearsal\x00" + hashlib.sha256(statement).digest()
    return {
        "public_key": b64encode(mlkem + x25519),
        "result_key": b64encode(result.public),
        "threshold": 2,
        "shares": 3,
        "statement": b64encode(statement),
        "signature": b64encode(result.sign(message)),
    }


def prepare(
    run_ballot: RunBallot,
    tmp_path: Path,
    ballot: str,
    *,
    voters: int,
    shards: int = 1,
    kind: str = "industrial-action",
) -> Path:
    """Create a ballot, register keys, import a roll and issue codes; gives the dispatch file."""
    file = tmp_path / f"{ballot}.toml"
    file.write_text(definition(ballot, kind=kind))
    run_ballot("create", file, "--shards", str(shards))
    sent = json.dumps(key_registration(ballot, result_seed=secrets.token_bytes(32)))
    run_ballot("keyring", "register", ballot, "-", input=sent)
    run_ballot("roll", "import", ballot, write_roll(tmp_path / f"{ballot}.csv", members(voters)))
    out = tmp_path / f"{ballot}-codes.csv"
    run_ballot("codes", "issue", ballot, "--out", out)
    return out


def with_roll(run_ballot: RunBallot, tmp_path: Path, ballot: str, *, shards: int = 1, text: str = "") -> None:
    """A ballot (as `text` defines it) with keys and a roll of twelve, no codes yet."""
    file = tmp_path / "ballot.toml"
    file.write_text(text or definition(ballot))
    run_ballot("create", file, "--shards", str(shards))
    sent = json.dumps(key_registration(ballot, result_seed=secrets.token_bytes(32)))
    run_ballot("keyring", "register", ballot, "-", input=sent)
    run_ballot("roll", "import", ballot, write_roll(tmp_path / "roll.csv", members(ROLL)))


def dying_issue(
    stack: Stack, ballot: str, out: Path, *, at: str, by: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Issue codes in a process of its own that gets the signal `by` when it reaches the step `at`."""
    return subprocess.run(
        [sys.executable, "-c", DYING, ballot, str(out), at, str(int(by))],
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_on_small_disk(stack: Stack, *args: str | Path, bytes_max: int) -> subprocess.CompletedProcess[str]:
    """Run `ballot` so that no file it writes may grow beyond `bytes_max`: what a full disk does to it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    return subprocess.run(
        [ballot_command(), *(str(arg) for arg in args)],
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,  # one system call, and the test has no threads
    )


def read_codes(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a dispatch file by member."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["member_id"]: row for row in csv.DictReader(file)}


@asynccontextmanager
async def desk_of(stack: Stack) -> AsyncIterator[Desk]:
    """A desk on the session's servers, as a command has it."""
    votes = await postgres.connect(stack.servers, "voterdb", "ballot_desk")
    people = await postgres.connect(stack.servers, "userdb", "ballot_people")
    gate = valkey.connect(stack.servers, "desk", timeout_s=30.0)
    try:
        yield Desk(stack.home, stack.servers, votes, people, gate, desk_key(stack.home))
    finally:
        await gate.aclose()
        await people.close()
        await votes.close()


async def with_desk(stack: Stack, body: Callable[[Desk], Awaitable[T]]) -> T:
    """Run `body` at a desk of its own, as one command would."""
    async with desk_of(stack) as desk:
        return await body(desk)


def seal(stack: Stack, ballot: str, code: str, answer: str) -> CastVote:
    """What a voter's device makes of a code and an answer."""
    page = document.parse((stack.home.public / f"{ballot}.document").read_bytes())
    key = Code.parse(code).signing_key(ballot)
    return sealing.seal(page, key, {"strike": [answer]}, random=secrets.token_bytes)


async def cast(stack: Stack, ballot: str, vote: CastVote, *, shards: int = 1) -> str:
    """Hand one vote to the gate as the edge does; gives the outcome."""
    digest = suite.keyed_digest(stack.home.secret("credential-digest"), vote.credential_sha256)
    shard = receipt.shard_of_digest(digest, shards)
    reference = receipt.draw_reference(shard, shards, random=secrets.token_bytes)
    record = queue_record.QueueRecord(
        vote.credential, vote.nonce, vote.sealed, vote.signature, "192.0.2.1", 1
    )
    wrapped = queue_record.wrap(
        suite.AeadKey(stack.home.secret("queue")),
        record,
        ballot_id=ballot,
        credential_digest=digest,
        reference=reference,
        random=secrets.token_bytes,
    )
    keys = handoff.shard_keys(ballot, shard)
    client: Any = valkey.connect(stack.servers, "intake")
    try:
        arguments = [digest, vote.identity, reference, wrapped, vote.sealed_sha256, b""]
        reply = await client.fcall("ballot_cast", len(keys), *keys, *arguments)
    finally:
        await client.aclose()
    return str(reply[3][0].decode())


async def voted(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot: str, *, votes: int
) -> list[CastVote]:
    """An open ballot of twenty voters in two shards in which the first `votes` have voted."""
    rows = read_codes(prepare(run_ballot, tmp_path, ballot, voters=VOTERS, shards=SHARDS))
    run_ballot("open", ballot)
    sealed = [seal(stack, ballot, rows[member]["code"], "yes") for member in sorted(rows)[:votes]]
    for vote in sealed:
        assert await cast(stack, ballot, vote, shards=SHARDS) == "accepted"
    return sealed


def refusal(run_ballot: RunBallot, *command: str | Path) -> str:
    """The one message of a command that must be refused."""
    done = run_ballot(*command, check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr
