"""Which bytes are a request: aiohttp's parser, the bounds it keeps, and what it says of anything else."""

import asyncio
from typing import Any, Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection

LINE_BYTES_MAX: Final = 2_048
"""The longest request line: our longest path has 84 characters."""

FIELD_BYTES_MAX: Final = 8_190
"""One header; proxies and browsers send cookies of their own."""

HEADERS_MAX: Final = 64
HEAD_BYTES_MAX: Final = 64 * 1024
"""All of a head; with the bounds on each header alone it could be half a megabyte."""

READ_BYTES: Final = 16 * 1024
"""Taken from a connection at once: several votes; more would only wait in our memory."""

HEAD_END: Final = b"\r\n\r\n"
UNREADABLE: Final = (HttpProcessingError, ValueError)
"""What the parser raises for bytes that are no request of HTTP/1."""


def parser(protocol: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """A parser of requests, which stops behind each; it asks `protocol` to pause a body that is too much."""
    return HttpRequestParser(
        protocol,
        loop,
        REQUEST_BYTES_MAX,
        max_line_size=LINE_BYTES_MAX,
        max_headers=HEADERS_MAX,
        max_field_size=FIELD_BYTES_MAX,
        auto_decompress=False,
        max_msg_queue_size=1,
    )


def unreadable() -> Rejected:
    """What never became a request."""
    return Rejected(Rejection.MALFORMED, "This is not an HTTP request we can read.")
