"""Pages are made once, kept within a bound, and never in the way of votes, whatever is missing."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from ballot import document
from ballot.encoding import b64encode
from ballot.rejection import Rejected, Rejection
from ballot.suite import SigningKey
from intake import metrics, replies
from intake import pages as module
from intake.answer import Answer, over_tls
from intake.ballots import Published
from intake.islands import STALE_S, Islands
from intake.page_finder import KeptFiles
from intake.pages import LAST_RESORT, Pages
from intake.rendering import Renderer
from intake.route import NOWHERE, Route, route
from intake.windows import Window
from runtime.built_page import BuiltPage, read
from runtime.clock import SystemClock
from tests.integration.intake_rig import build_document
from tests.made_page import CONTENTS, make, sha256
from tests.manual_clock import ManualClock

DESK = SigningKey.from_seed(b"d" * 32)
RECEIPTS = b"r" * 32
HOUR_US = 3_600_000_000
NOWHERE_KEPT = Path("/nonexistent")


@dataclass(slots=True)
class Request:
    """As much of a request as pages look at."""

    route: Route
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    asked_language: str | None = None
    path: str = ""


@dataclass(slots=True)
class Ballots:
    """Ballots as the queue publishes them; `away` when it does not answer."""

    published: dict[str, Published] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    away: bool = False

    def known(self, ballot: str) -> Published | None:
        """What was found before."""
        return self.published.get(ballot)

    def desk_key(self) -> bytes:
        """The pinned key."""
        return DESK.public

    async def find(self, ballot: str) -> Published:
        """The ballot."""
        if ballot in self.published:
            return self.published[ballot]
        raise replies.unreachable() if self.away else replies.not_found()

    async def window(self, published: Published) -> Window:
        """The last window read."""
        window = self.windows.get(published.id)
        if window is None:
            raise replies.unreachable() if self.away else replies.not_found()
        return window

    def add(self, ballot: str, clock: ManualClock) -> Published:
        """One more ballot, open."""
        made = build_document(ballot)
        self.published[ballot] = Published(made, document.sign(made, DESK), DESK.public, 1)
        now_us = made.definition.opens_us + HOUR_US
        self.windows[ballot] = Window(
            made.definition.opens_us, made.definition.closes_us, "open", now_us, clock.monotonic()
        )
        return self.published[ballot]


class Complaints:
    """The key that complaints are sealed to."""

    entry: dict[str, Any] | None = None

    def key(self, desk: bytes | None) -> dict[str, Any] | None:
        """The entry as published."""
        return self.entry if desk == DESK.public else None


@dataclass(slots=True)
class Desk:
    """Pages with everything around them."""

    ballots: Ballots
    complaints: Complaints
    pages: Pages
    clock: ManualClock

    async def get(self, path: str, *, language: str | None = None, accepted: str = "") -> Answer:
        """Ask as a browser does, and answer a refusal as the edge does."""
        try:
            found = route(path)
        except Rejected:
            found = NOWHERE
        headers = CIMultiDict({"Accept-Encoding": accepted})
        request: Any = Request(found, headers, language, path)
        try:
            if found is NOWHERE:
                raise replies.not_found()
            return await self.pages.answer(request)
        except Rejected as rejected:
            return self.pages.refusal(rejected, request)

    async def island(self, path: str) -> Any:
        """Return what the page tells its script."""
        match = re.search(rb'id="island">(.*)</script>', (await self.get(path)).body)
        assert match is not None
        return json.loads(match[1])


def desk_of(built: BuiltPage | None, renderer: Renderer | None, kept: Path = NOWHERE_KEPT) -> Desk:
    """Return pages with fakes around them."""
    clock = ManualClock()
    ballots: Any = Ballots()
    complaints: Any = Complaints()
    pages = Pages(
        ballots,
        complaints,
        kept=KeptFiles(kept, clock=SystemClock()),
        receipts_public=RECEIPTS,
        clock=clock,
    )
    pages.adopt(built, renderer)
    return Desk(ballots, complaints, pages, clock)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltPage:
    """A page with files of our own."""
    return read(make(tmp_path_factory.mktemp("page")))


@pytest.fixture(scope="module")
def renderer(built: BuiltPage) -> Renderer:
    """The real templates and words."""
    return Renderer(built)


@pytest.fixture
def desk(built: BuiltPage, renderer: Renderer) -> Desk:
    """Pages with one open ballot."""
    desk = desk_of(built, renderer)
    desk.ballots.add("a-1", desk.clock)
    return desk


async def test_the_island_of_the_vote_page(desk: Desk, built: BuiltPage) -> None:
    """The exact signed document, the keys, the window as the gate has it."""
    published = desk.ballots.published["a-1"]

    assert await desk.island("/b/a-1") == {
        "ballot": "a-1",
        "lang": "en",
        "document": b64encode(published.document.canonical),
        "document_signature": b64encode(published.signature),
        "desk_key": b64encode(DESK.public),
        "receipts_key": b64encode(RECEIPTS),
        "window": (await desk.island("/b/a-1"))["window"],
        "page_version": built.version,
    }
    assert (await desk.island("/b/a-1"))["window"]["state"] == "open"


async def test_the_other_islands(desk: Desk) -> None:
    """A check needs no key; a complaint is sealed to a key that the desk vouches for, or to none."""
    desk_key = b64encode(DESK.public)
    plain = {"lang": "en", "desk_key": desk_key, "complaints_key": None}
    assert await desk.island("/b/a-1/check") == {"ballot": "a-1", "lang": "en"}
    assert await desk.island("/b/a-1/complaint") == {"ballot": "a-1", **plain}
    assert await desk.island("/complaint") == {"ballot": None, **plain}

    desk.complaints.entry = {"id": "x", "use": "complaints", "alg": "s", "public_key": "p", "signature": "s"}

    shown = {"public_key": "p", "signature": "s"}
    assert (await desk.island("/b/a-1/complaint"))["complaints_key"] == shown
    assert (await desk.island("/complaint"))["complaints_key"] == shown


async def test_a_page_is_made_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until what it says changes; and then only that one."""
    made: list[str] = []
    whole = Renderer.page

    def counted(self: Renderer, template: str, *args: Any, **more: Any) -> bytes:
        made.append(template)
        return whole(self, template, *args, **more)

    monkeypatch.setattr(Renderer, "page", counted)
    for _ in range(3):
        for language in ("en", "cy"):
            await desk.get("/b/a-1", language=language)
            await desk.get("/b/a-1/about", language=language, accepted="gzip")
    assert sorted(made) == ["about", "about", "vote", "vote"]

    desk.clock.advance(2 * 3600)
    desk.ballots.windows["a-1"] = Window(0, 1, "closed", 2, desk.clock.monotonic())
    made.clear()
    for _ in range(3):
        assert b'"state": "closed"' in (await desk.get("/b/a-1")).body
        await desk.get("/b/a-1/about")
    assert made == ["vote"]


