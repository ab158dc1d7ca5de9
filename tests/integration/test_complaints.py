"""Complaints from edge to desk, on real servers: kept once, read at the desk alone, in nobody's way."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import redis

from ballot import complaint, handoff
from ballot.complaint import Lodged
from runtime import postgres, valkey
from runtime.addresses import OWNER, Cluster
from runtime.home import Home
from runtime.servers import Servers, servers
from scrutineer.desk_key import desk_key
from tests.acceptance.traces import Search
from tests.integration.complaint_rig import JSON, as_role, caller, lodge, rows, sealed, stored, storing
from tests.integration.cutting_proxy import cutting_proxy
from tests.integration.deskwork import refusal
from tests.integration.intake_rig import (
    EdgeProcess,
    booth,
    edge,
    now_us,
    served_booth,
    sha256,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import RunBallot, Stack

STREAM = handoff.COMPLAINTS_KEY
PER_MINUTE = 40
JUNK = b"\x01" * complaint.SEALED_BYTES
TEXT = "The lift was out of order & my letter came late: Gwenllian Ap Rhys, ward 7"
CONTACT = "gwenllian.rhys@example.org"
CLUSTERS: tuple[Cluster, ...] = ("voterdb", "userdb")
TABLES = """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
TAKING_AWAY = (
    "DELETE FROM complaints.complaints",
    "DELETE FROM complaints.history",
    "UPDATE complaints.complaints SET route = 'post'",
    "UPDATE complaints.history SET state = 'closed'",
    "TRUNCATE complaints.complaints CASCADE",
    "TRUNCATE complaints.history",
)
DIES_BEFORE_TAKING_OUT = """
import os, signal, sys
from scrutineer import serving
from runtime.frontdoor import main

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

serving.Storing._take_out = die
sys.argv = ["ballot", "complaints", "serve"]
main()
"""


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process."""
    with edge(stack.env, settings={"BALLOT_COMPLAINTS_PER_MINUTE": str(PER_MINUTE)}) as running:
        yield running


async def test_from_the_page_to_the_desk(
    stack: Stack, edges: EdgeProcess, run_ballot: RunBallot, ballot_id: str
) -> None:
    """Lodged without a code, on a closed ballot and on none, twice: one row each, read at the desk alone."""
    told = run_ballot("complaints", "list", "--json")  # the first desk act: it makes the key
    assert json.loads(told.stdout).keys() == {"complaints"}
    async with caller(edges.url) as web, booth(stack.servers, ballot_id) as poll:
        await poll.arm(opens_us=now_us() - 2_000_000, closes_us=now_us() - 1_000_000)
        await poll.publish()
        async with web.get("/api/v1/keys") as response:
            (key,) = [each for each in (await response.json())["keys"] if each["use"] == complaint.USE]
        public_key = complaint.verify_key(key, desk_key(stack.home).public)
        about = Lodged(ballot_id, complaint.seal(complaint.Complaint(TEXT, CONTACT), public_key))
        unnamed, junk = sealed(stack.home, "Why no Welsh?\x1b[2J\u202e"), Lodged(ballot_id, JUNK)
        async with storing(stack.servers) as numbers:
            answers = [await lodge(web, each) for each in (about, unnamed, junk, about)]
            assert answers == [(201, {"number": each.number}) for each in (about, unnamed, junk, about)]
            for each in (about, unnamed, junk):
                ((_, ballot, route, _, kept),) = await stored(stack.servers, each.number)
                assert (ballot, route, kept) == (each.ballot, "web", each.sealed)

            async def drained() -> bool:
                return numbers.get_sample_value("ballot_complaints_waiting") == 0

            await until(drained)
            # Tests before this one may have left some on the way.
            stored_total = numbers.get_sample_value("ballot_complaints_stored_total")
            assert stored_total is not None
            assert stored_total >= 3
    found = json.loads(run_ballot("complaints", "list", ballot_id, "--json").stdout)["complaints"]
    assert {each["number"] for each in found} == {about.number, junk.number}
    assert "unreadable" in run_ballot("complaints", "show", junk.number).stdout
    shown = run_ballot("complaints", "show", unnamed.number.lower().replace("-", " ")).stdout
    assert "Why no Welsh?" in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    run_ballot("complaints", "status", about.number, "in-hand", "--note", "-", "--by", "M. Evans", input=TEXT)
    run_ballot("complaints", "status", about.number, "answered")
    (said,) = json.loads(run_ballot("complaints", "show", about.number, "--json").stdout)["complaints"]
    assert (said["text"], said["contact"], said["state"]) == (TEXT, CONTACT, "answered")
    assert [(line["state"], line["by"], line["note"]) for line in said["history"]] == [
        ("received", "page", None),
        ("in-hand", "M. Evans", TEXT),
        ("answered", "desk", None),
        ("read", "desk", None),
    ]
    by_phone = run_ballot(
        "complaints", "record", "--file", "-", "--route", "phone", "--ballot", ballot_id, input=TEXT + "\n"
    ).stdout.strip()
    assert TEXT in run_ballot("complaints", "show", by_phone).stdout
    await nothing_tells(stack)


async def nothing_tells(stack: Stack) -> None:
    """No table of either cluster, no file of the queue and no log holds what was written."""
    search = Search({"the text": TEXT.encode(), "the contact": CONTACT.encode()})
    out = io.BytesIO()
    for cluster in CLUSTERS:
        connection = await postgres.connect(stack.servers, cluster, OWNER)
        try:
            for row in await connection.fetch(TABLES):
                await connection.copy_from_query(f"SELECT * FROM {row[0]}", output=out)  # noqa: S608  # quoted there
        finally:
            await connection.close()
    assert complaint.number(JUNK).encode() in out.getvalue()
    assert search.in_bytes(out.getvalue()) == set()
    files = [*stack.home.logs.iterdir(), *(stack.home.data / "valkey").rglob("*.aof")]
    assert list(search.in_files(path for path in files if path.is_file())) == []


async def test_two_complaints_with_one_number_are_both_kept(stack: Stack, run_ballot: RunBallot) -> None:
    """Its 60 bits can be aimed at: both are shown, and a state is set for the one whose digest is named."""
    first, second = sealed(stack.home, "the first of two"), sealed(stack.home, "the second of two")
    async with as_role(stack.servers, "ballot_people") as connection:
        both = [first.sealed, second.sealed]
        await connection.execute(
            "SELECT complaints.store('post', $1, $2, $3, $4)", [first.number] * 2, both, [None, None], [1, 2]
        )
    shown = run_ballot("complaints", "show", first.number).stdout
    assert "the first of two" in shown
    assert "the second of two" in shown
    told = refusal(run_ballot, "complaints", "status", first.number, "closed")
    digest = sha256(second.sealed).hex()
    assert digest in told
    run_ballot("complaints", "status", digest, "closed")
    listed = json.loads(run_ballot("complaints", "list", "--json").stdout)["complaints"]
    assert {each["sha256"]: each["state"] for each in listed if each["number"] == first.number} == {
        sha256(first.sealed).hex(): "received",
        digest: "closed",
    }


def test_slips_at_the_desk_are_one_plain_line(run_ballot: RunBallot) -> None:
    """A number that nobody has or that is none, an id that is none, a text that is too long."""
    for command, expected in (
        (("show", "0000-0000-0000"), "there is no complaint"),
        (("status", "nonsense", "closed"), "letters and digits"),
        (("list", "No Such"), "not the id of a ballot"),
        (("status", "0000-0000-0000", "closed", "--by", "\x1b[2J"), "--by"),
    ):
        assert expected in refusal(run_ballot, "complaints", *command)
    long = run_ballot(
        "complaints", "record", "--file", "-", "--route", "post", input="x" * 5_000, check=False
    )
    assert (long.returncode, long.stderr.count("\n"), "too long" in long.stderr) == (1, 1, True)


async def test_a_flood_from_one_address_slows_that_address_down(
    stack: Stack, edges: EdgeProcess, ballot_id: str
) -> None:
    """After its budget 429 with Retry-After; its votes are still taken, and so are others' complaints."""
    flood = sealed(stack.home, "again")
    async with (
        caller(edges.url, "127.0.0.7") as web,
        caller(edges.url, "127.0.0.8") as other,
        served_booth(stack.servers, ballot_id, web) as poll,
    ):
        statuses = [status for status, _ in [await lodge(web, flood) for _ in range(PER_MINUTE)]]
        assert statuses == [201] * PER_MINUTE
        async with web.post(
            "/api/v1/complaints", data=complaint.request_body(flood), headers=JSON
        ) as response:
            assert (response.status, (await response.json())["error"]) == (429, "slow_down")
            assert int(response.headers["Retry-After"]) > 0
        (voter,) = await poll.issue()
        vote = voter.vote(poll.document).to_json()
        async with web.post(poll.path("votes"), data=vote, headers=JSON) as response:
            assert response.status == 201
        assert (await lodge(other, flood))[0] == 201


