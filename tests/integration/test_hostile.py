"""Hostile clients of every kind, while voters keep voting: every vote accepted, none kept waiting for long.

The clients run in a process of their own. How long a vote takes is compared with the same load without them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
import pytest

from ballot.receipt import parse_reference
from tests.integration.hostile_clients import hostile
from tests.integration.intake_rig import Booth, EdgeProcess, edge, served_booth, until
from tests.integration.intake_scratch import access, cast
from tests.integration.steady_load import steady_load

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Iterator

    from ballot.vote import CastVote
    from tests.conftest import Stack

pytestmark = pytest.mark.alone

FAILURES: Final = 50
SETTINGS: Final = {
    "BALLOT_HEAD_SECONDS": "1",
    "BALLOT_BODY_SECONDS": "1",
    "BALLOT_FAILURES_PER_MINUTE": str(FAILURES),
}
RATE: Final = 40.0
VOTES: Final = 50
PATIENT_VOTES: Final = 140
"""Votes for as long as it takes the edge to give up on slow clients: a second, and a sweep each second."""

TIMES_MAX: Final = 15.0
"""A vote's p99 under any flood, over the p99 without one."""

FLOOR_S: Final = 0.25
"""Below this nobody would call it slow; a busy machine alone can be that late."""

IDLE: Final = 3_000
ADDRESSES: Final = 10_000
ADDRESSES_BYTES_MAX: Final = 12 * 2**20
DESCRIPTORS_KEPT: Final = 400
IDLE_BYTES_MAX: Final = 24 * 1024
"""What an idle connection may hold of the edge's memory."""


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process that gives up soon on slow clients."""
    with edge(stack.env, settings=SETTINGS) as running:
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


def address(edges: EdgeProcess) -> tuple[str, int]:
    """Return where the edge listens."""
    parts = urlsplit(edges.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class Voted:
    """How the voters fared."""

    p99_s: float
    statuses: Counter[tuple[int, str]]
    lag_s: float


async def vote(edges: EdgeProcess, poll: Booth, count: int = VOTES) -> Voted:
    """Let so many voters vote, forty a second, each over a connection of their own."""
    votes = [voter.vote(poll.document) for voter in await poll.issue(count)]
    async with steady_load(edges.url, poll.id, votes, rate=RATE, fresh=True) as load:
        await load.until(lambda: len(load.answered()) == count)
    return Voted(load.quantile(0.99), load.statuses(), load.lag_s)


QUIET: list[float] = []


def say(line: str) -> None:
    """Leave a line in the test's output, which `pytest -rP` shows."""
    sys.stdout.write(f"{line}\n")


async def check_voters(edges: EdgeProcess, poll: Booth, count: int = VOTES) -> Voted:
    """Every voter is accepted, and no later than the bound."""
    voted = await vote(edges, poll, count)
    assert voted.statuses == {(201, ""): count}
    assert voted.p99_s <= max(FLOOR_S, TIMES_MAX * QUIET[0]) + voted.lag_s, (voted, QUIET)
    return voted


def descriptors(edges: EdgeProcess) -> int:
    """Return how many files and sockets the edge process has open."""
    (child,) = edges.children()
    return len(os.listdir(f"/proc/{child}/fd"))  # noqa: PTH208  # proc


def resident_bytes(edges: EdgeProcess) -> int:
    """Return the memory that the edge process holds."""
    (child,) = edges.children()
    with open(f"/proc/{child}/statm", encoding="ascii") as file:  # noqa: PTH123  # proc
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_quiet(edges: EdgeProcess, poll: Booth) -> None:
    """Without hostile clients: what the other tests are compared with."""
    voted = await vote(edges, poll)

    assert voted.statuses == {(201, ""): VOTES}
    QUIET.append(voted.p99_s)


async def test_voters_vote_among_thousands_of_idle_connections(edges: EdgeProcess, poll: Booth) -> None:
    """Three thousand connections that say nothing hold little memory, and nobody up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE, (hard if hard != resource.RLIM_INFINITY else IDLE * 2) - DESCRIPTORS_KEPT)
    before, memory = descriptors(edges), resident_bytes(edges)

    async def idle() -> bool:
        return descriptors(edges) >= before + count

    async with hostile("idle", address(edges), f"/api/v1/ballots/{poll.id}", count=count):
        await until(idle)
        held = resident_bytes(edges) - memory
        voted = await check_voters(edges, poll)

    say(f"idle: {count} hold {held / 2**20:.1f} MB, p99 {voted.p99_s * 1000:.1f} ms, soft limit {soft}")
    assert held <= count * IDLE_BYTES_MAX


FLOODS: dict[str, tuple[int, set[str], set[str]]] = {
    # count of clients, what some of them must have met, what they may have met besides
    "slow_heads": (300, {"given up on"}, set()),
    "slow_bodies": (300, {"given up on"}, set()),
    "oversized": (16, {"400", "413"}, {"closed"}),
    "pipelining": (16, {"200"}, set()),
    "half_closed": (32, {"400"}, {"403", "429"}),
    "guesses": (16, {"429"}, {"403"}),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_voters_vote_in_a_flood(edges: EdgeProcess, poll: Booth, kind: str) -> None:
    """All are accepted, soon; the flood gets what is its due, and leaves nothing open behind it."""
    count, due, besides = FLOODS[kind]
    before = descriptors(edges)

    async with hostile(kind, address(edges), f"/api/v1/ballots/{poll.id}", count=count) as did:
        voted = await check_voters(edges, poll, PATIENT_VOTES if kind.startswith("slow") else VOTES)

    say(f"{kind}: p99 {voted.p99_s * 1000:.1f} ms, quiet {QUIET[0] * 1000:.1f} ms; met {dict(did)}")
    assert due <= did.keys() <= due | besides | {"connected"}, did

    async def gone() -> bool:
        return descriptors(edges) <= before + 4

    await until(gone)


async def test_voters_vote_while_ten_thousand_addresses_guess(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Each address guesses once: nobody is slowed down, the table of failures holds them, and voters vote."""
    memory = resident_bytes(edges)

    async def refused() -> float:
        async with web.get(edges.metrics_url) as response:
            text = await response.text()
        lines = [
            line for line in text.splitlines() if line.startswith('ballot_intake_access_total{outcome="n')
        ]
        return sum(float(line.split()[1]) for line in lines)

    wanted = await refused() + ADDRESSES

    async def all_refused() -> bool:
        return await refused() >= wanted

    path = f"/api/v1/ballots/{poll.id}"
    async with hostile("spread_guesses", address(edges), path, count=64) as did:
        voted = await check_voters(edges, poll)
        await until(all_refused)

    grown = resident_bytes(edges) - memory
    say(f"spread: p99 {voted.p99_s * 1000:.1f} ms, {grown / 2**20:.1f} MB more; met {dict(did)}")
    assert did.keys() == {"connected", "403"}
    assert grown <= ADDRESSES_BYTES_MAX


