"""What is connected to what in one edge process, and the one place where every request gets its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from ballot.encoding import b64encode
from ballot.rejection import Rejected, Rejection
from ballot.suite import key_id
from intake import admission, metrics, replies
from intake.answer import JSON_LINES, Answer, Shared
from intake.ballots import Ballots, Published, description
from intake.batch import Batcher
from intake.complaints import Complaints
from intake.faults import place
from intake.pages import Pages
from intake.request import Request
from intake.route import NOWHERE, PAGES, Name, Route, for_people
from intake.votes import Intake, Settle
from runtime import logs
from runtime.clock import Clock

log = logs.get("edge")

OPENAPI: Final = Path(__file__).with_name("openapi.json").read_bytes()
Reader = Callable[[Route], Awaitable[Answer]]
Taker = Callable[[Request, Published, Settle], None]


class Edge:
    """One edge process; `receipts_public` is the key its receipts verify with.

    Votes and access requests are taken on without a task of their own: the gate's decision calls back.
    Everything else, and a vote on a ballot that we have to look up first, runs as a task.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        ballots: Ballots,
        batcher: Batcher,
        complaints: Complaints,
        pages: Pages,
        receipts_public: bytes,
        clock: Clock,
    ) -> None:
        self._ballots = ballots
        self._batcher = batcher
        self._complaints = complaints
        self._pages = pages
        self._receipts_public = receipts_public
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._takers: Final[dict[Name, Taker]] = {"votes": intake.cast, "access": intake.access}
        self._readers: Final[dict[Name, Reader]] = {
            "ballot": self._ballot,
            "document": self._document,
            "receipt": self._receipt,
            "keys": self._keys,
            "openapi": self._openapi,
            "livez": self._live,
            "readyz": self._ready,
        }

    def admit(self, request: Request) -> bool:
        """Look at the head alone: True to be handed the body, False when it is being answered already."""
        try:
            if admission.admit(request):
                return True
        except Rejected as rejected:
            request.reply(self.refuse(rejected, request))
        else:
            self.handle(request)
        return False

    def handle(self, request: Request) -> None:
        """Answer a whole request; every error has the one form of `intake.replies`."""
        route = request.route
        take = self._takers.get(route.name)
        if take is None:
            self._spawn(self._read(request))
            return
        published = self._ballots.known(route.ballot)
        if published is None:
            self._spawn(self._find_and_take(request, take))
            return
        try:
            take(request, published, self.settle)
        except Exception as error:  # noqa: BLE001  # the one place: a bug costs one request, and says so
            request.reply(self._failed(error, request))

    def settle(self, request: Request, make: Callable[..., Answer], *args: Any) -> None:
        """Answer with what `make(*args)` gives, or with the refusal that it raises."""
        try:
            answer = make(*args)
        except Exception as error:  # noqa: BLE001  # the same
            answer = self._failed(error, request)
        request.reply(answer)

    def refuse(self, rejected: Rejected, request: Request | None) -> Answer:
        """The answer to a refused request, counted under its error's name."""
        route = request.route if request is not None else NOWHERE
        if request is not None and for_people(route, request.path):
            answer = self._pages.refusal(rejected, request)
        else:
            answer = replies.refusal(rejected)
        if route.name == "votes":
            metrics.VOTES.count(rejected.rejection.value)
        elif route.name == "access":
            metrics.ACCESS.count(rejected.rejection.value)
        elif route.name == "complaints":
            metrics.COMPLAINTS.count(rejected.rejection.value)
        if rejected.rejection is Rejection.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(sorted(route.methods))
        return answer

    def _failed(self, error: Exception, request: Request) -> Answer:
        if isinstance(error, Rejected):
            return self.refuse(error, request)
        name = request.route.name
        # The exception's text may quote the request: only its type is logged.
        log.alarm("request failed", resource=name, error=type(error).__name__, place=place(error))
        return self.refuse(replies.failed(name), request)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_and_take(self, request: Request, take: Taker) -> None:
        try:
            take(request, await self._ballots.find(request.route.ballot), self.settle)
        except Exception as error:  # noqa: BLE001  # the same
            request.reply(self._failed(error, request))

    async def _read(self, request: Request) -> None:
        try:
            if request.route.name == "complaints":
                answer = await self._complaints.take(request)
            elif request.route.name in PAGES:
                answer = await self._pages.answer(request)
            else:
                answer = await self._readers[request.route.name](request.route)
        except Exception as error:  # noqa: BLE001  # the same
            answer = self._failed(error, request)
        request.reply(answer)

    async def _ballot(self, route: Route) -> Answer:
        published = await self._ballots.find(route.ballot)
        window = await self._ballots.window(published)
        return replies.json_response(description(published, window, monotonic_s=self._clock.monotonic()))

    async def _document(self, route: Route) -> Answer:
        """The exact bytes that were signed."""
        published = await self._ballots.find(route.ballot)
        return Answer(published.document.canonical)

    async def _receipt(self, route: Route) -> Answer:
        published = await self._ballots.find(route.ballot)
        state = await self._ballots.receipt_state(published, route.reference)
        held = {"contact": published.contact} if state == "held" else {}
        return replies.json_response({"state": state, **held})

    async def _keys(self, _route: Route) -> Answer:
        """The keys that our signatures verify with: desk's, receipts', and of each ballot the result's.

        And the one that complaints are sealed to, once the desk has made it.
        """
        desk = self._ballots.desk_key()
        keys = [] if desk is None else [key_entry("desk", desk)]
        keys.append(key_entry("receipts", self._receipts_public))
        complaints = self._complaints.key(desk)
        if complaints is not None:
            keys.append(complaints)
        keys.extend(
            key_entry("result", published.document.result_key) for published in await self._ballots.all()
        )
        return replies.json_response({"keys": keys})

    async def _openapi(self, _route: Route) -> Answer:
        """How to call all this."""
        return Shared(OPENAPI, JSON_LINES)

    async def _live(self, _route: Route) -> Answer:
        return replies.json_response({"state": "live"})

    async def _ready(self, _route: Route) -> Answer:
        """200 only while a vote would be taken."""
        if not self._batcher.ready:
            return replies.json_response({"state": "not ready", "reason": self._batcher.reason}, status=503)
        return replies.json_response({"state": "ready"})


def key_entry(use: str, public: bytes) -> dict[str, Any]:
    """One published key, in the form of INTERFACES."""
    return {"id": key_id(public), "use": use, "alg": "Ed25519", "public_key": b64encode(public)}
