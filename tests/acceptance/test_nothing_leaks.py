"""Nothing a deployment leaves behind tells a choice, a code or a person: files, dumps, logs are searched."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ballot import complaint
from ballot.code import Code
from ballot.complaint import Complaint
from ballot.encoding import b64decode
from ballot.suite import hkdf
from loadtests.staging.stage import Stage, wait_until
from runtime import postgres, valkey
from runtime.addresses import OWNER, Cluster
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import Servers, servers
from tests.acceptance.small_ballot import MEMBERS, SmallBallot, yes
from tests.acceptance.traces import Search, forms

# With the quote of the first question's id: the page's own program, which a home keeps, has the rest.
ANSWERS = b'"answers":{"'
COMPLAINT = Complaint("I asked for large print twice and had neither", "night.sister@example.org")
TABLES = """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
CLUSTERS: tuple[Cluster, ...] = ("voterdb", "userdb")


def seed_of(code: Code, ballot: str) -> bytes:
    """The seed of the signing key that the voter's device derives, from its definition."""
    symbols = code.text().replace("-", "").encode()
    return hkdf(symbols, salt=f"strike-ballot/v1/{ballot}".encode(), info=b"credential", length=32)


def planted(ballot: SmallBallot, codes: dict[str, Code]) -> dict[str, bytes]:
    """Everything that must not be found, by what it is."""
    secrets = {"an answer": ANSWERS, "a complaint": COMPLAINT.text.encode()}
    secrets["how its writer is reached"] = COMPLAINT.contact.encode()
    for who in MEMBERS:
        secrets[f"the name of {who.member_id}"] = who.name.encode()
        secrets[f"the address of {who.member_id}"] = who.address.encode()
        if who.email:
            secrets[f"the e-mail of {who.member_id}"] = who.email.encode()
        if who.mobile:
            secrets[f"the number of {who.member_id}"] = who.mobile.encode()
            secrets[f"the number of {who.member_id}, plain"] = who.mobile.replace(" ", "").encode()
            secrets[f"the number of {who.member_id}, from abroad"] = who.mobile.replace(" ", "")[1:].encode()
    for whose, code in codes.items():
        secrets[f"{whose}"] = code.text().encode()
        secrets[f"{whose}, plain"] = code.text().replace("-", "").encode()
        secrets[f"the signing seed of {whose}"] = seed_of(code, ballot.ballot)
    return secrets


def run_a_ballot(stage: Stage) -> tuple[SmallBallot, dict[str, Code]]:
    """A ballot with votes, refusals, slips and a reissue, up to its result; and every code in it."""
    ballot = SmallBallot(stage, "nothing-leaks")
    ballot.set_up()
    codes = {f"the code of {who.member_id}": ballot.code(who.member_id) for who in MEMBERS}
    codes["the new code of C-3"] = ballot.reissued_code("C-3")
    for whose, paper in (
        ("the code of A-1", yes("yes", "yes")),
        ("the code of B-2", yes("no", "yes")),
        ("the new code of C-3", yes("yes", "no")),
    ):
        ballot.cast(ballot.seal(codes[whose], paper))
    # What people do wrong reaches the logs too: a used code, a revoked one, a slip, a body that is no vote.
    for whose in ("the code of A-1", "the code of C-3"):
        assert ballot.post(ballot.seal(codes[whose], yes("no", "no")).to_json())[0] == 403
    assert ballot.post(b'{"code": "' + codes["the code of D-4"].text().encode() + b'"}')[0] == 400
    slip = codes["the code of D-4"].text()[:-1] + "?"
    typed = stage.attempt("cast", ballot.ballot, "--code-file", "-", "--url", stage.url, stdin=slip)
    assert (typed.returncode, slip in typed.stderr) == (1, False)
    assert (
        stage.attempt("codes", "reissue", ballot.ballot, "A-1", "--out", stage.files / "x.csv").returncode
        == 1
    )
    complain(stage, ballot)
    stage.run("close", ballot.ballot)
    ballot.tally()
    return ballot, codes