async def test_what_is_kept_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ballots, pages and errors: the one longest unused makes room."""
    monkeypatch.setattr(module, "KEPT_BYTES_MAX", 60_000)
    for number in range(12):
        desk.ballots.add(f"b-{number}", desk.clock)
        for path in ("", "/about", "/check", "/nothing"):
            await desk.get(f"/b/b-{number}{path}")
        await desk.get("/b/a-1", language="en")
        sizes = [kept.size for kept in desk.pages._kept.values()]
        assert sum(sizes) == desk.pages._kept_bytes <= 60_000
    assert ("about page", "b-1", "en") not in desk.pages._kept
    assert ("vote page", "a-1", "en") in desk.pages._kept


async def test_nobody_fills_the_memory_with_what_is_not_there(desk: Desk) -> None:
    """A thousand addresses of nothing are one page."""
    for number in range(1_000):
        await desk.get(f"/b/none-{number}")
        await desk.get(f"/nothing/{number}")

    assert len(desk.pages._kept) == 1


@pytest.mark.parametrize("path", ["/", "/complaint", "/b/a-1", "/b/a-1/about", "/b/none", "/nothing"])
async def test_compressed_and_plain_are_the_same(desk: Desk, path: str) -> None:
    """Only the encoding differs, and it is said."""
    plain, packed = await desk.get(path), await desk.get(path, accepted="br, gzip")

    assert gzip.decompress(packed.body) == plain.body
    assert b"Content-Encoding: gzip\r\n" in packed.rendered()
    assert b"Content-Encoding" not in plain.rendered()
    assert len(packed.body) < len(plain.body)


async def test_the_queue_is_away(desk: Desk) -> None:
    """What is known is served: times as last read and no state; what is not known is an honest 503."""
    desk.ballots.away = True
    assert (await desk.island("/b/a-1"))["window"]["state"] == "open"
    desk.clock.advance(STALE_S)
    window = (await desk.island("/b/a-1"))["window"]
    assert window["state"] == "unknown"

    desk.ballots.windows.clear()

    assert (await desk.island("/b/a-1"))["window"] == window  # the signed times are the same here
    answer = await desk.get("/b/b-2", language="en")
    assert (answer.status, list(answer.headers)) == (503, ["Retry-After"])


async def test_a_ballot_that_was_never_armed(desk: Desk) -> None:
    """It is not there for voters yet."""
    desk.ballots.windows.clear()

    assert (await desk.get("/b/a-1")).status == 404


async def test_no_page_was_built(caplog: pytest.LogCaptureFixture) -> None:
    """Every page is a 503 with the contact, files are 404, errors are as ever."""
    desk = desk_of(None, Renderer(None))
    desk.ballots.add("a-1", desk.clock)

    for path in ("/", "/complaint", "/b/a-1", "/b/a-1/about", "/b/a-1/check"):
        answer = await desk.get(path)
        assert answer.status == 503
        assert (b"help@scrutineer.example" in answer.body) == path.startswith("/b/")
    assert (await desk.get("/b/none")).status == 404
    assert (await desk.get("/assets/hashes.json")).status == 404
    assert (await desk.get("/assets/vote-0123456789ab.js")).status == 404


async def test_not_even_an_error_can_be_made() -> None:
    """Then there is one that needs no template; it says the same in both languages."""
    desk = desk_of(None, None)
    desk.ballots.add("a-1", desk.clock)

    for path, status in (("/b/a-1", 503), ("/nothing", 404)):
        answer = await desk.get(path)
        assert (answer.status, answer.body) == (status, LAST_RESORT)


async def test_a_bug_in_an_error_page_leaves_no_request_unanswered(
    built: BuiltPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alarmed once, and the last resort is shown."""
    alarms: list[str] = []
    monkeypatch.setattr(module.log, "alarm", lambda what, **_: alarms.append(what))
    renderer = Renderer(built)
    monkeypatch.setattr(Renderer, "problem", lambda *_: 1 // 0)
    desk = desk_of(built, renderer)

    for _ in range(2):
        assert (await desk.get("/nothing")).body == LAST_RESORT
    assert alarms == ["error page not made"]


async def test_the_description_in_force_is_logged_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a ballot, with the digest of what a voter reads."""
    said: list[dict[str, object]] = []
    monkeypatch.setattr(module.log, "info", lambda _what, **facts: said.append(facts))
    for _ in range(2):
        for path in ("/b/a-1", "/b/a-1/about", "/b/a-1/check"):
            await desk.get(path, language="cy")

    (facts,) = said
    about = await desk.get("/b/a-1/about", language="en")
    assert facts["sha256_en"] == sha256(about.body)
    assert facts["ballot"] == "a-1"


@pytest.fixture
def encrypted() -> Iterator[None]:
    """As in a process that itself ends TLS."""
    over_tls(on=True)
    yield
    over_tls(on=False)


TRANSPORT = b"Strict-Transport-Security: max-age=63072000\r\n"


@pytest.mark.usefixtures("encrypted")
async def test_over_tls_browsers_are_told_to_come_back_by_it(desk: Desk, built: BuiltPage) -> None:
    """On pages, errors, files and the answers of the API alike, once each."""
    for path in ("/", "/nothing", f"/assets/{built.files['vote.js'].path}", "/assets/hashes.json"):
        assert (await desk.get(path)).rendered().count(TRANSPORT) == 1
    for answer in (replies.json_response({}), replies.refusal(replies.unreachable())):
        assert answer.rendered().count(TRANSPORT) == 1


async def test_without_tls_nothing_is_said_of_it(desk: Desk) -> None:
    """A browser that believed it could not come back."""
    for answer in (await desk.get("/"), await desk.get("/nothing"), replies.json_response({})):
        assert b"Strict-Transport" not in answer.rendered()


async def test_files_of_another_version_that_is_kept(
    built: BuiltPage, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served as that version has them; read once; never what differs from its name; the rest is counted."""
    counted: list[str] = []
    monkeypatch.setattr(metrics.PAGES, "count", counted.append)
    other = read(make(tmp_path / "1" / "built", CONTENTS | {"vote.js": b"other()", "style.css": b"other"}))
    desk = desk_of(built, renderer, tmp_path)
    script, style = (f"/assets/{other.files[name].path}" for name in ("vote.js", "style.css"))
    (tmp_path / "1" / "built" / other.files["style.css"].path).write_bytes(b"changed")

    answer = await desk.get(script, accepted="gzip")
    assert gzip.decompress(answer.body) == b"other()"
    assert b"immutable" in answer.rendered()
    assert (await desk.get(style)).status == 404
    shutil.rmtree(tmp_path / "1")
    assert (await desk.get(script)).body == b"other()"
    assert (await desk.get("/assets/vote-0123456789ab.js")).status == 404
    assert (await desk.get("/nothing")).status == 404
    assert counted == ["file_not_found", "file_not_found", "not_found"]


async def test_a_version_that_comes_later(built: BuiltPage, renderer: Renderer, tmp_path: Path) -> None:
    """A process that is not yet replaced finds the files of the one that is, also in the same moment."""
    desk = desk_of(built, renderer, tmp_path)
    for number in range(20):
        content = f"later({number})".encode()
        made = make(tmp_path / ".draft" / "built", CONTENTS | {"vote.js": content})
        path = f"/assets/{read(made).files['vote.js'].path}"
        assert (await desk.get(path)).status == 404
        made.parent.rename(tmp_path / str(number))
        assert (await desk.get(path)).body == content


async def test_another_page_is_adopted(desk: Desk, renderer: Renderer, tmp_path: Path) -> None:
    """Nothing of the one before is shown, and its version is another."""
    other = read(make(tmp_path, more="x"))
    before = (await desk.island("/b/a-1"))["page_version"]

    desk.pages.adopt(other, renderer)

    assert (await desk.island("/b/a-1"))["page_version"] == other.version != before
    assert (await desk.get("/assets/hashes.json")).body == other.manifest


async def test_a_slash_at_the_end(desk: Desk) -> None:
    """The vote page as well, and nothing else."""
    assert (await desk.get("/b/a-1/")).body == (await desk.get("/b/a-1")).body
    assert (await desk.get("/b/a-1/about/")).status == 404


async def test_what_a_page_tells_is_not_written_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is kept costs a comparison, however long its ballot is."""
    await desk.get("/b/a-1")
    await desk.get("/b/a-1/complaint")
    monkeypatch.setattr(Islands, "island", lambda *_, **__: 1 // 0)

    for path in ("/b/a-1", "/b/a-1/complaint"):
        assert (await desk.get(path)).status == 200


async def test_files_in_the_form_that_is_accepted(desk: Desk, built: BuiltPage) -> None:
    """Brotli before gzip before plain; for ever; with their type."""
    file = built.files["vote.js"]
    for accepted, body in (("", file.identity), ("gzip", file.gzip), ("gzip, br", file.brotli)):
        answer = await desk.get(f"/assets/{file.path}", accepted=accepted)
        assert answer.body == body
        head = answer.rendered()
        assert b"Content-Type: text/javascript; charset=utf-8\r\n" in head
        assert b"Cache-Control: public, max-age=31536000, immutable\r\n" in head
        assert b"X-Content-Type-Options: nosniff\r\n" in head
    assert (await desk.get("/assets/hashes.json")).body == built.manifest


async def test_an_error_keeps_what_its_kind_says(desk: Desk) -> None:
    """Status and Retry-After are those of the API's error."""
    request: Any = Request(Route("vote page", "a-1"))
    for rejected, status in (
        (replies.unreachable(), 503),
        (replies.late(), 400),
        (Rejected(Rejection.METHOD_NOT_ALLOWED, "x"), 405),
    ):
        answer = desk.pages.refusal(rejected, request)
        assert answer.status == status
        assert ("Retry-After" in answer.headers) == (status in {503, 400})
        assert b"help@scrutineer.example" in answer.body
