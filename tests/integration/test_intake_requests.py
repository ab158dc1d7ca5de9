"""What is not a good request: each wrong shape gets its one status, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from ballot import gate_layout, handoff
from ballot.limits import REQUEST_BYTES_MAX
from tests.integration.intake_rig import Booth, EdgeProcess, edge, served_booth, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Stack

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process that slows down after five refusals and believes one proxy."""
    settings = {"BALLOT_FAILURES_PER_MINUTE": "5", "BALLOT_PROXY_HOPS": "1", "BALLOT_BODY_SECONDS": "0.5"}
    with edge(stack.env, settings=settings) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge."""
    async with aiohttp.ClientSession(edges.url) as session:
        yield session


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""
    async with served_booth(stack.servers, ballot_id, web) as found:
        yield found


async def refused(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Return status and error name of a refusal, after checking that it has the one form."""
    body = await response.json()
    assert {"error", "message", "retry"} <= body.keys()
    assert isinstance(body["retry"], bool)
    assert body["message"].endswith(".")
    return response.status, body["error"]


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"a":"\xff"}',
    "a list": b"[]",
    "a number": b"1",
    "too deep": b'{"a":' * 100 + b"1" + b"}" * 100,
    "very deep": b"[" * 30_000 + b"]" * 30_000,
    "no fields": b"{}",
}


@pytest.mark.parametrize("resource", ["votes", "access"])
@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_request_is_malformed(
    web: aiohttp.ClientSession, poll: Booth, resource: str, name: str
) -> None:
    """400 with one sentence, nothing stored, nothing logged."""
    async with web.post(poll.path(resource), data=MALFORMED[name], headers=JSON) as response:
        assert await refused(response) == (400, "malformed")
    assert not await poll.stored()
    assert not await poll.attempts()


WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "another suite": {"suite": "rot13"},
    "padded base64": {"nonce": "AAAAAAAAAAAAAAAAAAAAAA=="},
    "standard base64": {"nonce": "+/AAAAAAAAAAAAAAAAAAAA"},
    "loose bits": {"nonce": "AAAAAAAAAAAAAAAAAAAAAB"},
    "short nonce": {"nonce": "AAAA"},
    "short sealed": {"sealed": "AAAA"},
    "long sealed": {"sealed": "AAAA" * 2_000},
    "a number": {"signature": 7},
    "nothing": {"credential": None},
    "an extra field": {"answers": "yes"},
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
async def test_a_vote_of_the_wrong_shape_is_malformed(
    web: aiohttp.ClientSession, poll: Booth, name: str
) -> None:
    """400 for each, and the voter's good vote is still accepted afterwards."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document).to_json()
    wrong = orjson.dumps({**orjson.loads(vote), **WRONG_FIELDS[name]})

    async with web.post(poll.path("votes"), data=wrong, headers=JSON) as response:
        assert await refused(response) == (400, "malformed")
    async with web.post(poll.path("votes"), data=vote, headers=JSON) as response:
        assert response.status == 201


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/api/v1/ballots/{id}/votes", 405, "method_not_allowed"),
        ("PUT", "/api/v1/ballots/{id}/votes", 405, "method_not_allowed"),
        ("POST", "/api/v1/ballots/{id}", 405, "method_not_allowed"),
        ("DELETE", "/livez", 405, "method_not_allowed"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/v1", 404, "not_found"),
        ("GET", "/api/v1/ballots/{id}/", 404, "not_found"),
        ("GET", "/api/v1/ballots/no-such-ballot", 404, "not_found"),
        ("GET", "/api/v1/ballots/No%20Such%20Ballot", 404, "not_found"),
        ("GET", "/api/v1/ballots/../../readyz", 404, "not_found"),
        ("GET", "/api/v1/ballots/{id}/receipts/0000-0000-0000-0000", 404, "not_found"),
        ("GET", "/api/v1/ballots/{id}/receipts/nonsense", 404, "not_found"),
    ],
)
async def test_wrong_addresses_and_methods(
    web: aiohttp.ClientSession, poll: Booth, method: str, path: str, status: int, error: str
) -> None:
    """404 and 405 have the same form as every other refusal; 405 says what is allowed."""
    async with web.request(method, path.format(id=poll.id)) as response:
        assert await refused(response) == (status, error)
        assert (status == 405) == ("Allow" in response.headers)


async def test_unknown_ballots_take_no_votes(web: aiohttp.ClientSession, poll: Booth) -> None:
    """404 for a vote on a ballot that does not exist."""
    (voter,) = await poll.issue()
    body = voter.vote(poll.document).to_json()

    async with web.post("/api/v1/ballots/no-such-ballot/votes", data=body, headers=JSON) as response:
        assert await refused(response) == (404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
    ids=["text", "form", "gzip"],
)
async def test_other_types_are_unsupported(
    web: aiohttp.ClientSession, poll: Booth, headers: dict[str, str]
) -> None:
    """415 unless it is plain JSON."""
    async with web.post(poll.path("votes"), data=b"{}", headers=headers) as response:
        assert await refused(response) == (415, "unsupported_type")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_oversized_bodies_are_too_large(edges: EdgeProcess, poll: Booth, *, chunked: bool) -> None:
    """413 as soon as it is known, by the declared length or by counting."""
    length = REQUEST_BYTES_MAX + 1
    body = b"x" * length
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % length
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (length, body) if chunked else body

    status, answer = await raw(edges, _head(poll, framing) + sent)

    assert (status, answer["error"]) == (413, "too_large")


async def test_a_body_that_does_not_come_is_given_up(edges: EdgeProcess, poll: Booth) -> None:
    """400 after the bound, so that slow senders hold nothing; they may try again."""
    status, answer = await raw(edges, _head(poll, b"Content-Length: 100") + b"{")

    assert (status, answer["error"], answer["retry"]) == (400, "malformed", True)
    assert "in time" in answer["message"]


async def test_a_client_that_asks_first_is_told_to_go_on(edges: EdgeProcess, poll: Booth) -> None:
    """`Expect: 100-continue` gets its go-ahead, and then the answer; what is too large gets none."""
    (voter,) = await poll.issue()
    body = voter.vote(poll.document).to_json()
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

    writer.write(_head(poll, b"Expect: 100-continue\r\nContent-Length: %d" % len(body)))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 201 ")
    writer.close()
    status, _ = await raw(
        edges, _head(poll, b"Expect: 100-continue\r\nContent-Length: %d" % (REQUEST_BYTES_MAX + 1))
    )
    assert status == 413


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        ("POST /nowhere", "Content-Length: 100", 404),
        ("PUT /livez", "Transfer-Encoding: chunked", 405),
        ("POST /api/v1/ballots/a/votes", "Content-Type: text/plain\r\nContent-Length: 100", 415),
        (
            "POST /api/v1/ballots/a/votes",
            "Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1000000",
            413,
        ),
    ],
    ids=["not found", "method", "type", "too large"],
)
async def test_a_refusal_before_the_body_ends_the_connection(
    edges: EdgeProcess, request_line: str, fields: str, status: int
) -> None:
    """The client is told so: the next request on that connection would be eaten as the body."""
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

    writer.write(f"{request_line} HTTP/1.1\r\nHost: vote\r\n{fields}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.read()
    writer.close()

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in head


async def test_a_refusal_after_the_body_keeps_the_connection(edges: EdgeProcess) -> None:
    """A body that was read to its end is in nobody's way: the next request there is answered."""
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

    async with asyncio.timeout(5):
        for _ in range(2):
            writer.write(b"POST /api/nowhere HTTP/1.1\r\nHost: vote\r\nContent-Length: 2\r\n\r\n{}")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            assert b"Connection" not in head
            await reader.readuntil(b"}")
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["tls", "version", "long line"],
)
async def test_what_is_not_http_gets_the_same_form(edges: EdgeProcess, sent: bytes) -> None:
    """400 in JSON, and the connection ends."""
    status, answer = await raw(edges, sent)

    assert (status, answer["error"]) == (400, "malformed")


