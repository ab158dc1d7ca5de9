"""A real edge in front of a real queue, good voters who go on voting, and an eye on the edge's process."""

from __future__ import annotations

import asyncio
import http.client
import os
import threading
import time
import urllib.request
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import orjson

from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, sha256, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.servers import Servers

HEAD_S: Final = 1.0
BODY_S: Final = 1.0
ANSWER_S: Final = HEAD_S + BODY_S + 2.0
"""An edge that has not answered or closed by then hangs."""

VOTE_S: Final = 2.0
VOTE_EVERY_S: Final = 0.2
SETTINGS: Final = {"BALLOT_HEAD_SECONDS": str(HEAD_S), "BALLOT_BODY_SECONDS": str(BODY_S)}
MARKER: Final = "zq7fuzz"
"""Stands in whatever is sent; afterwards it must stand in no log."""

GROWTH_BYTES_MAX: Final = 24 * 2**20
"""Buffers, caches of paths and the table of failures may fill up; a leak of a kilobyte a request shows."""

DESCRIPTORS_MORE_MAX: Final = 4


@dataclass(slots=True)
class Voters:
    """Casts one sealed vote after the other while the fuzzing goes on."""

    host: str
    port: int
    path: str
    bodies: deque[bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def cast(self) -> None:
        """Cast the next vote over a connection of its own, as a voter does."""
        if not self.bodies:
            return
        body = self.bodies.popleft()
        started = time.monotonic()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        except OSError:
            status = 0
        finally:
            connection.close()
        self.statuses[status] += 1
        self.seconds.append(time.monotonic() - started)

    def check(self) -> None:
        """Every vote was accepted, and soon."""
        assert self.statuses.keys() == {201}, self.statuses
        assert max(self.seconds) < VOTE_S, max(self.seconds)


@dataclass(frozen=True, slots=True, repr=False)
class Ground:
    """Where the fuzzing happens."""

    running: EdgeProcess
    log: Path
    ballot: str
    spare: dict[str, str]
    """A vote that was accepted already: the same again is 200, nearly the same is refused."""

    access: dict[str, str]
    voters: Voters

    @property
    def host(self) -> str:
        """Return the edge's host."""
        return self.voters.host

    @property
    def port(self) -> int:
        """Return the edge's port."""
        return self.voters.port

    def resident_bytes(self) -> int:
        """Return the memory that the edge's process holds."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:  # noqa: PTH123  # proc
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def descriptors(self) -> int:
        """Return how many files and sockets the edge's process has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208  # proc

    def inflight(self) -> bool:
        """Whether the edge says that votes or questions wait for the queue."""
        with urllib.request.urlopen(self.running.metrics_url, timeout=10) as response:  # noqa: S310  # loopback
            return "ballot_intake_inflight 0.0" not in response.read().decode()

    @property
    def pid(self) -> int:
        """Return the edge process."""
        (child,) = self.running.children()
        return child

    @contextmanager
    def voting(self) -> Iterator[None]:
        """Let voters vote until the block ends; each must be accepted."""
        stop = threading.Event()

        def vote() -> None:
            while not stop.wait(VOTE_EVERY_S):
                self.voters.cast()

        thread = threading.Thread(target=vote)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.voters.check()

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """The same process afterwards, no larger, with no connection left and nothing of it in the log."""
        pid, memory, descriptors = self.pid, self.resident_bytes(), self.descriptors()
        logged = self.log.stat().st_size
        yield
        assert self.pid == pid
        grown = self.resident_bytes() - memory
        assert grown < GROWTH_BYTES_MAX, f"the edge grew by {grown / 2**20:.1f} MB"
        deadline = time.monotonic() + ANSWER_S
        while self.descriptors() > descriptors + DESCRIPTORS_MORE_MAX:
            assert time.monotonic() < deadline, f"{self.descriptors()} descriptors, {descriptors} before"
            time.sleep(0.05)
        while self.inflight():
            assert time.monotonic() < deadline, "votes under way that nobody waits for"
            time.sleep(0.05)
        log = self.log.read_text()[logged:]
        for sent in (MARKER, self.spare["credential"], self.spare["sealed"][:40], *self.access.values()):
            assert sent not in log
        assert "request failed" not in log
        assert "connection failed" not in log


async def _prepared(found: Booth, votes: int) -> tuple[list[bytes], dict[str, str], dict[str, str]]:
    await found.arm()
    await found.publish()
    voters = await found.issue(votes + 1)
    stranger = found.draw(os.urandom(16))
    access = {"credential_sha256": sha256(stranger.key.public).hex()}
    bodies = [voter.vote(found.document).to_json() for voter in voters]
    return bodies, orjson.loads(bodies[0]), access


@contextmanager
def ground(
    servers: Servers, env: dict[str, str], ballot: str, *, votes: int, settings: dict[str, str] | None = None
) -> Iterator[Ground]:
    """Publish a ballot and serve it with one edge process that gives up soon on slow senders."""

    async def prepare() -> tuple[list[bytes], dict[str, str], dict[str, str]]:
        async with booth(servers, ballot) as found:
            return await _prepared(found, votes)

    bodies, spare, access = asyncio.run(prepare())
    with edge(env, settings=SETTINGS | (settings or {})) as running:
        parts = urlsplit(running.url)
        assert parts.hostname is not None
        assert parts.port is not None
        path = f"/api/v1/ballots/{ballot}/votes"
        voters = Voters(parts.hostname, parts.port, path, deque(bodies))
        found = Ground(running, servers.home.logs / "intake.log", ballot, spare, access, voters)
        asyncio.run(_ready(found))
        voters.cast()
        voters.check()
        yield found


async def _ready(found: Ground) -> None:
    async def ready() -> bool:
        connection = http.client.HTTPConnection(found.host, found.port, timeout=5)
        try:
            for path in ("/readyz", f"/api/v1/ballots/{found.ballot}/document"):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status != http.HTTPStatus.OK:
                    return False
        finally:
            connection.close()
        return True

    await until(ready)
