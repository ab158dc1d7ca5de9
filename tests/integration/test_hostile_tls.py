"""TLS ended by the edge: voters, floods of handshakes, renewed certificates and bad ones."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import click
import pytest

from ballot import handoff, queue_record
from ballot.suite import AeadKey
from ops.knock import Front
from tests.certificates import DAY, NOW, Issued, issue
from tests.conftest import ballot_command, environment_for
from tests.integration.hostile_clients import hostile
from tests.integration.intake_rig import Booth, EdgeProcess, edge, served_booth, until
from tests.integration.intake_scratch import cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import RunBallot, Stack

VOTES = 40
GAP_S = 0.025
VOTE_S = 1.0
"""A vote with a handshake of its own, in a flood of handshakes on a busy machine."""

PROBE_S = 60.0
RESET = struct.pack("ii", 1, 0)
"""On closing, the connection is broken off instead of ended."""

SETTINGS = {"BALLOT_HEAD_SECONDS": "2", "BALLOT_BODY_SECONDS": "2"}


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A certificate of a private authority."""
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def edges(stack: Stack, issued: Issued) -> Iterator[EdgeProcess]:
    """One edge process that ends TLS."""
    with edge(stack.env, settings=SETTINGS | issued.settings) as running:
        yield running


def client(issued: Issued) -> ssl.SSLContext:
    """Return a client's context that believes the private authority."""
    return ssl.create_default_context(cafile=str(issued.authority))


@pytest.fixture
async def web(edges: EdgeProcess, issued: Issued) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge; each request has a handshake of its own."""
    connector = aiohttp.TCPConnector(ssl=client(issued), force_close=True)
    async with aiohttp.ClientSession(edges.url, connector=connector) as session:
        yield session


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""
    async with served_booth(stack.servers, ballot_id, web) as found:
        yield found


def address(edges: EdgeProcess) -> tuple[str, int]:
    """Return where the edge listens."""
    parts = urlsplit(edges.url)
    assert parts.scheme == "https"
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def shown(edges: EdgeProcess, context: ssl.SSLContext) -> tuple[str | None, str | None, bytes]:
    """Return the version, the protocol and the certificate of a connection."""
    _, writer = await asyncio.open_connection(*address(edges), ssl=context, server_hostname="localhost")
    wrapped: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = wrapped.getpeercert(binary_form=True)
    writer.close()
    assert certificate is not None
    return wrapped.version(), wrapped.selected_alpn_protocol(), certificate


async def test_what_is_spoken(edges: EdgeProcess, issued: Issued) -> None:
    """TLS 1.3 or 1.2 and HTTP/1.1; older versions and plain HTTP get no answer."""
    newest, two = client(issued), client(issued)
    newest.set_alpn_protocols(["h2", "http/1.1"])
    two.maximum_version = ssl.TLSVersion.TLSv1_2

    assert (await shown(edges, newest))[:2] == ("TLSv1.3", "http/1.1")
    assert (await shown(edges, two))[0] == "TLSv1.2"
    one = client(issued)
    one.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        one.minimum_version = one.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shown(edges, one)
    reader, writer = await asyncio.open_connection(*address(edges))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: vote\r\n\r\n")
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"HTTP")
    writer.close()


async def test_our_own_certificate_is_believed_by_those_who_watch(
    edges: EdgeProcess, poll: Booth, issued: Issued, tmp_path: Path
) -> None:
    """`ballot up` asks over TLS whether its edges are ready; another's certificate is no answer."""
    other = issue(tmp_path)

    async def ready(files: Issued) -> bool:
        front = Front.from_environment(files.settings)
        return await asyncio.to_thread(front.is_ready, *address(edges))

    await until(lambda: ready(issued))
    assert not await ready(other)


