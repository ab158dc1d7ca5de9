"""One kept-alive connection of a Locust user, made for prepared bytes: a request as it is, and its answer.

Locust's own `client` costs 122 microseconds of CPU a request where this costs about 20 (measured beside each
other, ten header lines, 2 kB out and 0.8 kB in), and the generator shares its cores with what it measures.
An answer in any form but the plainest is read by the parser that FastHttpUser uses.
"""

import errno
import select
import ssl
from http.client import HTTPException
from urllib.parse import urlsplit

import gevent
import gevent.socket
from geventhttpclient.response import HTTPResponse

from loadtests.voting.door import seconds_to_wait
from loadtests.voting.voter import Answer

READ_BYTES = 16_384
ANSWER_BYTES_MAX = 256_000
IDLE_S = 1.0
"""A connection that has rested for longer is looked at before it is used: the server may have closed it."""

RESTED_S_MAX = 60.0
"""One that has rested for so long is not used again: an edge closes it after 75 s, and what is sent in that
very instant is lost."""

OURS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
)
"""Why a connection fails that never got as far as the server."""

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
CLOSING = b"\r\nconnection: close"
WAITING = b"\r\nretry-after:"
PLAIN = b"HTTP/1.1 "
STATUS_LINE_BYTES = 12


class Broken(OSError):  # noqa: N818  # named for what became of it
    """The connection ended, or what came over it is no answer."""


class Line:
    """A connection to the server at `url`, made when it is first needed and again when it has gone.

    Not for two greenlets at once. `tls` verifies an https server; `source` is the address it comes from.
    """

    def __init__(self, url: str, *, tls: ssl.SSLContext, seconds: float, source: str | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = tls if parts.scheme == "https" else None
        self._port = parts.port or (80 if self._tls is None else 443)
        self._seconds = seconds
        self.source = source
        self._socket: gevent.socket.socket | None = None
        self._used_s = 0.0
        self.connections = 0
        self.own_failure = ""

    def exchange(self, request: bytes, *, now_s: float) -> Answer:
        """The answer to `request`; status 0 if none came whole in time, whatever came instead.

        `now_s`: a monotonic clock, for what has rested. `own_failure` then says what there was amiss on this
        side, and nothing if it was the server's or the line's.
        """
        self.own_failure = ""
        try:
            with gevent.Timeout(self._seconds, Broken("The answer did not come in time.")):
                connection = self._connected(now_s)
                connection.sendall(request)
                return self._answer(connection)
        except Exception as error:  # noqa: BLE001  # no form of an answer may make a request vanish
            self.own_failure = _own(error)
            self.close()
            return Answer(0)

    def used(self, now_s: float) -> None:
        """Note when the connection was last in use."""
        self._used_s = now_s

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self, now_s: float) -> gevent.socket.socket:
        """The connection, whole as far as one can see."""
        rested_s = now_s - self._used_s
        if self._socket is not None and (
            rested_s > RESTED_S_MAX or (rested_s > IDLE_S and _has_something(self._socket))
        ):
            self.close()  # nothing was asked: what is there to read is its end
        if self._socket is None:
            local = None if self.source is None else (self.source, 0)
            server = (self._host, self._port)
            connection = gevent.socket.create_connection(server, self._seconds, source_address=local)
            try:
                connection.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_hostname=self._host)
                    connection.settimeout(self._seconds)
            except BaseException:
                connection.close()
                raise
            self._socket = connection
            self.connections += 1
        return self._socket

    def _answer(self, connection: gevent.socket.socket) -> Answer:
        """Read one answer, no more."""
        data = connection.recv(READ_BYTES)
        while (end := data.find(HEAD_END)) < 0:
            data += self._more(connection, data)
        head = data[:end].lower()
        at = head.find(LENGTH)
        status = data[len(PLAIN) : STATUS_LINE_BYTES]
        if not data.startswith(PLAIN) or at < 0 or not status.isdigit() or status < b"200":
            return self._any_form(connection, data)
        length = _number(head, at + len(LENGTH))
        whole = end + len(HEAD_END) + length
        if length > ANSWER_BYTES_MAX:
            raise Broken("The answer is too long.")
        while len(data) < whole:
            data += self._more(connection, data)
        if len(data) > whole or CLOSING in head:
            self.close()
        waits = head.find(WAITING)
        seconds = 0.0 if waits < 0 else seconds_to_wait(_text(head, waits + len(WAITING)))
        return Answer(int(status), data[end + len(HEAD_END) : whole], seconds)

    def _any_form(self, connection: gevent.socket.socket, data: bytes) -> Answer:
        """The answer that begins with `data`, in any form of HTTP/1; the connection is not used again."""
        parser = HTTPResponse()
        parser.feed(data)
        read = len(data)
        while not parser.message_complete:
            more = connection.recv(READ_BYTES)
            parser.feed(more)
            read += len(more)
            if not more or read > ANSWER_BYTES_MAX:
                break
        self.close()
        if not parser.message_complete:
            raise Broken("The answer did not come whole.")
        waits = parser.get("retry-after")
        return Answer(
            parser.status_code,
            bytes(parser._body_buffer),  # noqa: SLF001  # its own read() wants a socket
            seconds_to_wait(waits if isinstance(waits, str) else None),
        )

    @staticmethod
    def _more(connection: gevent.socket.socket, data: bytes) -> bytes:
        """More of an answer of which `data` is there."""
        more: bytes = connection.recv(READ_BYTES)
        if not more or len(data) > ANSWER_BYTES_MAX:
            raise Broken("The connection ended before the answer did.")
        return more


def _own(error: Exception) -> str:
    """What failed on this side, by `error`: no file, port or memory for it, or a fault of ours."""
    if isinstance(error, OSError):
        return errno.errorcode[error.errno] if error.errno in OURS else ""
    return "" if isinstance(error, HTTPException) else type(error).__name__


def _has_something(connection: gevent.socket.socket) -> bool:
    """Whether there is anything to read, the end included."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _text(head: bytes, begin: int) -> str:
    """The value of a header line from `begin` on."""
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else len(head)].strip().decode("latin-1")


def _number(head: bytes, begin: int) -> int:
    """The same as a number; whatever else it is, is no answer."""
    text = _text(head, begin)
    if not text.isascii() or not text.isdigit():
        raise Broken("The answer's length is no number.")
    return int(text)
