"""Behind a proxy that passes connections on: the address that its header names is recorded, and no other."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from ballot import handoff, queue_record
from ballot.suite import AeadKey
from tests.conftest import ballot_command
from tests.integration.intake_rig import Booth, EdgeProcess, Voter, booth, edge, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ballot.vote import CastVote
    from tests.conftest import Stack

FAILURES = 5


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process that only listens to proxies."""
    settings = {"BALLOT_PROXY_PROTOCOL": "required", "BALLOT_FAILURES_PER_MINUTE": str(FAILURES)}
    with edge(stack.env, settings=settings) as running:
        yield running


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, edges: EdgeProcess) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""

    async def served() -> bool:
        ready = await ask(edges, header("192.0.2.1"), get("/readyz"))
        document = await ask(edges, header("192.0.2.1"), get(found.path("document")))
        return (ready[0], document[0]) == (200, 200)

    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        await found.publish()
        await until(served)
        yield found


def header(source: str) -> bytes:
    """Return what a proxy writes before the connection of a client at `source`."""
    kind = f"TCP{ipaddress.ip_address(source).version}"
    target = "2001:db8::80" if kind == "TCP6" else "198.51.100.80"
    return f"PROXY {kind} {source} {target} 56324 443\r\n".encode()


def get(path: str) -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nHost: vote\r\nConnection: close\r\n\r\n".encode()


def post(path: str, body: bytes, *fields: str) -> bytes:
    """Return a request with a JSON body."""
    lines = [f"POST {path} HTTP/1.1", "Host: vote", "Content-Type: application/json", *fields]
    return "\r\n".join([*lines, "Connection: close", f"Content-Length: {len(body)}", "", ""]).encode() + body


async def ask(edges: EdgeProcess, *pieces: bytes) -> tuple[int, dict[str, object]]:
    """Send pieces one after the other: status and answer, or status 0 when there was none."""
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(10):
        answer = b""
        with suppress(ConnectionError):
            answer = await reader.read()
    writer.close()
    if not answer:
        return 0, {}
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(body)


async def test_the_named_address_is_recorded(stack: Stack, edges: EdgeProcess, poll: Booth) -> None:
    """IPv4, IPv6 and a proxy's own connection; `X-Forwarded-For` is never believed."""
    voters = await poll.issue(4)
    forged = "X-Forwarded-For: 203.0.113.66"
    headers = [
        (header("203.0.113.9"), "203.0.113.9"),
        (header("2001:db8:7::1"), "2001:db8:7::1"),
        (header("::ffff:203.0.113.10"), "203.0.113.10"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ]

    for voter, (first, _) in zip(voters, headers, strict=True):
        body = voter.vote(poll.document).to_json()
        status, _ = await ask(edges, first + post(poll.path("votes"), body, forged))
        assert status == 201

    assert [ip for _, ip in headers] == await recorded(stack, poll, voters)


async def recorded(stack: Stack, poll: Booth, voters: list[Voter]) -> list[str]:
    """Return the addresses in the queue's records, in the voters' order."""
    key = AeadKey(stack.home.secret("queue"))
    found = {}
    for entry in await poll.stored():
        for voter in voters:
            with suppress(Exception):
                record = queue_record.unwrap(
                    key,
                    entry[handoff.RECORD_FIELD],
                    ballot_id=poll.id,
                    credential_digest=voter.digest,
                    reference=entry[handoff.REFERENCE_FIELD].decode(),
                )
                found[voter.uin] = record.ip
    return [found[voter.uin] for voter in voters]


async def test_who_names_nobody_is_closed_and_counted(edges: EdgeProcess, poll: Booth) -> None:
    """A connection that went round the proxy gets no answer at all."""
    (voter,) = await poll.issue()
    body = voter.vote(poll.document).to_json()

    for sent in (
        get("/livez"),
        post(poll.path("votes"), body, "X-Forwarded-For: 1.2.3.4"),
        b"PROXY TCP5 1 2 3 4\r\n",
    ):
        assert await ask(edges, sent) == (0, {})

    assert not await poll.stored()

    async def counted() -> bool:
        async with aiohttp.ClientSession() as session, session.get(edges.metrics_url) as response:
            text = await response.text()
        return 'ballot_intake_entrance_total{outcome="no_header"} 3.0' in text

    await until(counted)


async def test_an_ipv6_customer_is_slowed_down_as_one(edges: EdgeProcess, poll: Booth) -> None:
    """Addresses of one /64 share a bound; as many others do not, and a good vote comes from anywhere."""
    (voter,) = await poll.issue()
    guess = post(poll.path("access"), b'{"credential_sha256":"%064x"}' % 7)

    one = [(await ask(edges, header(f"2001:db8:1:1::{n + 1:x}"), guess))[0] for n in range(FAILURES + 3)]
    others = [(await ask(edges, header(f"2001:db8:2:{n:x}::1"), guess))[0] for n in range(FAILURES + 3)]
    vote: CastVote = voter.vote(poll.document)
    good, _ = await ask(edges, header("2001:db8:1:1::ffff"), post(poll.path("votes"), vote.to_json()))

    assert one == [403] * FAILURES + [429] * 3
    assert set(others) == {403}
    assert good == 201


def test_two_ways_of_knowing_the_address_are_refused(stack: Stack) -> None:
    """One plain sentence, and no edge."""
    env = {**stack.env, "BALLOT_PROXY_PROTOCOL": "required", "BALLOT_PROXY_HOPS": "1"}
    command = [sys.executable, ballot_command(), "intake", "--port", "0", "--metrics-port", "0"]

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert done.stderr.startswith("ballot: BALLOT_PROXY_PROTOCOL and BALLOT_PROXY_HOPS both say")
    assert "Traceback" not in done.stderr
