"""A vote over networks that break: one sealed request, sent until it is received, and never a wrong word."""

import time
from typing import Final

import pytest
from playwright.sync_api import expect

from tests.browser.ballots import CONTACT
from tests.browser.notes import gaps
from tests.browser.sitting import ANSWERS, Sit, Sitting
from tests.browser.weather import Weather
from tests.browser.wire import Fault

SOON_SECONDS_MAX: Final = 2.0
"""What a busy machine may take to do a thing at once."""


def test_offline_before_submit(sit: Sit) -> None:
    """A vote submitted without a network waits on the device, and leaves at once when the network is back."""
    sitting = sit()
    page = sitting.voter.page
    page.clock.install()
    sitting.to_check()
    page.context.set_offline(offline=True)
    sitting.voter.submit()
    for _ in range(6):  # by now the next try is half a minute away
        sitting.voter.sees("sending.lost")
        page.clock.fast_forward(30_000)
    assert not sitting.votes
    back = time.time()
    page.context.set_offline(offline=False)
    sitting.received()
    assert len(sitting.votes) == 1
    assert sitting.votes[0].sent_at - back < SOON_SECONDS_MAX


def test_offline_before_the_answer(sitting: Sitting) -> None:
    """The vote arrives, the network goes before its answer: the same request brings that vote's receipt."""
    sitting.wire.fail("/votes", "mute")
    sitting.voter.submit()
    sitting.sent(1)
    sitting.until(lambda: sitting.votes[0].arrived, "the vote to arrive")
    context = sitting.voter.page.context
    context.set_offline(offline=True)
    sitting.wire.weather(Weather(gone=True))
    sitting.wire.cut()
    sitting.voter.sees("sending.lost")
    assert sitting.notes.states[-1] == "sending"
    sitting.wire.weather(Weather())
    context.set_offline(offline=False)
    sitting.received()
    assert [one.status for one in sitting.votes] == [0, 200]


@pytest.mark.parametrize("fault", ["refuse", "lose", "cut"])
def test_connection_lost(sitting: Sitting, fault: Fault) -> None:
    """Reset before it got through, instead of the answer, or in its middle: tried again, one vote."""
    sitting.wire.fail("/votes", fault, times=2)
    sitting.voter.submit()
    sitting.received()
    assert [one.fault for one in sitting.votes] == [fault, fault, None]
    assert sitting.votes[-1].status == (201 if fault == "refuse" else 200)


def test_no_answer(sit: Sit) -> None:
    """A request that is swallowed is given up after 20 seconds, and an answer that never comes as well."""
    sitting = sit()
    clock = sitting.voter.page.clock
    clock.install()
    sitting.to_check()
    sitting.wire.fail("/votes", "swallow")
    sitting.wire.fail("/votes", "mute")
    sitting.voter.submit()
    for tries in (1, 2):
        sitting.sent(tries)
        sitting.until(lambda: sitting.votes[-1].fault == "swallow" or sitting.votes[-1].arrived, "its fate")
        clock.fast_forward(19_000)
        assert (len(sitting.votes), sitting.notes.states[-1]) == (tries, "sending")
        clock.fast_forward(1_500)
        clock.fast_forward(3_000)
    sitting.received()
    assert [one.fault for one in sitting.votes] == ["swallow", "mute", None]
    assert sitting.votes[-1].status == 200


@pytest.mark.long
def test_no_answer_in_real_time(sitting: Sitting) -> None:
    """The same, with nothing but time."""
    sitting.wire.fail("/votes", "swallow")
    sitting.wire.fail("/votes", "mute")
    sitting.voter.submit()
    sitting.received()
    assert [one.fault for one in sitting.votes] == ["swallow", "mute", None]
    assert all(20 <= gap < 24 for gap in gaps(sitting.votes)), gaps(sitting.votes)


def test_reload_while_sending(sitting: Sitting) -> None:
    """Reloaded again and again while its vote is on the way, the page goes on sending that very vote."""
    sitting.wire.fail("/votes", "swallow")
    sitting.wire.fail("/votes", "mute", times=2)
    sitting.voter.submit()
    for tries in (1, 2, 3):
        sitting.sent(tries)
        sitting.voter.page.reload()
    sitting.received()
    assert len(sitting.votes) == 4
    assert [note.state for note in sitting.notes.all] == ["not-sent", *["sending"] * 4, "received"]


