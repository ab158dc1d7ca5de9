"""The pages that voters see: each made once, compressed once, and kept until what it says changes.

A page never waits for the queue longer than one read, and one that this process knows is served without it.
"""

import gzip
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from ballot.rejection import Rejected, Rejection
from intake import metrics, page_headers, replies
from intake.answer import Answer, Typed
from intake.assets import Assets
from intake.ballots import Ballots, Published
from intake.complaints import Complaints
from intake.faults import place
from intake.islands import Islands, Times
from intake.page_finder import KeptFiles
from intake.preferences import LANGUAGES, Language, accepts, preferred_language
from intake.rendering import Renderer, shown_in
from intake.request import Request
from runtime import logs
from runtime.built_page import BuiltPage
from runtime.clock import Clock

log = logs.get("pages")

KEPT_BYTES_MAX: Final = 16 * 2**20
"""Of pages kept at once, some 10 kB each with their compressed form; the one longest unused makes room."""

LAST_RESORT: Final = (
    b'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Not available</title>\n'
    b"<h1>Sorry, this page is not available just now</h1>\n"
    b"<p>Try again in a moment. The scrutineer's contact details are in your letter.</p>\n"
    b'<p lang="cy">Nid yw\'r dudalen hon ar gael ar hyn o bryd. Rhowch gynnig arall arni ymhen ychydig. '
    b"Mae manylion cyswllt y craffwr yn eich llythyr.</p>\n</html>\n"
)
"""When even the error page cannot be made."""

_TEMPLATES: Final = {
    "home page": "home",
    "vote page": "vote",
    "about page": "about",
    "check page": "check",
    "complaint page": "complaint",
}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A page as it is served, and what it was made from: it holds as long as that stays the same."""

    made_from: tuple[object, ...]
    html: bytes
    compressed: bytes

    @property
    def size(self) -> int:
        """Its bytes in memory."""
        return len(self.html) + len(self.compressed)


class Pages:
    """Everything for people; there is no page, only errors, until one is adopted."""

    def __init__(
        self,
        ballots: Ballots,
        complaints: Complaints,
        *,
        kept: KeptFiles,
        receipts_public: bytes,
        clock: Clock,
    ) -> None:
        self._ballots = ballots
        self._renderer: Renderer | None = None
        self._assets = Assets(kept)
        self._islands = Islands(ballots, complaints, receipts_public=receipts_public, clock=clock)
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._described: set[str] = set()
        self.version = ""

    def adopt(self, built: BuiltPage | None, renderer: Renderer | None) -> None:
        """Serve this page from now on; without `built` only errors are shown, in the renderer's words."""
        self._renderer = renderer
        self._assets.adopt(built)
        self.version = "" if built is None or renderer is None else built.version
        self._kept.clear()
        self._kept_bytes = 0

    async def answer(self, request: Request) -> Answer:
        """A page or one of its files; Rejected when there is none, or none just now."""
        route = request.route
        if route.name == "asset":
            return self._assets.file(route.file, request.headers.get("Accept-Encoding", ""))
        if route.name == "hashes":
            return self._assets.hashes()
        published = await self._ballots.find(route.ballot) if route.ballot else None
        window = await self._islands.window(published) if published and route.name == "vote page" else None
        if not self.version or self._renderer is None:
            raise replies.unreachable()
        if published is not None:
            self._note_description(self._renderer, published)
        language = _language(request) or "en"
        kept = self._page(self._renderer, route.name, language, published, window)
        metrics.PAGES.count("served")
        return self._typed(request, kept, languages=language)

    def refusal(self, rejected: Rejected, request: Request) -> Answer:
        """An error as a page, with the contact where the ballot is known here."""
        plain = replies.refusal(rejected)
        language = _language(request)
        kept = self._problem(plain.status, language, self._ballots.known(request.route.ballot))
        lost = request.route.name == "asset" and rejected.rejection is Rejection.NOT_FOUND
        metrics.PAGES.count("file_not_found" if lost else rejected.rejection.value)
        answer = self._typed(request, kept, languages=language or "en, cy", status=plain.status)
        answer.headers.update(plain.headers)
        return answer

    def _typed(self, request: Request, kept: _Kept, *, languages: str, status: int = 200) -> Answer:
        compressed = accepts(request.headers.get("Accept-Encoding", ""), "gzip")
        fixed = page_headers.fixed(languages=languages, gzip=compressed)
        return Typed(kept.compressed if compressed else kept.html, fixed, status=status)

    def _page(
        self,
        renderer: Renderer,
        name: str,
        language: Language,
        published: Published | None,
        window: Times | None,
    ) -> _Kept:
        """The page as kept, or made now."""
        facts = self._islands.facts(name, published, window)
        ballot = "" if published is None else published.id
        key = (name, ballot, language)
        kept = self._found(key, facts)
        if kept is not None:
            return kept
        island = self._islands.island(name, language, facts, page_version=self.version)
        path = {"home page": "/", "vote page": f"/b/{ballot}"}.get(name, f"/{_TEMPLATES[name]}")
        if ballot and name != "vote page":
            path = f"/b/{ballot}{path}"
        html = renderer.page(
            _TEMPLATES[name],
            language,
            ballot=None if published is None else shown_in(published.document.definition, language),
            island=island,
            path=path,
            key_fingerprint="" if published is None else _grouped(published.desk_key_id),
        )
        return self._keep(key, facts, html)

    def _problem(self, status: int, language: Language | None, published: Published | None) -> _Kept:
        key = ("problem", status, language, None if published is None else published.id)
        kept = self._found(key, ())
        if kept is not None:
            return kept
        return self._keep(key, (), self._said(status, language, published))

    def _said(self, status: int, language: Language | None, published: Published | None) -> bytes:
        """What went wrong, as a page; there is always one."""
        if self._renderer is None:
            return LAST_RESORT
        shown = None if published is None else shown_in(published.document.definition, language or "en")
        try:
            return self._renderer.problem(status, language, shown)
        except Exception as error:  # noqa: BLE001  # a bug there must not leave a request without an answer
            log.alarm("error page not made", status=status, error=type(error).__name__, place=place(error))
            return LAST_RESORT

    def _found(self, key: tuple[object, ...], made_from: tuple[object, ...]) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None or kept.made_from != made_from:
            return None
        self._kept.move_to_end(key)
        return kept

    def _keep(self, key: tuple[object, ...], made_from: tuple[object, ...], html: bytes) -> _Kept:
        before = self._kept.pop(key, None)
        kept = self._kept[key] = _Kept(made_from, html, gzip.compress(html, mtime=0))
        self._kept_bytes += kept.size - (0 if before is None else before.size)
        while self._kept_bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= gone.size
        return kept

    def _note_description(self, renderer: Renderer, published: Published) -> None:
        """Say once which description voters of a ballot can read here."""
        if published.id not in self._described:
            self._described.add(published.id)
            said = {each: self._page(renderer, "about page", each, published, None) for each in LANGUAGES}
            digests = {f"sha256_{each}": hashlib.sha256(kept.html).hexdigest() for each, kept in said.items()}
            log.info("description in force", ballot=published.id, page=self.version, **digests)


def _language(request: Request) -> Language | None:
    return preferred_language(request.asked_language, request.headers.get("Accept-Language", ""))


def _grouped(digits: str) -> str:
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))
