"""One request as the edge sees it: its head, later its whole body, and where its one answer goes."""

from typing import Any, Protocol

from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage

from intake.answer import Answer
from intake.route import NOWHERE, Route


class Origin(Protocol):
    """Where a request came from."""

    def answered(self, request: "Request", answer: Answer) -> None:
        """Send `answer` to whoever sent `request`, unless nobody is there any more."""


class Request:
    """What was asked. `body` is empty until all of it is there; `remote` is the peer's address, or ''."""

    __slots__ = (
        "_origin",
        "_url",
        "body",
        "chunked",
        "headers",
        "keep_alive",
        "method",
        "persistent",
        "remote",
        "route",
        "target",
    )

    def __init__(self, message: RawRequestMessage, *, remote: str, origin: Origin) -> None:
        self.method: str = message.method
        self.target: str = message.path
        self.headers: Any = message.headers
        self.chunked: bool = message.chunked
        version = message.version
        self.persistent: bool = version is HttpVersion11 or version >= HttpVersion11
        # A connection that might turn into another protocol, or whose framing another server may read
        # otherwise than we do, ends with the answer.
        odd = message.upgrade or (message.chunked and not self.persistent)
        self.keep_alive = not (message.should_close or odd)
        self.remote = remote
        self.body = b""
        self.route: Route = NOWHERE
        self._url = message.url
        self._origin = origin

    @property
    def path(self) -> str:
        """The path alone, without escapes."""
        target = self.target
        if target.startswith("/") and not ("%" in target or "?" in target or "#" in target):
            return target
        return str(self._url.path)

    @property
    def asked_language(self) -> str | None:
        """The one part of a query that any resource looks at."""
        return self._url.query.get("lang") if "?" in self.target else None

    def reply(self, answer: Answer) -> None:
        """Answer this request; only the first answer counts."""
        self._origin.answered(self, answer)
