"""aiohttp's lower layers as the edge uses them: bounded, silent about what was sent, one form of error."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from intake import replies
from intake.answer import Answer
from intake.faults import place
from runtime import logs

log = logs.get("http")

LINE_BYTES_MAX: Final = 2_048
"""The longest request line: our longest path has 84 characters."""

FIELD_BYTES_MAX: Final = 8_190
"""One header; proxies and browsers send cookies of their own."""

HEADERS_MAX: Final = 64
IDLE_S: Final = 75.0
LINGER_S: Final = 2.0
BACKLOG: Final = 4_096

Handler = Callable[[web.BaseRequest], Awaitable[Answer]]

# aiohttp logs a bad request with the bytes that were sent, and those may hold a vote: nothing of it is kept.
_silent = logging.getLogger("intake.silent")
_silent.disabled = True


class _Protocol(web.RequestHandler):
    """One connection. What aiohttp itself cannot read gets the same form of answer as everything else."""

    __slots__ = ()

    def handle_error(  # type: ignore[override]  # an answer of ours does all that aiohttp asks of a response
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # it may quote what was sent
    ) -> Answer:
        """Answer what never became a request (400), or what the client broke off."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was already under way")
        if status < 500:  # noqa: PLR2004  # the HTTP status classes
            response = replies.refusal(
                Rejected(Rejection.MALFORMED, "This is not an HTTP request we can read.")
            )
        else:
            where = "" if exc is None else place(exc)
            log.alarm("connection failed", error=type(exc).__name__, place=where)
            response = replies.refusal(replies.failed(vote=False))
        response.force_close()
        return response


class _Server(web.Server):
    """Makes a connection of ours for each that arrives."""

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """A request whose body is never read past the one bound."""
    return web.BaseRequest(
        message,
        payload,
        protocol,
        writer,
        task,
        asyncio.get_running_loop(),
        client_max_size=REQUEST_BYTES_MAX,
    )


def runner(handler: Handler, *, drain_s: float) -> web.ServerRunner:
    """A server for `handler`, not yet listening; on stopping, answers under way have `drain_s`."""
    bounds: dict[str, Any] = {
        "max_line_size": LINE_BYTES_MAX,
        "max_field_size": FIELD_BYTES_MAX,
        "max_headers": HEADERS_MAX,
        "keepalive_timeout": IDLE_S,
        "lingering_time": LINGER_S,
        "auto_decompress": False,
        "access_log": None,
        "logger": _silent,
    }
    server = _Server(cast("Any", handler), request_factory=make_request, **bounds)
    return web.ServerRunner(server, shutdown_timeout=drain_s)


async def listen(on: web.ServerRunner, listening: socket.socket) -> None:
    """Take connections from an already bound socket, which may be shared with other processes."""
    await on.setup()
    await web.SockSite(on, listening, backlog=BACKLOG).start()
