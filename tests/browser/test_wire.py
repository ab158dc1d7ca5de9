"""What leaves the device, byte for byte, and what stays on it: nothing tells a choice, a code or a seed."""

import gzip
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.test_nothing_leaks import dump, left_behind
from tests.acceptance.traces import Search
from tests.browser.chromium import FLAGS
from tests.browser.conftest import Visit
from tests.browser.marked import ONE, ONE_LONG, THREE, TWO, choices, found_in, marked_ballot, whose
from tests.browser.station import Answers, Letter, OpenBallot, Station, aside
from tests.browser.voter import Voter
from tests.browser.watch import Watch
from tests.browser.wire import Exchange, Wire
from tests.page import browser as found_browser

ANSWERS: Final[Answers] = {"single": [ONE_LONG], "multiple": [TWO[0], TWO[2]], "ranked": [THREE[2], THREE[0]]}
PAPERS: Final[tuple[Answers, ...]] = (
    ANSWERS,
    {"single": [ONE], "multiple": [], "ranked": []},
    {"single": [], "multiple": [TWO[1]], "ranked": list(THREE)},
    {"single": [], "multiple": [], "ranked": []},
    {"single": [ONE_LONG], "multiple": [TWO[0], TWO[1]], "ranked": [THREE[1]]},
)
ALONE: Final = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-features=AutofillServerCommunication",  # the browser's own questions about a form's fields
)
ASKS: Final = {"URL_REQUEST_START_JOB", "HOST_RESOLVER_MANAGER_REQUEST"}
HOLDS_ADDRESSES: Final = {"History", "History-journal", "Sessions", "Favicons", "ukm_db", "ukm_db-wal"}
COMPLAINT: Final = "The marmalade on the noticeboard was upside down."
REACH: Final = "quince.kumquat@members.example"
LEFT: Final = """async () => ({
    session: sessionStorage.length, local: localStorage.length, cookie: document.cookie,
    databases: (await indexedDB.databases()).length, caches: (await caches.keys()).length,
    workers: (await navigator.serviceWorker.getRegistrations()).length,
})"""


@pytest.fixture(scope="module")
def marked(station: Station) -> OpenBallot:
    """The ballot of marked words."""
    return marked_ballot(station)


class Looks:
    """What a bystander sees at each step: address, title, and the same of every step that Back leads to."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self.seen: list[bytes] = []

    def look(self) -> None:
        """Note it."""
        entries = self._session.send("Page.getNavigationHistory")["entries"]
        back = [(entry["url"], entry["title"]) for entry in entries]
        state = self._page.evaluate("[location.href, document.title, window.name, document.referrer]")
        self.seen.append(json.dumps([back, state], ensure_ascii=False).encode())


def whole_session(voter: Voter, wire: Wire, letter: Letter, looks: Looks) -> str:
    """From the link to the receipt, with the about page before it, a check and a complaint afterwards."""
    page = voter.page
    base = wire.through(letter.link).partition("#")[0]
    page.goto(f"{base}/about")
    looks.look()
    voter.visit(wire.through(letter.link))
    looks.look()
    voter.begin()
    for question, options in ANSWERS.items():
        looks.look()
        answer(voter, question, options)
    voter.at("check")
    looks.look()
    voter.submit()
    reference = voter.reference()
    looks.look()
    page.goto(f"{base}/check")
    field = page.get_by_role("textbox")
    field.fill(letter.code)  # who takes one for the other does not send it
    voter.press("check.ask")
    page.get_by_role("alert").wait_for()
    field.fill(reference)
    voter.press("check.ask")
    page.locator("h1, h2").filter(has_text=re.compile("reference number")).first.wait_for()
    page.goto(f"{base}/complaint")
    page.get_by_label(voter.text("complaint.text")).fill(COMPLAINT)
    page.get_by_label(voter.text("complaint.contact")).fill(REACH)
    voter.press("complaint.send")
    voter.sees("complaint.done_title")
    looks.look()
    return reference


def answer(voter: Voter, question: str, options: Sequence[str]) -> None:
    """Answer one question and go on."""
    voter.at("question", question)
    if voter.page.locator("main select").count():
        voter.rank(question, {option: str(place) for place, option in enumerate(options, 1)})
    else:
        voter.choose(question, *options)
    voter.next()


def opened(exchange: Exchange) -> bytes:
    """An answer, uncompressed."""
    head, body = exchange.answer.partition(b"\r\n\r\n")[::2]
    return head + (gzip.decompress(body) if exchange.header("Content-Encoding") == "gzip" else body)


def test_a_whole_session_tells_nothing(
    visit: Visit, wire: Wire, watches: list[Watch], marked: OpenBallot, station: Station
) -> None:
    """All that was sent and got, addresses, titles, history, storage, servers' files: no choice, no code."""
    marked.mark()
    began = time.time()
    page = visit(origin=wire.url)
    voter, letter, looks = Voter(page), marked.letter(), Looks(page)
    reference = whole_session(voter, wire, letter, looks)
    own = whose(letter.code, marked.id)
    words = {"the complaint": COMPLAINT.encode(), "how to reach": REACH.encode()}
    names = {f"the id {question}": question.encode() for question in ("answers", *ANSWERS)}
    sent = [bytes(one) for one in wire.sent]
    assert not found_in(sent, own | words | choices(marked) | {"answers": b'"answers"'} | names)
    assert not found_in([opened(one) for one in wire.exchanges], own | words)
    assert not found_in(looks.seen, own | words | choices(marked))
    # The search would have found them: what was sent holds the ballot's id, and was stored as it was chosen.
    assert found_in(sent, {"the ballot's id": f"/b/{marked.id}".encode(), "nothing": b"nothing of the kind"})
    assert marked.added() == [ANSWERS] == [marked.opened(reference)]
    for one in wire.exchanges:
        head = one.request.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\ncookie:" not in head
        assert b"\r\nreferer:" not in head
        assert one.header("Set-Cookie") is None
    assert [one.path for one in wire.exchanges if one.method == "POST"] == [
        f"/api/v1/ballots/{marked.id}/access",
        f"/api/v1/ballots/{marked.id}/votes",
        "/api/v1/complaints",
    ]
    assert page.evaluate(LEFT) == {
        "session": 0, "local": 0, "cookie": "", "databases": 0, "caches": 0, "workers": 0,
    }  # fmt: skip
    asked = [one for one in watches[0].requests if not one.is_navigation_request()]
    assert {urlsplit(one.url).path for one in asked} <= {one.path for one in wire.exchanges}
    meant = [f"{one.url} {one.headers} {one.post_data}".encode() for one in asked]
    assert not found_in(meant, own | words | choices(marked))
    # The servers: what they hold in memory and tables, and every file and log.
    chosen = {
        f"the choice {one}": f'"{question}":["{one}"'.encode() for question, (one, *_) in ANSWERS.items()
    }
    secrets = own | words | chosen | {"answers": b'"answers":{'}
    dumped = aside(lambda: dump(station.servers))
    assert marked.id.encode() in dumped
    assert not found_in([dumped], secrets)
    written = [path for path in left_behind(station.stage) if path.stat().st_mtime >= began]
    assert any(path.suffix == ".aof" for path in written)
    assert any("pg_wal" in path.parts for path in written)
    assert not list(Search(secrets).in_files(written))


