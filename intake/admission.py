"""What a request's head must look like before its body is taken in: address, method, type, size."""

from typing import Final

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from intake.request import Request
from intake.route import WRITE, Route, route

JSON: Final = "application/json"


def admit(request: Request) -> bool:
    """Give `request` its route, and say whether its body is needed; Rejected when the head alone is wrong."""
    otherwise = request.chunked and request.headers.get("Transfer-Encoding", "").strip().lower() != "chunked"
    if otherwise:
        request.keep_alive = False  # who frames it otherwise than we do sees other requests behind it
    request.route = found = route(request.path)
    check_method(found, request.method)
    if otherwise:
        raise Rejected(Rejection.MALFORMED, "This request is encoded in a way that we do not read.")
    if found.methods is not WRITE:
        return False
    headers = request.headers
    given = headers.get("Content-Type", "")
    if (given != JSON and given.partition(";")[0].strip().lower() != JSON) or "Content-Encoding" in headers:
        raise Rejected(Rejection.UNSUPPORTED_TYPE, f"Send this as {JSON}, without a content encoding.")
    return True


def check_method(route: Route, method: str) -> None:
    """Raise Rejected(METHOD_NOT_ALLOWED) unless this resource has `method`."""
    if method not in route.methods:
        raise Rejected(
            Rejection.METHOD_NOT_ALLOWED, f"This address takes only {' and '.join(sorted(route.methods))}."
        )


def declared_bytes(request: Request) -> int:
    """The length of the body as its head says; nothing for one in chunks."""
    return int(request.headers.get("Content-Length", "0"))


def wants_invitation(request: Request) -> bool:
    """Whether the client waits to be told to send its body."""
    return request.persistent and request.headers.get("Expect", "").lower() == "100-continue"


def too_large() -> Rejected:
    """More bytes than any request of ours has."""
    return Rejected(Rejection.TOO_LARGE, f"A request has at most {REQUEST_BYTES_MAX} bytes.")
