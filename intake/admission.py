"""What a request must look like before anything is done for it: path, method, type, size, and in time."""

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from aiohttp import web

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from intake import replies

JSON: Final = "application/json"
READ: Final = frozenset({"GET", "HEAD"})
WRITE: Final = frozenset({"POST"})

_BALLOT: Final = re.compile(
    r"/api/v1/ballots/([a-z0-9-]{1,40})(?:/(document|access|votes|receipts/([^/]{1,40})))?"
)
_FIXED: Final[dict[str, "Name"]] = {"/api/v1/keys": "keys", "/livez": "livez", "/readyz": "readyz"}
_TAILS: Final[dict[str | None, "Name"]] = {
    None: "ballot",
    "document": "document",
    "access": "access",
    "votes": "votes",
}
_METHODS: Final = {"access": WRITE, "votes": WRITE}


Name = Literal["votes", "access", "ballot", "document", "receipt", "keys", "livez", "readyz"]


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for: `name` of the resource, and the ballot and reference in its path."""

    name: Name
    ballot: str = ""
    reference: str = ""

    @property
    def methods(self) -> frozenset[str]:
        """The methods it has."""
        return _METHODS.get(self.name, READ)


@lru_cache(maxsize=4_096)
def route(path: str) -> Route:
    """The resource at `path`; Rejected(NOT_FOUND) when there is none."""
    match = _BALLOT.fullmatch(path)
    if match is not None:
        ballot, tail, reference = match.groups()
        if reference is not None:
            return Route("receipt", ballot, reference)
        return Route(_TAILS[tail], ballot)
    name = _FIXED.get(path)
    if name is None:
        raise replies.not_found()
    return Route(name)


def check_method(route: Route, method: str) -> None:
    """Raise Rejected(METHOD_NOT_ALLOWED) unless this resource has `method`."""
    if method not in route.methods:
        raise Rejected(
            Rejection.METHOD_NOT_ALLOWED, f"This address takes only {' and '.join(sorted(route.methods))}."
        )


async def read_json(request: web.BaseRequest, *, timeout_s: float) -> bytes:
    """The request's body: declared as JSON, not encoded further, small enough, all there in time."""
    if request.content_type != JSON or "Content-Encoding" in request.headers:
        raise Rejected(Rejection.UNSUPPORTED_TYPE, f"Send this as {JSON}, without a content encoding.")
    if (request.content_length or 0) > REQUEST_BYTES_MAX:
        raise too_large()
    if request.content.is_eof():  # as most bodies, it came with the head
        body = request.content.read_nowait()
        if len(body) > REQUEST_BYTES_MAX:
            raise too_large()
        return body
    if request.headers.get("Expect", "").lower() == "100-continue":
        await _invite(request)
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large() from None
    except TimeoutError:
        raise replies.late() from None
    except web.RequestPayloadError:
        raise Rejected(Rejection.MALFORMED, "The request's body did not arrive whole.") from None


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body; the answer proper starts counting from nothing."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def too_large() -> Rejected:
    """More bytes than any request of ours has."""
    return Rejected(Rejection.TOO_LARGE, f"A request has at most {REQUEST_BYTES_MAX} bytes.")