def test_tab_closed_and_brought_back(sit: Sit, sitting: Sitting) -> None:
    """A tab that the browser brings back, with what it remembers of it, goes on sending."""
    sitting.wire.fail("/votes", "mute")
    sitting.voter.submit()
    sitting.sent(1)
    page = sitting.voter.page
    address, kept = page.url, page.evaluate("Object.entries(sessionStorage)")
    page.close()
    again = page.context.new_page()
    again.add_init_script(
        f"if (!sessionStorage.length && !window.name) for (const [key, value] of {kept!r})"
        " sessionStorage.setItem(key, value); window.name = 'brought back';"
    )
    sitting.voter.page = again
    again.goto(address)
    sitting.received()
    assert len(sitting.votes) == 2


def test_slow_answer(sitting: Sitting) -> None:
    """An answer that takes five seconds is waited for: one request."""
    sitting.wire.delay("/votes", 5.0)
    sitting.voter.submit()
    sitting.received()
    assert len(sitting.votes) == 1


def test_script_lost(sit: Sit) -> None:
    """Where the script does not get through, the page itself says what to do and whom to ask."""
    sitting = sit()
    sitting.wire.fail(".js", "refuse", times=4)
    page = sitting.voter.page
    page.goto(sitting.wire.through(sitting.letter.link))
    stuck = page.get_by_text(sitting.voter.text("loading.stuck"))
    expect(stuck).to_be_visible(timeout=15_000)
    expect(page.get_by_role("main").get_by_text(CONTACT.split(",")[0])).to_be_visible()
    sitting.wire.heal()
    page.reload()
    sitting.voter.at("start")
    sitting.voter.begin()
    sitting.voter.answer(ANSWERS)
    sitting.voter.submit()
    sitting.received()


def test_script_lost_while_sending(sitting: Sitting) -> None:
    """Reloaded without its script while the vote is on its way, the page says nothing untrue of it."""
    sitting.wire.fail("/votes", "mute")
    sitting.voter.submit()
    sitting.sent(1)
    sitting.wire.fail(".js", "refuse", times=10)
    page = sitting.voter.page
    browser = page.context.new_cdp_session(page)
    browser.send("Network.enable")
    browser.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.reload()
    words = page.locator("body").text_content() or ""
    assert sitting.voter.text("loading.stuck_detail") in words
    assert sitting.voter.text("stopped.nothing_sent") not in words
    assert page.locator("[data-state]").count() == 0
    sitting.wire.heal()
    page.reload()
    sitting.received()


def test_delays_grow(sit: Sit) -> None:
    """While tries are lost each delay may be twice as long as the one before; who will not wait need not."""
    sitting = sit()
    sitting.voter.page.add_init_script("Math.random = () => 0.9")
    sitting.to_check()
    sitting.wire.fail("/votes", "refuse", times=4)
    sitting.voter.submit()
    sitting.sent(4)
    sitting.voter.press("sending.now")
    sitting.received()
    # A connection that had been used before is replaced by the browser itself, at once.
    replaced, first, second, now = gaps(sitting.votes)
    assert replaced < 0.85
    assert 0.85 <= first < 0.9 + SOON_SECONDS_MAX
    assert 1.75 <= second < 1.8 + SOON_SECONDS_MAX
    assert now < 3.5  # instead of 3.6


@pytest.mark.long
def test_a_network_that_is_gone_for_a_while(sit: Sit) -> None:
    """Without any network the delays grow to half a minute; once it is back the vote arrives, unasked."""
    sitting = sit()
    sitting.voter.page.add_init_script("Math.random = () => 0.9")
    sitting.to_check()
    sitting.wire.fail("/votes", "refuse", times=8)
    sitting.voter.submit()
    sitting.until(lambda: len(sitting.votes) >= 9, "the ninth try", seconds=120)
    sitting.received()
    waited = gaps(sitting.votes)[1:]
    wanted = [0.9, 1.8, 3.6, 7.2, 14.4, 27.0, 27.0]
    for seconds, least in zip(waited, wanted, strict=True):
        assert least - 0.05 <= seconds < least + SOON_SECONDS_MAX, waited
