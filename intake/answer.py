"""One whole answer, written in one piece: aiohttp's own response without what we never use."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11

JSON: Final = "application/json"
_FIXED: Final = (
    f"Content-Type: {JSON}\r\n"
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Server: ballot\r\n"
)


def _lines(status: int) -> str:
    """The status line and the headers that every answer has."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{_FIXED}"


_HEAD: Final = {status.value: _lines(status) for status in HTTPStatus}


class Answer:
    """A JSON body with its status, not to be kept by any cache; `headers` are those that only it has.

    aiohttp asks three things of a response: `prepare`, then `write_eof`, and whether to `keep_alive`.
    """

    __slots__ = ("_request", "body", "headers", "keep_alive", "status")

    def __init__(self, body: bytes, *, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.headers: dict[str, str] = {}
        self.keep_alive = True
        self._request: web.BaseRequest | None = None

    def force_close(self) -> None:
        """Make this the connection's last answer."""
        self.keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Belong to `request`; while its body is still to come, whatever follows would be taken for it."""
        self._request = request
        self.keep_alive = self.keep_alive and request.keep_alive and request.content.is_eof()

    async def write_eof(self) -> None:
        """Write it all, and wait while the client reads too slowly; ConnectionError when it is gone."""
        if self._request is None:
            raise RuntimeError("an answer is prepared before it is written")
        writer = self._request.writer
        await writer.write(self.rendered(self._request))
        await writer.drain()

    def rendered(self, request: web.BaseRequest) -> bytes:
        """The bytes that answer `request`: for HEAD those of GET without the body."""
        own = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items()) if self.headers else ""
        if self.keep_alive != (request.version >= HttpVersion11):  # otherwise its version says it already
            own += f"Connection: {'keep-alive' if self.keep_alive else 'close'}\r\n"
        head = (
            f"{_HEAD[self.status]}{own}Date: {rfc822_formatted_time()}\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() if request.method == "HEAD" else head.encode() + self.body