async def test_a_full_stream_is_an_honest_503_and_keeps_no_vote_out(
    stack: Stack, edges: EdgeProcess, ballot_id: str
) -> None:
    """Full is said, and when to come back; votes go on; the budget takes no more memory than it says."""
    async with caller(edges.url, "127.0.0.9") as web, served_booth(stack.servers, ballot_id, web) as poll:
        admin: Any = valkey.connect(stack.servers, "admin")
        try:
            await admin.delete(STREAM)
            for _ in range(16):
                assert (await lodge(web, sealed(stack.home, "one")))[0] == 201
            assert await admin.memory_usage(STREAM, samples=0) * 8_192 // 16 < handoff.COMPLAINTS_BYTES
            pipe = admin.pipeline(transaction=False)
            for _ in range(8_192 - 16):
                pipe.xadd(STREAM, {"b": ""})
            await pipe.execute()
            status, body = await lodge(web, sealed(stack.home, "one too many"))
            assert (status, body["error"], body["retry"]) == (503, "not_confirmed", True)
            assert "could not be recorded" in body["message"]
            assert await admin.xlen(STREAM) == 8_192
            (voter,) = await poll.issue()
            vote = voter.vote(poll.document).to_json()
            async with web.post(poll.path("votes"), data=vote, headers=JSON) as response:
                assert response.status == 201
        finally:
            await admin.delete(STREAM)
            await admin.aclose()