def complain(stage: Stage, ballot: SmallBallot) -> None:
    """A complaint, sealed to the key that the edge shows, until the desk has read it and noted the same."""
    keys = orjson.loads(ballot.door.send("GET", "/api/v1/keys").body)["keys"]
    desk = orjson.loads(stage.desk_key.read_bytes())["public_key"]
    (entry,) = [each for each in keys if each["use"] == complaint.USE]
    public_key = complaint.verify_key(entry, b64decode(desk))
    lodged = complaint.Lodged(ballot.ballot, complaint.seal(COMPLAINT, public_key))
    assert ballot.door.send("POST", "/api/v1/complaints", complaint.request_body(lodged)).status == 201
    wait_until(
        lambda: lodged.number in stage.run("complaints", "list", ballot.ballot), seconds=20, what="storing"
    )
    assert COMPLAINT.contact in stage.run("complaints", "show", lodged.number)
    note = stage.files / "note.txt"
    note.write_text(COMPLAINT.text)
    stage.run("complaints", "status", lodged.number, "in-hand", "--note", note)


async def dump(running: Servers) -> bytes:
    """All the queue holds and every table of both clusters; and a checkpoint, so that the files hold it."""
    out = io.BytesIO()
    for cluster in CLUSTERS:
        connection = await postgres.connect(running, cluster, OWNER)
        try:
            await connection.execute("CHECKPOINT")
            for row in await connection.fetch(TABLES):
                table = f"SELECT * FROM {row[0]}"  # noqa: S608  # the server has quoted the name
                await connection.copy_from_query(table, output=out)
        finally:
            await connection.close()
    client = valkey.connect(running, "admin")
    try:
        async for key in client.scan_iter():
            out.write(key + b"\n")
            for value in await queue_value(client, key):
                out.write(value + b"\n")
    finally:
        await client.aclose()
    return out.getvalue()


async def queue_value(client: Any, key: bytes) -> list[bytes]:
    """Whatever lies under one key of the queue, flat."""
    match await client.type(key):
        case b"string":
            return [await client.get(key)]
        case b"hash":
            return [part for pair in (await client.hgetall(key)).items() for part in pair]
        case b"stream":
            return [part for _, entry in await client.xrange(key) for pair in entry.items() for part in pair]
        case other:
            raise AssertionError(f"the queue holds a {other!r}, which this test does not read")


def left_behind(stage: Stage) -> Iterator[Path]:
    """Every file below BALLOT_HOME but the secrets, and what `ballot up` printed."""
    for path in stage.home.rglob("*"):
        if path.is_file() and path.relative_to(stage.home).parts[0] != "secrets":
            yield path
    yield from (stage.files / "up.out", stage.files / "up.err")


def test_nothing_tells_a_choice_a_code_or_a_person() -> None:
    """Queue, both clusters and all logs hold no answer, code, signing seed, name or contact."""
    with Stage() as stage:
        stage.up()
        ballot, codes = run_a_ballot(stage)
        search = Search(planted(ballot, codes))
        home = Home.from_environment(stage.env)
        with servers(home, stage.env) as running:
            dumped = run_async(lambda: dump(running))
        stage.stop()
        files = list(left_behind(stage))
        # The search would find them: it does, where they have to be.
        assert search.in_file(ballot.files / "roll.csv") >= {
            f"the name of {who.member_id}" for who in MEMBERS
        }
        assert search.in_file(ballot.codes_file) >= {"the code of A-1", "the e-mail of A-1"}
        # And it looked at the real thing: the sealed votes are in the dump, the servers' files in the list.
        assert ballot.ballot.encode() in dumped
        assert {"PG_VERSION", "postmaster.opts"} <= {path.name for path in files}
        assert any(path.suffix == ".aof" for path in files)
        assert any("pg_wal" in path.parts for path in files)
        assert not search.in_bytes(dumped)
        assert not list(search.in_files(files))


def test_the_search_knows_every_form() -> None:
    """A secret is found raw, in either case, in hex, and in base64 at any offset."""
    search = Search({"an answer": ANSWERS})
    text = b'x{"v":1,"answers":{"strike":["yes"]}}'
    for offset in range(3):
        for coded in (
            text,
            text.hex().encode(),
            text.hex().upper().encode(),
            base64.b64encode(text[offset:]),
        ):
            assert search.in_bytes(b"before " + coded + b" after") == {"an answer"}
    assert not search.in_bytes(base64.b64encode(b"nothing of the kind"))
    assert min(map(len, forms(ANSWERS))) >= 8