async def test_a_good_code_is_never_slowed_down(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """From the very address that is over its bound: a question is answered, and the vote accepted."""
    good, other = await poll.issue(2)
    strangers = [poll.draw(os.urandom(16)) for _ in range(FAILURES + 5)]

    refused = await asyncio.gather(*(access(web, poll, stranger) for stranger in strangers))
    refused += [await cast(web, poll, stranger.vote(poll.document)) for stranger in strangers[:3]]

    assert {status for status, _ in refused[-3:]} == {429}
    assert await access(web, poll, good) == (200, {"state": "ready"})
    status, receipt = await cast(web, poll, good.vote(poll.document))
    assert status == 201
    assert parse_reference(receipt["reference"])
    connector = aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0))
    async with aiohttp.ClientSession(edges.url, connector=connector) as elsewhere:
        assert (await access(elsewhere, poll, strangers[0]))[0] == 403
        assert (await cast(elsewhere, poll, other.vote(poll.document)))[0] == 201


CROWD: Final = {"guesses": 400, "junk_votes": 160}
"""More clients than there are places for what they send."""

PLACES: Final = 100
ELSEWHERE: Final = "127.0.0.77"
NO_GUESSER: Final = "127.0.0.78"
"""Nothing from there was ever refused."""

NEIGHBOUR_S: Final = 20.0


@pytest.fixture
def small_edge(stack: Stack) -> Iterator[EdgeProcess]:
    """An edge with few places, all of which a crowd would fill."""
    with edge(stack.env, settings={**SETTINGS, "BALLOT_INFLIGHT_MAX": str(PLACES)}) as running:
        yield running


@pytest.mark.parametrize("kind", CROWD)
async def test_a_crowd_from_one_address_fills_no_place_of_others(
    small_edge: EdgeProcess, poll: Booth, kind: str
) -> None:
    """Others vote, and ask, at the first try; who shares the crowd's address tries again, at most."""
    others, neighbours = await poll.issue(30), await poll.issue(3)
    connector = aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0))
    path = f"/api/v1/ballots/{poll.id}"
    async with (
        aiohttp.ClientSession(small_edge.url) as here,
        aiohttp.ClientSession(small_edge.url, connector=connector) as elsewhere,
    ):

        async def served() -> bool:
            async with here.get("/readyz") as ready, here.get(poll.path("document")) as document:
                return ready.status == document.status == 200

        async def over_the_bound() -> bool:
            return (await access(here, poll, poll.draw(os.urandom(16))))[0] == 429

        await until(served)
        async with hostile(kind, address(small_edge), path, count=CROWD[kind]) as did:
            await until(over_the_bound)
            asked = [(await access(elsewhere, poll, voter))[0] for voter in others]
            voted = [(await cast(elsewhere, poll, voter.vote(poll.document)))[0] for voter in others]
            tries = [await persist(here, poll, voter.vote(poll.document)) for voter in neighbours]

    say(f"{kind}: neighbours' tries {tries}; met {dict(did)}")
    assert set(asked) == {200}
    assert set(voted) == {201}
    assert did["503"] > 0
    assert did.keys() <= {"403", "429", "503", "connected", "closed"}


async def persist(web: aiohttp.ClientSession, poll: Booth, sealed: CastVote) -> int:
    """Send a vote until it is accepted, as a device does, but sooner; how often that was."""
    tries = 0
    async with asyncio.timeout(NEIGHBOUR_S):
        while True:
            tries += 1
            status, _ = await cast(web, poll, sealed)
            if status in {200, 201}:
                return tries
            assert status == 503


async def test_nobody_without_the_code_can_lock_a_voter_out(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Who has only a credential's digest may ask about it a thousand times: the voter still votes."""
    (voter,) = await poll.issue()
    connector = aiohttp.TCPConnector(local_addr=(NO_GUESSER, 0))

    async with aiohttp.ClientSession(edges.url, connector=connector) as asking:
        for _ in range(5):
            answers = await asyncio.gather(*(access(asking, poll, voter) for _ in range(200)))
            assert {status for status, _ in answers} == {200}

    assert (await cast(web, poll, voter.vote(poll.document)))[0] == 201