async def test_a_vote_is_accepted_and_its_address_recorded(
    stack: Stack, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """201 over TLS, and the record holds the client's address."""
    (voter,) = await poll.issue()

    status, receipt = await cast(web, poll, voter.vote(poll.document))

    assert status == 201
    (entry,) = await poll.stored()
    record = queue_record.unwrap(
        AeadKey(stack.home.secret("queue")),
        entry[handoff.RECORD_FIELD],
        ballot_id=poll.id,
        credential_digest=voter.digest,
        reference=receipt["reference"],
    )
    assert record.ip == "127.0.0.1"


async def test_ballot_cast_believes_the_authority_it_is_given(
    stack: Stack, edges: EdgeProcess, issued: Issued, poll: Booth, run_ballot: RunBallot, tmp_path: Path
) -> None:
    """With --ca the vote is cast and the receipt printed; without it nothing is sent."""
    (voter,) = await poll.issue()
    file = tmp_path / "code"
    file.write_text(voter.code.text())
    command: list[str | Path] = [
        "cast",
        poll.id,
        "--code-file",
        file,
        "--answer",
        "strike=yes",
        "--url",
        edges.url,
    ]
    command += ["--json", "--key", stack.home.public_key_file]

    done = await asyncio.to_thread(run_ballot, *command, "--ca", issued.authority)
    wrong = await asyncio.to_thread(run_ballot, *command, "--ca", file, check=False)

    assert json.loads(done.stdout)["ballot"] == poll.id
    assert wrong.returncode == 1
    assert "is not a PEM file of certificate authorities" in wrong.stderr
    assert len(await poll.stored()) == 1


async def test_voters_vote_in_a_flood_of_handshakes(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Handshakes that are never finished, and others for nothing: every vote is accepted, soon."""
    votes = [voter.vote(poll.document) for voter in await poll.issue(VOTES * 2)]
    loop = asyncio.get_running_loop()

    async def rounds(count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            started_s = loop.time()
            status, _ = await cast(web, poll, votes.pop())
            assert status == 201
            seconds.append(loop.time() - started_s)
            await asyncio.sleep(GAP_S)
        return sorted(seconds)

    quiet = await rounds(VOTES)
    async with hostile("handshakes", address(edges), f"/api/v1/ballots/{poll.id}", count=64) as did:
        flooded = await rounds(VOTES)

    sys.stdout.write(f"handshakes: slowest {flooded[-1] * 1e3:.0f} ms, quiet {quiet[-1] * 1e3:.0f}; {did}\n")
    assert flooded[-1] < max(VOTE_S, 15 * quiet[-1])
    assert did["handshakes"] > VOTES


async def test_nonsense_in_place_of_tls_is_no_news(
    edges: EdgeProcess, issued: Issued, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before and after the handshake: the connection ends, and neither a log nor a traceback tells of it."""
    records = (
        os.urandom(300),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x15\x03\x01\x00\x02\x02\x28",
    )

    def send_nonsense() -> None:
        for nonsense in records * 5:
            with socket.create_connection(address(edges)) as plain:
                plain.sendall(nonsense)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with socket.create_connection(address(edges)) as plain:
                wrapped = client(issued).wrap_socket(plain, server_hostname="localhost")
                os.write(wrapped.fileno(), nonsense)
                wrapped.close()

    await asyncio.to_thread(send_nonsense)

    assert (await shown(edges, client(issued)))[0] == "TLSv1.3"
    assert capfd.readouterr().err == ""


async def test_a_renewed_certificate_is_served_after_a_hang_up(
    stack: Stack, tmp_path: Path, edges: EdgeProcess
) -> None:
    """SIGHUP replaces the processes: the new certificate is served, a bad one never is."""
    mine = issue(tmp_path)
    with edge(stack.env, settings=mine.settings) as running:
        first = (await shown(running, client(mine)))[2]
        mine.key.chmod(0o644)
        running.process.send_signal(signal.SIGHUP)
        log = stack.home.logs / "intake.log"

        async def given_up() -> bool:
            return "edge process not replaced" in log.read_text()

        await until(given_up)
        assert (await shown(running, client(mine)))[2] == first
        mine.key.unlink()
        renewed = issue(tmp_path)
        running.process.send_signal(signal.SIGHUP)

        async def served() -> bool:
            try:
                return (await shown(running, client(renewed)))[2] != first
            except ssl.SSLError:
                return False

        await until(served)
        async with aiohttp.ClientSession() as session, session.get(running.metrics_url) as response:
            assert "ballot_intake_certificate_ends_seconds" in await response.text()


async def test_a_proxy_in_front_may_leave_tls_to_the_edge(stack: Stack, issued: Issued, poll: Booth) -> None:
    """The header first, then TLS: the vote is accepted, and the address is the named one."""
    (voter,) = await poll.issue()
    body = voter.vote(poll.document).to_json()
    head = f"POST {poll.path('votes')} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    settings = {"BALLOT_PROXY_PROTOCOL": "required", **issued.settings}
    with edge(stack.env, settings=settings) as running:

        async def accepted() -> bool:
            reader, writer = await asyncio.open_connection(*address(running))
            writer.write(b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n")
            await writer.drain()
            await writer.start_tls(client(issued), server_hostname="localhost")
            writer.write(request)
            async with asyncio.timeout(10):
                answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 200 "))

        await until(accepted)
        front = Front.from_environment(settings)
        assert await asyncio.to_thread(front.is_ready, *address(running))
        with pytest.raises(click.ClickException, match="BALLOT_PUBLIC_URL"):
            front.monitored(running.url)
    (entry,) = await poll.stored()
    record = queue_record.unwrap(
        AeadKey(stack.home.secret("queue")),
        entry[handoff.RECORD_FIELD],
        ballot_id=poll.id,
        credential_digest=voter.digest,
        reference=entry[handoff.REFERENCE_FIELD].decode(),
    )
    assert record.ip == "203.0.113.9"


@pytest.mark.long
def test_ballot_up_over_tls(stack: Stack, issued: Issued, tmp_path: Path) -> None:
    """The whole deployment serves TLS: ready, and the monitor's probe votes are accepted."""
    env = environment_for(tmp_path / "home") | issued.settings
    command = [ballot_command(), "up", "--port", "0", "--metrics-port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = list(iter(process.stdout.readline, "ready\n"))
            told = "".join(lines)
            assert re.search(r"^api\s+https://127\.0\.0\.1:\d+$", told, re.MULTILINE), told
            numbers = re.search(r"(http://\S+) \(monitor\)", told)
            assert numbers is not None
            deadline = time.monotonic() + PROBE_S
            while "ballot_probe_up 1.0" not in urllib.request.urlopen(numbers[1]).read().decode():  # noqa: S310
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            process.terminate()


def test_an_edge_that_could_not_serve_tls_does_not_start(stack: Stack, tmp_path: Path) -> None:
    """One plain sentence that names setting and file."""
    files = issue(tmp_path, starts=NOW - 2 * DAY, ends=NOW - DAY)
    command = [sys.executable, ballot_command(), "intake", "--port", "0", "--metrics-port", "0"]

    done = subprocess.run(
        command,
        env=stack.env | files.settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    named = f"BALLOT_TLS_CERTIFICATE: the file {files.certificate} has expired; renew it."
    assert done.stderr == f"ballot: {named}\n"
