"""The generator's connection reads one answer for each request, in any form, and never waits for ever."""

import errno
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException

import pytest

from loadtests.crowds.line import ANSWER_BYTES_MAX, Broken, Line
from loadtests.voting.voter import Answer

REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
GOOD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n{-1}"
MOMENT_S = 0.2


class Teller:
    """A server that answers request n with the n-th list of pieces, and hangs up where there is None."""

    def __init__(self, answers: Sequence[Sequence[bytes | None]]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._answers = list(answers)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.accepted = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _serve(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while self._answers:
            asked = b""
            while len(asked) < len(REQUEST):
                more = connection.recv(4096)
                if not more:
                    return
                asked += more
            for piece in self._answers.pop(0):
                if piece is None:
                    return
                connection.sendall(piece)

    def close(self) -> None:
        """Stop listening."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@pytest.fixture
def tell() -> Iterator[list[Teller]]:
    """The servers of a test, closed after it."""
    tellers: list[Teller] = []
    yield tellers
    for teller in tellers:
        teller.close()


def line_to(tellers: list[Teller], answers: Sequence[Sequence[bytes | None]], seconds: float = 5.0) -> Line:
    """A line to a server with these answers."""
    tellers.append(Teller(answers))
    return Line(tellers[-1].url, tls=ssl.create_default_context(), seconds=seconds)


def test_a_connection_is_kept(tell: list[Teller]) -> None:
    """Three requests, one connection, three answers."""
    line = line_to(tell, [[GOOD]] * 3)

    answers = [line.exchange(REQUEST, now_s=0.0) for _ in range(3)]
    line.close()

    assert answers == [Answer(201, b"{-1}")] * 3
    assert line.connections == 1


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([GOOD[:5], GOOD[5:60], GOOD[60:]], Answer(201, b"{-1}")),
        (
            [b"HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n"],
            Answer(503, retry_after_seconds=3.0),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"],
            Answer(200, b"abc"),
        ),
        (
            [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"],
            Answer(200, b"x"),
        ),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly", None], Answer(0)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n", None], Answer(0)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1)], Answer(0)),
        ([b"SSH-2.0-what\r\n\r\n", None], Answer(0)),
        ([b"HTTP/1.1 20", None], Answer(0)),
        ([None], Answer(0)),
    ],
    ids=["pieces", "wait", "chunked", "100", "cut", "length", "long", "other", "head", "hung up"],
)
def test_an_answer_in_any_form(tell: list[Teller], pieces: list[bytes | None], expected: Answer) -> None:
    """What is no whole answer is none; and the next request gets the next answer, on whatever connection."""
    line = line_to(tell, [pieces, [GOOD]])

    assert line.exchange(REQUEST, now_s=0.0) == expected
    assert line.exchange(REQUEST, now_s=0.0) in {Answer(201, b"{-1}"), expected}
    line.close()


def test_an_answer_that_does_not_come_is_waited_for_so_long(tell: list[Teller]) -> None:
    """Then it is none, and the connection is not used again."""
    line = line_to(tell, [[b"HTTP/1.1 200"], [GOOD]], seconds=MOMENT_S)

    assert line.exchange(REQUEST, now_s=0.0) == Answer(0)
    assert line.exchange(REQUEST, now_s=0.0) == Answer(201, b"{-1}")
    line.close()
    assert line.connections == 2


def test_a_rested_connection_that_was_closed_is_made_again(tell: list[Teller]) -> None:
    """The server closed it meanwhile: the request is not lost on it."""
    line = line_to(tell, [[GOOD, None], [GOOD]])

    assert line.exchange(REQUEST, now_s=0.0).status == 201
    line.used(0.0)
    tell[0]._thread.join(0.05)
    assert line.exchange(REQUEST, now_s=60.0).status == 201
    line.close()
    assert line.connections == 2


@pytest.mark.parametrize(("rested_s", "connections"), [(30.0, 1), (61.0, 2)])
def test_a_connection_that_rested_long_is_not_used_again(
    tell: list[Teller], rested_s: float, connections: int
) -> None:
    """The server may close it at any moment from then on, also in that in which something is sent."""
    line = line_to(tell, [[GOOD], [GOOD]])

    assert line.exchange(REQUEST, now_s=0.0).status == 201
    line.used(0.0)
    assert line.exchange(REQUEST, now_s=rested_s).status == 201
    line.close()
    assert line.connections == connections


def test_nobody_there_is_no_answer() -> None:
    """A refused connection is an answer of status 0, as any other that does not come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    line = Line(f"http://127.0.0.1:{port}", tls=ssl.create_default_context(), seconds=1.0)

    assert line.exchange(REQUEST, now_s=0.0) == Answer(0)


def test_who_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    """The time is for the whole answer, not for each piece of it."""
    over = threading.Event()

    def dribble(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            for byte in GOOD:
                if over.wait(MOMENT_S / 4):
                    return
                connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=dribble, args=(listening,))
        server.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        line = Line(url, tls=ssl.create_default_context(), seconds=MOMENT_S)
        began_s = time.monotonic()
        answer = line.exchange(REQUEST, now_s=0.0)
        took_s = time.monotonic() - began_s
        over.set()
        server.join(5)
    assert answer == Answer(0)
    assert took_s < len(GOOD) * MOMENT_S / 4


def test_an_answer_that_breaks_the_reader_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted as none: a request that left no trace could not be judged."""

    def broken(*_: object) -> Answer:
        raise ZeroDivisionError

    monkeypatch.setattr(Line, "_answer", broken)
    teller = Teller([[GOOD]])
    try:
        line = Line(teller.url, tls=ssl.create_default_context(), seconds=5)
        assert line.exchange(REQUEST, now_s=0.0) == Answer(0)
        assert line.own_failure == "ZeroDivisionError"
    finally:
        teller.close()


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "EMFILE"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "EADDRNOTAVAIL"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), ""),
        (Broken("The answer did not come in time."), ""),
        (HTTPException("junk"), ""),
    ],
    ids=["no file left", "no port left", "nobody there", "too slow", "junk"],
)
def test_whose_fault_it_is_that_there_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, own: str
) -> None:
    """This side's, where it has no file or port left; else the server's or the line's."""
    line = Line("http://127.0.0.1:1", tls=ssl.create_default_context(), seconds=5)
    failing: list[Exception] = [error]

    def connected(_now_s: float) -> None:
        raise failing[0]

    monkeypatch.setattr(line, "_connected", connected)

    assert line.exchange(REQUEST, now_s=0.0) == Answer(0)
    assert line.own_failure == own
    failing[0] = ConnectionResetError()
    assert line.exchange(REQUEST, now_s=0.0) == Answer(0)
    assert line.own_failure == ""
