"""How much a first visit loads, and how soon a voter far from any mast can begin, and has voted."""

import sys
import time
from collections.abc import Iterable
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.sitting import ANSWERS, Sit
from tests.browser.station import OpenBallot
from tests.browser.weather import Weather
from tests.browser.wire import Exchange, Wire

FIRST_VISIT_BYTES_MAX: Final = 100_000
SECOND_VISIT_BYTES_MAX: Final = 10_000
FAR: Final = Weather(bytes_per_s=32_000, round_trip_s=2.0, handshakes=2)
"""One bar of signal; a new connection begins with TCP's round trip and that of TLS 1.3."""
ROUNDS: Final = 2
"""The page; then, side by side, all that it names."""
OWN_SECONDS_MAX: Final = 3.0
"""What browser and edge may take themselves on a busy machine."""
FAR_MS_MAX: Final = 60_000


def told(*lines: str) -> None:
    """Print, for whoever reads the report."""
    sys.stdout.write("\n".join(lines) + "\n")


def weighed(exchanges: Iterable[Exchange]) -> tuple[int, list[str]]:
    """The bytes of all answers, heads included; and a line for each."""
    found = list(exchanges)
    lines = [
        f"  {len(one.answer):7,} {one.header('Content-Encoding') or 'plain':5} {one.path}" for one in found
    ]
    return sum(len(one.answer) for one in found), lines


def usable(page: Page) -> None:
    """Wait until the heading is there and the first control can be used."""
    expect(page.locator('main[data-screen="start"] h1')).to_be_visible(timeout=FAR_MS_MAX)
    expect(page.locator('main[data-screen="start"] button').first).to_be_enabled(timeout=FAR_MS_MAX)


def test_bytes_of_a_first_and_a_second_visit(visit: Visit, wire: Wire, single: OpenBallot) -> None:
    """All answers of a first visit, heads included, are under 100 kB; a second one loads the page alone."""
    page = visit(origin=wire.url)
    page.goto(wire.through(single.letter().link))
    usable(page)
    page.wait_for_load_state("networkidle")
    first, lines = weighed(wire.exchanges)
    sent = sum(len(one.request) for one in wire.exchanges)
    told(f"first visit: {first:,} bytes in {len(lines)} answers, {sent:,} bytes sent", *lines)
    assert first < FIRST_VISIT_BYTES_MAX
    wire.forget()
    page.goto("about:blank")
    page.goto(wire.through(single.letter().link))
    usable(page)
    page.wait_for_load_state("networkidle")
    second, lines = weighed(wire.exchanges)
    told(f"second visit: {second:,} bytes in {len(lines)} answers", *lines)
    assert [one.path for one in wire.exchanges] == [f"/b/{single.id}"]
    assert second < SECOND_VISIT_BYTES_MAX


@pytest.mark.long  # half a minute on a slow line; the bytes and the round trips are counted in every run
def test_a_vote_from_far_away(sit: Sit) -> None:
    """At 32 kB/s and 2 s a round trip: usable in two rounds of new connections and the bytes' own time."""
    sitting = sit()
    wire, voter = sitting.wire, sitting.voter
    voter.page.set_default_timeout(FAR_MS_MAX)
    wire.weather(FAR)
    began = time.time()
    voter.page.goto(wire.through(sitting.letter.link), wait_until="commit")
    usable(voter.page)
    ready = time.time() - began
    _, *files = wire.exchanges
    size, _ = weighed(wire.exchanges)
    rounds = ROUNDS * (FAR.handshakes + 1) * FAR.round_trip_s
    limit = rounds + size / FAR.bytes_per_s + OWN_SECONDS_MAX
    told(f"usable after {ready:.1f} s; {rounds:.0f} s of round trips and {size:,} bytes allow {limit:.1f} s")
    assert ready < limit
    for one in wire.exchanges:
        there = f"there {one.answered_at - began:.1f} s" if one.answered_at else "still on its way"
        told(f"  asked {one.sent_at - began:.1f} s, {there}: {one.path}")
    needed = [one for one in files if not one.path.endswith(".svg")]
    first = min(one.answered_at or began for one in needed)
    assert all(one.sent_at < first for one in needed), "something is only known of after a third round"
    voter.begin()
    voter.answer(ANSWERS)
    asked = time.time()
    voter.submit()
    sitting.received()
    told(f"received {time.time() - asked:.1f} s after Submit, {time.time() - began:.1f} s after the link")
    assert len(sitting.votes) == 1
