"""One whole answer: what every answer says of itself stands ready, only the date changes.

It is written in one piece, but for large bodies that do not change: those are shared by all who wait for one.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

JSON: Final = "application/json"
_SERVER: Final = b"Server: ballot\r\n"
CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"


def lines(headers: Mapping[str, str]) -> bytes:
    """`headers` as they stand in a head."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


JSON_LINES: Final = lines(
    {"Content-Type": JSON, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
)
_STATUS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_TRANSPORT: Final = b"Strict-Transport-Security: max-age=63072000\r\n"
"""Browsers come back by TLS for two years; other names below ours are not ours to speak for."""


class _Common:
    """What every answer has, made once: `every` its lines, `heads` with them those of JSON by status."""

    __slots__ = ("every", "heads")

    def __init__(self) -> None:
        self.say(_SERVER)

    def say(self, every: bytes) -> None:
        """Have these lines in every answer from now on."""
        self.every = every
        self.heads = {status: line + JSON_LINES + every for status, line in _STATUS.items()}


_common: Final = _Common()


class _Dates:
    """The lines from the date on, made once a second."""

    __slots__ = ("_ends", "_plain", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._ends = b""
        self._plain: dict[int, bytes] = {}

    def forget(self) -> None:
        """Make them anew."""
        self._second = -1

    def ends(self) -> bytes:
        """The date, and the length's name."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._ends = f"Date: {formatdate(second, usegmt=True)}\r\nContent-Length: ".encode()
            self._plain.clear()
        return self._ends

    def plain(self, status: int) -> bytes:
        """The whole head but the length, for an answer that has no headers of its own."""
        ends = self.ends()
        found = self._plain.get(status)
        if found is None:
            found = self._plain[status] = _common.heads[status] + ends
        return found


_dates: Final = _Dates()


def over_tls(*, on: bool) -> None:
    """Say in every answer, or in none, that browsers are to come back by TLS: this process itself ends it."""
    _common.say(_SERVER + _TRANSPORT if on else _SERVER)
    _dates.forget()


class Answer:
    """A JSON body with its status, not to be kept by any cache; `headers` are those that only it has."""

    __slots__ = ("body", "headers", "keep_alive", "status")

    tail: bytes = b""
    """What `rendered` leaves out, to be written right behind it."""

    def __init__(self, body: bytes, *, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.headers: dict[str, str] = {}
        self.keep_alive = True

    def force_close(self) -> None:
        """Make this the connection's last answer."""
        self.keep_alive = False

    def rendered(self, *, persistent: bool = True, keep_alive: bool = True, bodiless: bool = False) -> bytes:
        """Its bytes; `persistent`: the client's version keeps a connection unless told otherwise.

        Whether the connection goes on is said only where the version does not say it. `bodiless` is for HEAD.
        """
        body = b"" if bodiless else self.body
        if not self.headers and keep_alive == persistent:
            return b"%b%d\r\n\r\n%b" % (_dates.plain(self.status), len(self.body), body)
        own = lines(self.headers)
        if keep_alive != persistent:
            own += KEEP_ALIVE if keep_alive else CLOSE
        return b"%b%b%b%d\r\n\r\n%b" % (_common.heads[self.status], own, _dates.ends(), len(self.body), body)


class Typed(Answer):
    """A body of another kind: `fixed`, made by `lines`, stands in place of what every JSON answer says."""

    __slots__ = ("fixed",)

    def __init__(self, body: bytes, fixed: bytes, *, status: int = 200) -> None:
        super().__init__(body, status=status)
        self.fixed = fixed

    def rendered(self, *, persistent: bool = True, keep_alive: bool = True, bodiless: bool = False) -> bytes:
        """Its bytes, as those of any answer."""
        own = lines(self.headers)
        if keep_alive != persistent:
            own += KEEP_ALIVE if keep_alive else CLOSE
        head = b"%b%b%b%b%b%d\r\n\r\n" % (
            _STATUS[self.status],
            self.fixed,
            own,
            _common.every,
            _dates.ends(),
            len(self.body),
        )
        return head if bodiless else head + self.body


class Shared(Typed):
    """A large body that many answers have: each connection waits with the same bytes, not with a copy."""

    __slots__ = ("tail",)

    def rendered(self, *, persistent: bool = True, keep_alive: bool = True, bodiless: bool = False) -> bytes:
        """The head alone; the body follows as the tail."""
        self.tail = b"" if bodiless else self.body
        return super().rendered(persistent=persistent, keep_alive=keep_alive, bodiless=True)
