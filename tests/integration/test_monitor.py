"""The monitor over real HTTP and a real voterdb: what a voter would have seen is what the record says."""

import asyncio
import csv
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from ballot import definition, document, receipt, vote
from ballot.code import Code
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from ops.monitor.codes import CodeStore
from ops.monitor.gauges import Gauges
from ops.monitor.intervals import Interval, State
from ops.monitor.journal import Journal
from ops.monitor.service import Monitor, Ready
from ops.monitor.voter import Pace, ProbeFailed, Voter
from ops.monitor.writer import Writer
from ops.probe import DEFINITION
from runtime import logs, postgres
from runtime.clock import SystemClock
from runtime.lifecycle import Stop
from tally import custody
from tests.conftest import Stack
from tests.integration.check_ballot import run

PACE = Pace(period_s=0.2, deadline_s=0.5, store_deadline_s=0.6)
LOG = logs.get("test")


@dataclass
class Edge:
    """A public address that behaves as told: `mood` is accept, refuse, closed, hang or forget to store."""

    desk: SigningKey = field(default_factory=lambda: SigningKey.from_seed(os.urandom(32)))
    receipts: SigningKey = field(default_factory=lambda: SigningKey.from_seed(os.urandom(32)))
    mood: str = "accept"
    cast: list[bytes] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        """Make the probe's document with keys of its own."""
        keys = custody.derive(custody.new_secret(os.urandom), ballot="probe")
        self.document = document.build(
            definition.parse_toml(DEFINITION.read_text()),
            public_key=keys.public_key,
            result_key=keys.result_key,
        )

    async def describe(self, _: web.Request) -> web.Response:
        """The ballot, as far as the monitor reads it."""
        return web.json_response({"document_signature": b64encode(document.sign(self.document, self.desk))})

    async def show(self, _: web.Request) -> web.Response:
        """The document's exact bytes."""
        return web.Response(body=self.document.canonical)

    async def vote(self, request: web.Request) -> web.Response:
        """Take a vote, or not."""
        given = vote.parse(await request.read(), padded_size=self.document.padded_size)
        self.cast.append(given.identity)
        if self.mood == "hang":
            await asyncio.sleep(5)
        if self.mood == "closed":
            return web.json_response({"error": "not_open"}, status=409)
        if self.mood == "refuse":
            return web.json_response({"error": "not_confirmed"}, status=503)
        leaf = receipt.Leaf("probe", "ABCD-EFGH-JKMN-PQRS", time.time_ns() // 1000, given.sealed_sha256)
        [signed] = receipt.issue([leaf], self.receipts)
        return web.json_response(signed.to_dict(), status=201)

    async def state(self, _: web.Request) -> web.Response:
        """Stored, unless forgotten."""
        return web.json_response({"state": "accepted" if self.mood == "forget" else "stored"})


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    """A running one."""
    edge = Edge()
    app = web.Application()
    base = "/api/v1/ballots/probe"
    app.router.add_get(base, edge.describe)
    app.router.add_get(base + "/document", edge.show)
    app.router.add_post(base + "/votes", edge.vote)
    app.router.add_get(base + "/receipts/{reference}", edge.state)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    edge.url = f"http://{host}:{port}"
    yield edge
    await runner.cleanup()


def issue(directory: Path, count: int) -> None:
    """Put codes where the monitor finds them."""
    with (directory / "codes-001.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("member_id", "channel", "destination", "code", "link"))
        writer.writerows(
            ("m", "email", "x@probe.invalid", Code.draw(os.urandom).text(), "") for _ in range(count)
        )


def voter(session: aiohttp.ClientSession, edge: Edge) -> Voter:
    """The monitor's voter, pinned to this edge's keys."""
    return Voter(
        session,
        url=edge.url,
        desk_public=edge.desk.public,
        receipts_public=edge.receipts.public,
        pace=PACE,
        clock=SystemClock(),
    )


async def ready(session: aiohttp.ClientSession, edge: Edge, directory: Path) -> Ready:
    """What `prepare` gives the monitor."""
    asked = voter(session, edge)
    codes = CodeStore(directory, ballot_id="probe", shards=1, digest_key=bytes(32))
    codes.load()
    return Ready(asked, await asked.fetch_document(), codes, shards=1)


@pytest.mark.parametrize(
    ("mood", "state", "reason"),
    [
        ("accept", State.UP, ""),
        ("forget", State.SLOW, "not stored in time"),
        ("refuse", State.DOWN, "http 503"),
        ("hang", State.DOWN, "timeout"),
        ("closed", State.UNKNOWN, "probe ballot closed"),
    ],
)
async def test_the_verdict_is_what_a_voter_would_say(
    edge: Edge, tmp_path: Path, mood: str, state: State, reason: str
) -> None:
    """Accepted and stored is up; accepted only, slow; anything else is down, with the reason.

    A probe ballot that somebody closed says nothing of the ballots that are open.
    """
    issue(tmp_path, 1)
    async with aiohttp.ClientSession() as session:
        probing = await ready(session, edge, tmp_path)
        edge.mood = mood

        verdict = await probing.probe()

    assert (verdict.state, verdict.reason) == (state, reason)


async def test_nobody_listening_is_down(edge: Edge, tmp_path: Path) -> None:
    """A closed port is `refused`."""
    issue(tmp_path, 1)
    async with aiohttp.ClientSession() as session:
        probing = await ready(session, edge, tmp_path)
        gone = Edge(desk=edge.desk, url="http://127.0.0.1:1")
        elsewhere = Ready(voter(session, gone), edge.document, probing.codes, shards=1)

        verdict = await elsewhere.probe()

    assert (verdict.state, verdict.reason) == (State.DOWN, "refused")


async def test_a_receipt_by_another_key_is_down(edge: Edge, tmp_path: Path) -> None:
    """A voter could not rely on it."""
    issue(tmp_path, 1)
    async with aiohttp.ClientSession() as session:
        probing = await ready(session, edge, tmp_path)
        edge.receipts = SigningKey.from_seed(os.urandom(32))

        verdict = await probing.probe()

    assert (verdict.state, verdict.reason) == (State.DOWN, "the receipt does not verify")


async def test_a_document_by_another_key_is_refused(edge: Edge) -> None:
    """The desk's key is pinned, never taken from the answer."""
    async with aiohttp.ClientSession() as session:
        asked = voter(session, edge)
        edge.desk = SigningKey.from_seed(os.urandom(32))

        with pytest.raises(ProbeFailed, match="not the desk's"):
            await asked.fetch_document()


async def test_after_a_timeout_the_same_vote_is_sent_again(edge: Edge, tmp_path: Path) -> None:
    """A retry is the identical request, so it cannot count twice and costs no code."""
    issue(tmp_path, 2)
    async with aiohttp.ClientSession() as session:
        probing = await ready(session, edge, tmp_path)
        edge.mood = "hang"
        await probing.probe()
        edge.mood = "accept"

        verdict = await probing.probe()

    assert verdict.state is State.UP
    assert len(edge.cast) == 2
    assert len(set(edge.cast)) == 1


async def test_probes_that_overlap_draw_one_code_each(edge: Edge, tmp_path: Path) -> None:
    """A slow disk or service makes probes overlap: none fails for it, and no code is used twice."""
    issue(tmp_path, 40)
    async with aiohttp.ClientSession() as session:
        probing = await ready(session, edge, tmp_path)

        verdicts = await asyncio.gather(*(probing.probe() for _ in range(40)))

    assert {verdict.state for verdict in verdicts} == {State.UP}
    assert len(set(edge.cast)) == 40


async def test_the_loop_writes_down_and_recovers(edge: Edge, tmp_path: Path) -> None:
    """Up, then down while votes are refused, then up: end to end; a restart adds unknown."""
    issue(tmp_path, 500)
    async with aiohttp.ClientSession() as session:

        async def prepare() -> Ready:
            return await ready(session, edge, tmp_path)

        async def run_for(moods: dict[str, int]) -> None:
            stop = Stop()
            watch = Monitor(
                prepare=prepare,
                journal=Journal(tmp_path),
                gauges=Gauges(CollectorRegistry()),
                pace=PACE,
                clock=SystemClock(),
                log=LOG,
            )
            running = asyncio.create_task(watch.run(stop))
            for mood, votes in moods.items():
                edge.mood = mood
                wanted = len(edge.cast) + votes
                while len(edge.cast) < wanted and not running.done():  # noqa: ASYNC110  # bound by the timeout
                    await asyncio.sleep(0.02)
            stop.request()
            await running

        await run_for({"accept": 3, "refuse": 3})
        await run_for({"accept": 3})

    found = [entry.interval for entry in Journal(tmp_path).unwritten()]
    assert [i.state.value for i in found] == ["up", "down", "unknown", "up"]
    assert all(before.ended_us == after.started_us for before, after in pairwise(found))
    assert len(edge.cast) - len(set(edge.cast)) <= 3  # only refused votes were sent again


async def availability(stack: Stack, name: str) -> list[tuple[int, int, str]]:
    """The record in voterdb."""
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_monitor")
    try:
        rows = await connection.fetch(
            "SELECT started_us, ended_us, state FROM ballot.availability WHERE monitor = $1 ORDER BY 1", name
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


async def test_intervals_reach_voterdb_once_and_in_order(
    stack: Stack, tmp_path: Path, ballot_id: str
) -> None:
    """What waited in the journal is replayed; a kill between commit and mark replays it without a double."""
    journal = Journal(tmp_path)
    journal.append([Interval(0, 10, State.UP), Interval(10, 20, State.DOWN, "refused")])
    for _ in range(2):
        writer = Writer(
            stack.home, name=ballot_id, journal=Journal(tmp_path), gauges=Gauges(CollectorRegistry()), log=LOG
        )
        writer.use(stack.servers)
        await writer.drain()
        await writer.finish()
        (tmp_path / "journal.written").unlink()

    assert await availability(stack, ballot_id) == [(0, 10, "up"), (10, 20, "down")]


def test_a_probe_ballot_is_prepared_and_prepared_again(stack: Stack, tmp_path: Path) -> None:
    """`ballot probe prepare` makes it, adds codes when few are left; books balance, no code is printed."""
    first = run(stack, "probe", "prepare", "--codes", "5", "--shards", "2")
    second = run(stack, "probe", "prepare", "--codes", "5")
    report = json.loads(run(stack, "check", "probe", "--signatures", "--json").stdout)

    assert "never counted" in first.stdout
    assert second.stdout.endswith("10 probe codes left\n")
    assert (report["differences"], report["books"]["issued"]) == (0, 10)
    with (stack.home.monitor / "codes-001.csv").open(newline="") as file:
        printed = first.stdout + first.stderr + second.stdout + second.stderr
        assert not any(row["code"] in printed for row in csv.DictReader(file))