async def test_entries_that_no_edge_wrote_are_taken_out_and_stop_nothing(
    stack: Stack, edges: EdgeProcess
) -> None:
    """Junk put into the stream by hand is counted, and what stands behind it is stored."""
    good = sealed(stack.home, "behind junk")
    admin: Any = valkey.connect(stack.servers, "admin")
    try:
        await admin.xadd(STREAM, {"s": "short", "b": ""})
        await admin.xadd(STREAM, {"s": JUNK, "b": "NOT an id"})
        await admin.xadd(STREAM, {"x": "y"})
        async with caller(edges.url, "127.0.0.10") as web, storing(stack.servers) as numbers:
            assert (await lodge(web, good))[0] == 201
            await stored(stack.servers, good.number)
            assert numbers.get_sample_value("ballot_complaints_malformed_total") == 3

            async def empty() -> bool:
                return bool(await admin.xlen(STREAM) == 0)

            await until(empty)
    finally:
        await admin.aclose()


async def test_killed_between_commit_and_acknowledgement_it_is_stored_once(
    stack: Stack, edges: EdgeProcess
) -> None:
    """The next start is given the entry again, at once, and the row is there once."""
    lodged = sealed(stack.home, "killed")
    async with caller(edges.url, "127.0.0.11") as web:
        assert (await lodge(web, lodged))[0] == 201
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIES_BEFORE_TAKING_OUT], env=stack.env, check=False, timeout=60
    )
    assert died.returncode == -signal.SIGKILL
    assert len(await rows(stack.servers, lodged.number)) == 1
    admin: Any = valkey.connect(stack.servers, "admin")
    try:
        assert await admin.xlen(STREAM) == 1
        async with storing(stack.servers) as numbers:

            async def empty() -> bool:
                return bool(await admin.xlen(STREAM) == 0)

            await until(empty)
            assert numbers.get_sample_value("ballot_complaints_stored_total") == 0
    finally:
        await admin.aclose()
    assert len(await rows(stack.servers, lodged.number)) == 1


