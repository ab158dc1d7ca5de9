"""A vote while servers are busy, stand still or die: the page waits as it is asked, and says what is so."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from ballot.code import Code
from loadtests.staging.stage import wait_until
from loadtests.voting.door import HttpDoor
from tests.browser.conftest import Visit
from tests.browser.notes import CLOCK_SLACK_S, Notes, one_body
from tests.browser.sitting import ANSWERS, Sit, Sitting
from tests.browser.station import OpenBallot, Station
from tests.browser.voter import Voter
from tests.browser.watch import Watch
from tests.browser.wire import Exchange, Wire
from tests.integration.intake_rig import edge
from tests.integration.test_up import running

TOO_MANY: Final = 429
EDGE_SECONDS_MAX: Final = 30.0
OTHER: Final = {"strike": ["yes"]}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def queue_of(station: Station) -> int:
    """The process of the station's queue."""
    listening = f"valkey-server 127.0.0.1:{station.servers.valkey.port}"
    return next(one.pid for one in running() if listening in one.command)


def edges_of(station: Station) -> list[int]:
    """The processes that answer the station's requests, the parent first."""
    port = f"--port {station.stage.port} "
    parent = next(one.pid for one in running() if "ballot intake" in one.command and port in one.command)
    return [parent, *(one.pid for one in running() if one.parent == parent)]


def test_queue_that_stands_still(sitting: Sitting, station: Station) -> None:
    """While the queue does not answer, the edge says 503 and the page goes on; it never asks too soon."""
    with stopped(queue_of(station)):
        sitting.voter.submit()
        sitting.until(lambda: 503 in [one.status for one in sitting.votes], "a 503")
    sitting.received()
    assert {one.status for one in sitting.votes[:-1]} == {503}
    asks_no_sooner(sitting.votes)


def asks_no_sooner(votes: list[Exchange]) -> None:
    """Fail if a try came before the answer to the last one allowed it."""
    for earlier, later in pairwise(votes):
        asked = float(earlier.header("Retry-After") or 0)
        assert asked >= 1
        assert later.sent_at - (earlier.answered_at or 0) >= asked - CLOCK_SLACK_S


def test_edge_killed(sitting: Sitting, station: Station) -> None:
    """The edge dies with the vote in its hands; `ballot up` brings another, and the vote is one vote."""
    queue = queue_of(station)
    with stopped(queue):
        sitting.voter.submit()
        sitting.until(lambda: sitting.votes and sitting.votes[0].arrived, "the vote to be in its hands")
        for pid in edges_of(station):
            with suppress(ProcessLookupError):  # a child may end with its parent
                os.kill(pid, signal.SIGKILL)
    sitting.received()
    assert len(sitting.votes) >= 2


def test_too_many_failures(station: Station, single: OpenBallot, visit: Visit, watches: list[Watch]) -> None:
    """Where many tried wrong codes the edge says 429: who has a code votes, who has none is not hurried."""
    few = {"BALLOT_FAILURES_PER_MINUTE": "3"}
    with (
        edge(station.stage.env, settings=few) as other,
        Wire(urlsplit(other.url).port or 0).running() as wire,
    ):
        use_up_failures(other.url, single.id)
        page = visit(origin=wire.url)
        sitting = Sitting(Voter(page), wire, Notes(page.context), single, single.letter())
        sitting.to_check()
        sitting.voter.submit()
        sitting.received()
        wire.forget()
        stranger = visit(origin=wire.url)
        watches[-1].may_lose_connection = True  # it still tries when the edge is gone
        stranger.clock.install()
        notes, voter = Notes(stranger.context), Voter(stranger)
        voter.visit(f"{wire.url}/b/{single.id}#{Code.draw(os.urandom).text()}")
        voter.begin()
        go_on = voter.button("start.go_on")
        while not go_on.is_visible():
            stranger.clock.fast_forward(6_000)
            stranger.wait_for_timeout(100)
        assert {one.status for one in wire.to("/access")} == {429}
        go_on.click()
        voter.answer(ANSWERS)
        voter.submit()
        sitting.until(lambda: len(wire.to("/votes")) >= 2, "a second try")
        asks_no_sooner(wire.to("/votes")[:2])
        assert wire.to("/votes")[0].status == 429
        assert notes.states == ["not-sent", "sending"]
        one_body(wire.to("/votes"))
        assert single.added() == [ANSWERS]


def use_up_failures(url: str, ballot: str) -> None:
    """Ask with made-up credentials until the edge has had enough of this address."""
    door = HttpDoor(url)
    body = json.dumps({"credential_sha256": "ab" * 32}).encode()
    wait_until(
        lambda: door.send("POST", f"/api/v1/ballots/{ballot}/access", body).status == TOO_MANY,
        seconds=EDGE_SECONDS_MAX,
        what="the edge to refuse with 429",
    )
    door.close()


def test_two_at_once(sit: Sit) -> None:
    """The same code on two devices at the same moment: one vote is stored, and the other device is told."""
    one = sit()
    both = [one, sit(one.letter)]
    one.wire.delay("/votes", 0.5, times=2)
    for sitting, answers in zip(both, (ANSWERS, OTHER), strict=True):
        sitting.to_check(answers)
    for sitting in both:
        sitting.voter.page.evaluate("document.querySelector('main button[type=submit]').click()")
    ended = {}
    for sitting, answers in zip(both, (ANSWERS, OTHER), strict=True):
        page = sitting.voter.page
        page.locator('main[data-screen="done"], main[data-screen="refused"]').wait_for()
        ended[page.locator("main").get_attribute("data-screen")] = (sitting, answers)
    first, stored = ended["done"]
    second, _ = ended["refused"]
    assert one.ballot.added() == [stored]
    assert first.notes.states == ["not-sent", "sending", "received"]
    assert second.notes.states == ["not-sent", "sending"]
    assert sorted(vote.status for vote in one.votes) == [201, 403]
