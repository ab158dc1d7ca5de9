"""What is connected to what in one edge process, and the one function that answers every request."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from ballot.encoding import b64encode
from ballot.rejection import Rejected, Rejection
from ballot.suite import key_id
from intake import admission, metrics, replies
from intake.admission import Name, Route
from intake.answer import Answer
from intake.ballots import Ballots, description
from intake.batch import Batcher
from intake.faults import place
from intake.votes import Intake
from runtime import logs
from runtime.clock import Clock

log = logs.get("edge")

CAST_OUTCOMES: Final = {201: "accepted", 200: "repeated", 409: "not_open"}
ACCESS_OUTCOMES: Final = {200: "ready", 409: "not_open"}
Resource = Callable[[web.BaseRequest, Route], Awaitable[Answer]]


class Edge:
    """One edge process; `receipts_public` is the key its receipts verify with."""

    def __init__(
        self, intake: Intake, *, ballots: Ballots, batcher: Batcher, receipts_public: bytes, clock: Clock
    ) -> None:
        self._intake = intake
        self._ballots = ballots
        self._batcher = batcher
        self._receipts_public = receipts_public
        self._clock = clock
        self._resources: dict[Name, Resource] = {
            "votes": self._votes,
            "access": self._access,
            "ballot": self._ballot,
            "document": self._document,
            "receipt": self._receipt,
            "keys": self._keys,
            "livez": self._live,
            "readyz": self._ready,
        }

    async def handle(self, request: web.BaseRequest) -> Answer:
        """Answer one request; every error has the one form of `intake.replies`."""
        route = None
        try:
            route = admission.route(request.path)
            admission.check_method(route, request.method)
            return await self._resources[route.name](request, route)
        except Rejected as rejected:
            return self._refusal(rejected, route)
        except web.HTTPRequestEntityTooLarge:
            return self._refusal(admission.too_large(), route)
        except ConnectionError:
            raise  # the client went away: nobody is left to answer
        except Exception as error:  # noqa: BLE001  # the one place: a bug costs one request, and says so
            # The exception's text may quote the request: only its type is logged.
            name = route.name if route else ""
            log.alarm("request failed", resource=name, error=type(error).__name__, place=place(error))
            return self._refusal(replies.failed(vote=name == "votes"), route)

    async def _votes(self, request: web.BaseRequest, route: Route) -> Answer:
        response = await self._intake.cast(request, route.ballot)
        metrics.VOTES.count(CAST_OUTCOMES[response.status])
        return response

    async def _access(self, request: web.BaseRequest, route: Route) -> Answer:
        response = await self._intake.access(request, route.ballot)
        metrics.ACCESS.count(ACCESS_OUTCOMES[response.status])
        return response

    async def _ballot(self, _request: web.BaseRequest, route: Route) -> Answer:
        published = await self._ballots.find(route.ballot)
        window = await self._ballots.window(published)
        return replies.json_response(description(published, window, monotonic_s=self._clock.monotonic()))

    async def _document(self, _request: web.BaseRequest, route: Route) -> Answer:
        """The exact bytes that were signed."""
        published = await self._ballots.find(route.ballot)
        return Answer(published.document.canonical)

    async def _receipt(self, _request: web.BaseRequest, route: Route) -> Answer:
        published = await self._ballots.find(route.ballot)
        state = await self._ballots.receipt_state(published, route.reference)
        held = {"contact": published.contact} if state == "held" else {}
        return replies.json_response({"state": state, **held})

    async def _keys(self, _request: web.BaseRequest, _route: Route) -> Answer:
        """The keys that our signatures verify with: desk's, receipts', and of each ballot the result's."""
        desk = self._ballots.desk_key()
        keys = [] if desk is None else [key_entry("desk", desk)]
        keys.append(key_entry("receipts", self._receipts_public))
        keys.extend(
            key_entry("result", published.document.result_key) for published in await self._ballots.all()
        )
        return replies.json_response({"keys": keys})

    async def _live(self, _request: web.BaseRequest, _route: Route) -> Answer:
        return replies.json_response({"state": "live"})

    async def _ready(self, _request: web.BaseRequest, _route: Route) -> Answer:
        """200 only while a vote would be taken."""
        if not self._batcher.ready:
            return replies.json_response({"state": "not ready", "reason": self._batcher.reason}, status=503)
        return replies.json_response({"state": "ready"})

    def _refusal(self, rejected: Rejected, route: Route | None) -> Answer:
        """The answer to a refused request, counted under its error's name."""
        response = replies.refusal(rejected)
        name = route.name if route else ""
        if name == "votes":
            metrics.VOTES.count(rejected.rejection.value)
        elif name == "access":
            metrics.ACCESS.count(rejected.rejection.value)
        if rejected.rejection is Rejection.METHOD_NOT_ALLOWED and route is not None:
            response.headers["Allow"] = ", ".join(sorted(route.methods))
        return response


def key_entry(use: str, public: bytes) -> dict[str, Any]:
    """One published key, in the form of INTERFACES."""
    return {"id": key_id(public), "use": use, "alg": "Ed25519", "public_key": b64encode(public)}
