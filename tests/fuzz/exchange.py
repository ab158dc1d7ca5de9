"""One connection of a hostile client, and what must hold of every answer to it."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from ballot.rejection import Rejection
from intake.replies import STATUS
from tests.fuzz.ground import ANSWER_S

if TYPE_CHECKING:
    from tests.fuzz.drawn import Script

PAUSE_S: Final = 0.0005
QUIET_S: Final = 0.05
HEAD: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [A-Za-z ]+\r\n((?:[A-Za-z-]+: [^\r\n]*\r\n)*)\r\n")
LENGTH: Final = re.compile(rb"(?:^|\r\n)Content-Length: ([0-9]+)\r\n")
ALLOWED: Final = {100, 200, 201, *STATUS.values()} - {503}
NAMES: Final = {rejection.value for rejection in Rejection}


@dataclass(slots=True)
class Exchange:
    """What came back: each answer's status, how long it took, and whether the edge closed."""

    statuses: list[int] = field(default_factory=list)
    seconds: float = 0.0
    closed: bool = False
    broken: bool = False


def exchange(address: tuple[str, int], script: Script) -> Exchange:
    """Send the pieces, read until the edge closes or says no more, and judge what it said."""
    found = Exchange()
    started = time.monotonic()
    received = b""
    with socket.create_connection(address, timeout=ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in script.pieces:
                connection.sendall(piece)
                time.sleep(PAUSE_S)
            if script.closes:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # the edge had enough and closed
            found.broken = True
        try:
            while data := _more(connection, script, received):
                received += data
            found.closed = True
        except TimeoutError:
            assert received, f"neither an answer nor a close within {ANSWER_S} s"
        except ConnectionError:
            found.closed = found.broken = True
    found.seconds = time.monotonic() - started
    assert found.seconds < ANSWER_S + 1, f"{found.seconds:.1f} s"
    if script.closes:
        assert found.closed, "the edge kept a connection whose client had closed its half"
    _judge(received, found, script)
    return found


def _more(connection: socket.socket, script: Script, received: bytes) -> bytes:
    """More of the answers; a client that keeps its half open is content with a first whole answer."""
    content = not script.closes and b"\r\n\r\n" in received
    connection.settimeout(QUIET_S if content else ANSWER_S)
    return connection.recv(65_536)


def _judge(received: bytes, found: Exchange, script: Script) -> None:
    """Answers are whole, of the one form, with statuses that the API has."""
    place = 0
    while place < len(received):
        match = HEAD.match(received, place)
        if match is None:
            assert found.broken, f"not an answer: {received[place : place + 200]!r}"
            return
        status, fields = int(match[1]), match[2]
        assert status in ALLOWED, received[place : place + 400]
        found.statuses.append(status)
        place = match.end()
        if status == HTTPStatus.CONTINUE:
            continue
        length = LENGTH.search(b"\r\n" + fields)
        assert length is not None, fields
        body = received[place : place + int(length[1])]
        if script.heads and (not body or body.startswith(b"HTTP/1.1 ")):
            continue
        place += int(length[1])
        if len(body) < int(length[1]):
            assert found.broken, "an answer cut short"
            return
        if b"Content-Type: application/json\r\n" not in fields:
            assert b"Content-Security-Policy: default-src 'none'" in fields
            continue
        value = orjson.loads(body)
        if status >= HTTPStatus.BAD_REQUEST:
            assert value.keys() >= {"error", "message", "retry"}
            assert value["error"] in NAMES
            assert STATUS[Rejection(value["error"])] == status