def _head(poll: Booth, framing: bytes) -> bytes:
    """Return the head of a vote request."""
    line = f"POST {poll.path('votes')} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n"
    return line.encode() + framing + b"\r\n\r\n"


async def raw(edges: EdgeProcess, sent: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes and read one answer."""
    parts = urlsplit(edges.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
        body = await reader.readexactly(length)
    writer.close()
    return int(head.split()[1]), orjson.loads(body)


async def test_readers_of_receipts_are_in_nobody_s_way(edges: EdgeProcess, poll: Booth) -> None:
    """Three hundred at once all get their answer, and so do those who load the ballot meanwhile."""
    references = [f"0123-4567-89AB-{number:04d}" for number in range(300)]
    for reference in references:
        await poll.desk.hset(handoff.references_key(poll.id, 0), gate_layout.reference_field(reference), "s")
    paths = [poll.path(f"receipts/{reference}") for reference in references]
    paths += [f"/api/v1/ballots/{poll.id}"] * 50

    async def status(path: str) -> int:
        async with many.get(path) as response:
            return response.status

    async with aiohttp.ClientSession(edges.url, connector=aiohttp.TCPConnector(limit=0)) as many:
        for _ in range(3):
            assert set(await asyncio.gather(*map(status, paths))) == {200}


async def test_guessing_is_slowed_down_and_voting_never(
    stack: Stack, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """After the bound a refusal becomes 429; a good vote from there is accepted, others still see 403."""
    (voter,) = await poll.issue()
    here, elsewhere = {**JSON, "X-Forwarded-For": "192.0.2.7"}, {**JSON, "X-Forwarded-For": "192.0.2.8"}
    guess = orjson.dumps({"credential_sha256": "0" * 64})

    answers = []
    limited = None
    for _ in range(7):
        async with web.post(poll.path("access"), data=guess, headers=here) as response:
            answers.append(await refused(response))
            limited = response.headers.get("Retry-After")
    async with web.post(poll.path("access"), data=guess, headers=elsewhere) as response:
        other = await refused(response)
    async with web.post(
        poll.path("votes"), data=voter.vote(poll.document).to_json(), headers=here
    ) as response:
        good = response.status

    assert answers == [(403, "not_accepted")] * 5 + [(429, "slow_down")] * 2
    assert limited in {"1", "2", "3", "4", "5"}
    assert other == (403, "not_accepted")
    assert good == 201


async def test_processes_share_the_bound_on_guesses(stack: Stack, poll: Booth) -> None:
    """Two processes together let through as many refusals as one would, however connections fall."""
    guess = orjson.dumps({"credential_sha256": "0" * 64})
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    path = poll.path("access")

    async def status() -> int:
        async with two.post(path, data=guess, headers=JSON) as response:
            return response.status

    async def both_serve() -> bool:
        async with two.get(running.metrics_url) as response:
            return "ballot_intake_ready 2.0" in await response.text()

    with edge(stack.env, processes=2, settings={"BALLOT_FAILURES_PER_MINUTE": "4"}) as running:
        async with aiohttp.ClientSession(running.url, connector=connector) as two:
            await until(both_serve)
            statuses = await asyncio.gather(*(status() for _ in range(90)))

    assert 1 <= statuses.count(403) <= 4
    assert statuses.count(429) > 0


async def test_no_log_holds_what_was_sent(stack: Stack, web: aiohttp.ClientSession, poll: Booth) -> None:
    """Neither a good nor a broken request leaves its bytes, credential or address in the edge's log."""
    (voter,) = await poll.issue()
    vote = orjson.loads(voter.vote(poll.document).to_json())
    headers = {**JSON, "X-Forwarded-For": "198.51.100.77"}

    async with web.post(poll.path("votes"), data=orjson.dumps(vote), headers=headers) as response:
        assert response.status == 201
    async with web.post(poll.path("votes"), data=orjson.dumps(vote)[:-1], headers=headers) as response:
        assert response.status == 400

    log = (stack.home.logs / "intake.log").read_text()
    for secret in (vote["credential"], vote["sealed"][:40], vote["signature"], "198.51.100.77"):
        assert secret not in log