async def test_while_userdb_is_away_complaints_wait_in_the_queue(stack: Stack, edges: EdgeProcess) -> None:
    """201 all the same; they are counted as waiting, and stored when it is back."""
    lodged = sealed(stack.home, "userdb was away")
    at, voterdb = stack.servers.userdb, stack.servers.voterdb
    async with cutting_proxy(at.port) as proxy:
        env = {
            **stack.env,
            "BALLOT_VALKEY_URL": stack.servers.valkey.url,
            "BALLOT_VOTERDB_URL": f"postgresql://{voterdb.host}:{voterdb.port}/voterdb?sslmode=disable",
            "BALLOT_USERDB_URL": f"postgresql://127.0.0.1:{proxy.port}/userdb?sslmode=disable",
        }
        through = await asyncio.to_thread(lambda: _attached(env))
        async with caller(edges.url, "127.0.0.12") as web, storing(through) as numbers:
            proxy.lose("cut")
            assert (await lodge(web, lodged))[0] == 201

            async def tried() -> bool:
                return (numbers.get_sample_value("ballot_complaints_retries_total") or 0) >= 2

            await until(tried)
            assert await rows(stack.servers, lodged.number) == []
            assert numbers.get_sample_value("ballot_complaints_waiting") == 1
            proxy.lose("nothing")
            assert len(await stored(stack.servers, lodged.number)) == 1


def _attached(env: dict[str, str]) -> Servers:
    """The servers that an environment configures; nothing of them is ours to stop."""
    with servers(Home.from_environment(env), env) as found:
        return found


async def test_no_role_takes_a_complaint_away(stack: Stack, edges: EdgeProcess) -> None:
    """Delete, update and truncate are refused to every role, the owner too; who stores reads nothing."""
    lodged = sealed(stack.home, "kept")
    async with caller(edges.url, "127.0.0.13") as web, storing(stack.servers):
        assert (await lodge(web, lodged))[0] == 201
        await stored(stack.servers, lodged.number)
    for role in (OWNER, "ballot_people", "ballot_complaints"):
        async with as_role(stack.servers, role) as connection:
            for statement in TAKING_AWAY:
                with pytest.raises(
                    (asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError)
                ):
                    await connection.execute(statement)
    async with as_role(stack.servers, "ballot_complaints") as connection:
        for statement in (
            "SELECT * FROM complaints.complaints",
            "SELECT * FROM complaints.history",
            "SELECT * FROM people.voters",
            "SELECT complaints.store('web', '{}', '{}', '{}', '{}')",
            "SELECT complaints.add_line('', 'closed', 'x', NULL)",
            "INSERT INTO complaints.history (complaint, state, actor) VALUES ('', 'closed', 'x')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    assert len(await rows(stack.servers, lodged.number)) == 1


async def test_the_queues_users_have_one_verb_each_on_the_stream(stack: Stack) -> None:
    """The edge appends and cannot read; who stores reads and cannot append, and reaches nothing else."""
    refused = (redis.exceptions.NoPermissionError,)
    edge_: Any = valkey.connect(stack.servers, "intake")
    keeper: Any = valkey.connect(stack.servers, "complaints")
    try:
        for client, commands in (
            (
                edge_,
                (
                    ("XRANGE", STREAM, "-", "+"),
                    ("XINFO", "STREAM", STREAM),
                    ("XREAD", "STREAMS", STREAM, "0"),
                    ("XREADGROUP", "GROUP", "desk", "serve", "STREAMS", STREAM, ">"),
                    ("XDEL", STREAM, "1-1"),
                    ("DEL", STREAM),
                ),
            ),
            (
                keeper,
                (
                    ("XADD", STREAM, "*", "s", "x"),
                    ("FCALL", handoff.COMPLAIN, 1, STREAM, JUNK, ""),
                    ("HKEYS", handoff.PUBLISHED_KEY),
                    ("XREADGROUP", "GROUP", "workers", "x", "STREAMS", "{a:00}:votes", ">"),
                    ("SCAN", "0"),
                ),
            ),
        ):
            for command in commands:
                with pytest.raises(refused):
                    await client.execute_command(*command)
        for sealed_, ballot in ((JUNK[:-1], ""), (JUNK, "A"), (JUNK, "a" * 41)):
            with pytest.raises(redis.exceptions.ResponseError, match="ARGUMENT"):
                await edge_.execute_command("FCALL", handoff.COMPLAIN, 1, STREAM, sealed_, ballot)
        with pytest.raises(redis.exceptions.ResponseError, match="ARGUMENT"):
            await edge_.execute_command("FCALL", handoff.COMPLAIN, 1, STREAM, JUNK)
    finally:
        await edge_.aclose()
        await keeper.aclose()