def way(wire: Wire) -> list[tuple[str, str, int, int]]:
    """What was asked in one session, how long each request was on the wire, and how long each answer.

    A receipt's `path` is left out: it tells how many votes were confirmed together.
    """
    found = []
    for one in wire.exchanges:
        path = b""
        if one.path.endswith("/votes"):
            path = re.search(rb'"path":(\[.*\])', one.answer_body)[1]  # type: ignore[index]
        found.append((one.method, one.path, len(one.request), len(one.answer) - len(path)))
    return found


def test_no_length_tells_a_choice(visit: Visit, wire: Wire, marked: OpenBallot) -> None:
    """Whatever is chosen, or left blank: the same requests and answers of the same lengths, head and body."""
    marked.mark()
    ways: list[list[tuple[str, str, int, int]]] = []
    for answers in PAPERS:
        wire.forget()
        page = visit(origin=wire.url)
        voter = Voter(page)
        voter.votes(wire.through(marked.letter().link), answers)
        assert not [word for word in choices(marked).values() if word.decode() in page.content()]
        page.wait_for_load_state("networkidle")
        assert not found_in([bytes(one) for one in wire.sent], choices(marked))
        ways.append(way(wire))
    assert marked.added() == list(PAPERS)
    assert ways[0], "nothing was sent"
    for other in ways[1:]:
        assert Counter(other) == Counter(ways[0])
        assert steps(other) == steps(ways[0])
    (vote,) = (one for one in ways[0] if one[1].endswith("/votes"))
    sys.stdout.write(f"every vote: {vote[2]} bytes sent, {vote[3]} got, head and body\n")


def steps(way: Sequence[tuple[str, str, int, int]]) -> list[str]:
    """The requests that follow one another; the files of a page are fetched side by side."""
    return [one[1] for one in way if "/assets/" not in one[1]]


def test_what_stays_here(browser: Browser, wire: Wire, marked: OpenBallot, tmp_path: Path) -> None:
    """In an ordinary window's profile: no choice, no seed, no complaint; and nobody else was asked.

    The browser itself notes the address of every link that is followed, with the code in the letter's, before
    a page can take that away: what holds addresses is not searched for the code.
    """
    profile, log = tmp_path / "profile", tmp_path / "net.json"
    context = browser.browser_type.launch_persistent_context(
        profile,
        executable_path=found_browser(),
        args=[*FLAGS, *ALONE, f"--log-net-log={log}"],
    )
    page = context.pages[0]
    letter = marked.letter()
    whole_session(Voter(page), wire, letter, Looks(page))
    context.close()
    own = whose(letter.code, marked.id)
    code = {name for name in own if name != "the seed"}
    secrets = own | choices(marked) | {"the complaint": COMPLAINT.encode(), "how to reach": REACH.encode()}
    left = {path: found_in([path.read_bytes()], secrets) for path in profile.rglob("*") if path.is_file()}
    for path, found in left.items():
        allowed = code if HOLDS_ADDRESSES.intersection(path.parts) else set()
        assert not found - allowed, f"{found} in {path}"
    assert any(left.values()), "the search finds nothing, not even the link that the browser noted"
    asked = list(asked_of(json.loads(log.read_text(encoding="utf-8"))))
    assert asked, "the browser's log was not understood"
    assert {urlsplit(url)._replace(path="", query="", fragment="").geturl() for url in asked} == {wire.url}


def asked_of(log: dict[str, Any]) -> Iterator[str]:
    """Every address that the browser resolved or requested for our page, as it logged it."""
    kinds = {number: kind for kind, number in log["constants"]["logEventTypes"].items()}
    for event in log["events"]:
        told = event.get("params", {})
        site = told.get("network_isolation_key") or told.get("network_anonymization_key") or ""
        if (
            kinds[event["type"]] in {"URL_REQUEST_START_JOB", "HOST_RESOLVER_MANAGER_REQUEST"}
            and "127.0" in site
        ):
            yield told.get("url") or told["host"]
