"""One connection, with loop and application played by hand: who is answered, in what order, how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected
from intake import admission, connection, replies
from intake.answer import Answer
from intake.connection import IDLE_S, LINGER_S, STALL_S, TURN_REQUESTS, Connection
from intake.framing import LINE_BYTES_MAX, READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from intake.request import Request

HEAD_S, BODY_S = 10.0, 7.0
VOTES = b"POST /api/v1/ballots/a/votes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(eq=False)
class Wire:
    """A transport that remembers."""

    written: bytearray = field(default_factory=bytearray)
    unread: int = 0
    reading: bool = True
    ended: bool = False
    closed: bool = False
    aborted: bool = False

    def set_write_buffer_limits(self, *, high: int) -> None:
        """Take the bound on answers that wait."""
        assert high <= 64 * 1024

    def get_extra_info(self, name: str) -> object:
        """Return where the client is; no TLS."""
        return ("192.0.2.1", 7) if name == "peername" else None

    def write(self, data: bytes) -> None:
        """Take an answer."""
        assert not self.ended
        self.written += data

    def write_eof(self) -> None:
        """Note that nothing more is written."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """Return what TCP says."""
        return True

    def pause_reading(self) -> None:
        """Stop."""
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        """Go on."""
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        """Return whether it is about to end."""
        return self.closed or self.aborted

    def close(self) -> None:
        """End."""
        self.closed = True

    def abort(self) -> None:
        """End at once."""
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        """Return what the client has not read."""
        return self.unread


@dataclass(eq=False)
class Bench:
    """The server and the application behind the connection; it answers at once, or when `finish` says."""

    loop: asyncio.AbstractEventLoop
    at_once: bool = True
    draining: bool = False
    time_s: float = 1_000.0
    head_s: float = HEAD_S
    body_s: float = BODY_S
    taken: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    left_ones: list[Connection] = field(default_factory=list)
    application: Any = None
    incoming: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))

    def __post_init__(self) -> None:
        """Be the application too."""
        self.application = self

    def now_s(self) -> float:
        """Return the time the test has set."""
        return self.time_s

    def rested(self, _connection: Connection) -> float:
        """Return what the server returns."""
        return self.time_s

    def joined(self, _connection: Connection) -> None:
        """One more."""

    def left(self, gone: Connection) -> None:
        """One less."""
        self.left_ones.append(gone)

    def admit(self, request: Request) -> bool:
        """Look at the head as the edge does."""
        try:
            if admission.admit(request):
                return True
        except Rejected as rejected:
            request.reply(self.refuse(rejected, request))
        else:
            self.handle(request)
        return False

    def handle(self, request: Request) -> None:
        """Answer with what was sent, now or later."""
        self.taken.append(request)
        self.waiting.append(request)
        if self.at_once:
            self.finish()

    def refuse(self, rejected: Rejected, _request: Request | None) -> Answer:
        """Return the answer to what is wrong."""
        return replies.refusal(rejected)

    def finish(self) -> None:
        """Answer the request that waits."""
        request = self.waiting.pop(0)
        request.reply(Answer(b"%b %b" % (request.path.encode(), request.body)))


@dataclass(eq=False)
class Client:
    """One connection with its two ends."""

    bench: Bench
    wire: Wire
    connection: Connection

    def send(self, data: bytes) -> None:
        """Let bytes arrive, as many at once as the connection has room for."""
        while data:
            room = self.connection.get_buffer(-1)
            length = min(len(room), len(data))
            room[:length] = data[:length]
            self.connection.buffer_updated(length)
            data = data[length:]

    def expire(self, seconds: float) -> None:
        """Let time pass, and the sweep come by if there is something for it to do."""
        self.bench.time_s += seconds
        if self.connection.deadline_s <= self.bench.time_s and not self.wire.is_closing():
            self.connection.expired()

    def statuses(self) -> list[int]:
        """Return the statuses of the answers."""
        return [int(head.split()[1]) for head, _ in answers(bytes(self.wire.written))]


def answers(written: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut what was written into heads and bodies; no answer here is to HEAD."""
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"Content-Length: ")[2])
        yield head, rest[:length]
        written = rest[length:]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never runs but what it is asked to call soon."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def connect(loop: asyncio.AbstractEventLoop) -> Callable[..., Client]:
    """Make connections."""

    def make(**changes: Any) -> Client:
        return connected(loop, **changes)

    return make


def connected(loop: asyncio.AbstractEventLoop, **changes: Any) -> Client:
    """Return a new connection."""
    bench, wire = Bench(loop, **changes), Wire()
    made = Connection(cast("Any", bench))
    made.connection_made(cast("Any", wire))
    return Client(bench, wire, made)


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let what was put off until the next turn of the loop happen."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def sized(body: bytes) -> bytes:
    """Return a vote of that body with its length."""
    return VOTES + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes, size: int) -> bytes:
    """Return a vote of that body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return VOTES + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


BODIES = st.binary(max_size=40) | st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 3_000])
REQUESTS = st.one_of(
    st.just((LIVE, b"/livez ")),
    st.just((b"\r\n" + LIVE.replace(b"livez", b"readyz?a=b"), b"/readyz ")),
    BODIES.map(lambda body: (sized(body), b"/api/v1/ballots/a/votes " + body)),
    st.tuples(BODIES, st.integers(1, 9)).map(
        lambda pair: (chunked(*pair), b"/api/v1/ballots/a/votes " + pair[0])
    ),
)


@given(
    asked=st.lists(REQUESTS, min_size=1, max_size=25),
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    at_once=st.booleans(),
    ends=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_split_gives_the_same_answers_in_order(
    loop: asyncio.AbstractEventLoop,
    asked: list[tuple[bytes, bytes]],
    cuts: list[int],
    *,
    at_once: bool,
    ends: bool,
) -> None:
    """However pipelined requests are cut, answered at once or late, each gets its own answer, in its turn."""
    client = connected(loop, at_once=at_once)
    sent = b"".join(request for request, _ in asked)

    while sent:
        for length in cuts:
            while not client.wire.reading:
                if client.bench.waiting:
                    client.bench.finish()
                turn(loop)
            client.send(sent[:length])
            sent = sent[length:]
    if ends:
        client.connection.eof_received()
    while client.bench.waiting or client.connection.state == connection.HOLDING:
        if client.bench.waiting:
            client.bench.finish()
        turn(loop)

    assert [body for _, body in answers(bytes(client.wire.written))] == [body for _, body in asked]
    assert set(client.statuses()) == {200}
    assert client.wire.closed == ends


def test_one_request_is_under_way_at_a_time(connect: Callable[..., Client]) -> None:
    """While the first is with the application the client is not read, and the second not even looked at."""
    client = connect(at_once=False)

    client.send(LIVE + sized(b"1"))
    assert len(client.bench.taken) == 1
    client.send(LIVE)
    assert not client.wire.reading
    client.bench.finish()
    assert [request.body for request in client.bench.taken] == [b"", b"1"]
    client.bench.finish()

    assert len(client.bench.taken) == 3
    client.bench.finish()
    assert client.wire.reading
    assert client.statuses() == [200, 200, 200]


def test_a_request_behind_a_body_that_came_later_is_found(connect: Callable[..., Client]) -> None:
    """The head was a read of its own; the body and the next request are another."""
    client = connect(at_once=False)

    client.send(VOTES + b"Content-Length: 1\r\n\r\n")
    client.send(b"1" + LIVE)
    client.bench.finish()
    client.bench.finish()

    assert client.statuses() == [200, 200]


def test_answers_in_a_row_give_others_their_turn(
    connect: Callable[..., Client], loop: asyncio.AbstractEventLoop
) -> None:
    """A thousand requests in one read are answered in as many turns of the loop as it takes."""
    client = connect()

    client.send(LIVE * 100)
    assert len(client.statuses()) == TURN_REQUESTS
    while client.connection.state == connection.HOLDING:
        turn(loop)

    assert client.statuses() == [200] * 100


def test_a_client_that_does_not_read_gets_no_further_answer(connect: Callable[..., Client]) -> None:
    """Its next request waits until it has caught up; if it never does, it is let go."""
    client, stuck = connect(), connect()
    for each in (client, stuck):
        each.connection.pause_writing()
        each.send(LIVE * 2)
        assert len(each.statuses()) == 1

    client.connection.resume_writing()
    stuck.expire(STALL_S + 1)

    assert client.statuses() == [200, 200]
    assert stuck.wire.aborted


def test_slow_heads_are_given_up(connect: Callable[..., Client]) -> None:
    """A head that is not whole in time is answered so, even if a byte comes now and then."""
    client = connect()
    client.send(LIVE)
    client.expire(IDLE_S - 1)
    assert client.statuses() == [200]

    client.send(b"GET ")
    client.expire(HEAD_S - 1)
    client.send(b"/li")
    client.expire(2)

    assert client.statuses() == [200, 400]
    assert b'"retry":true' in client.wire.written
    assert client.wire.ended


def test_a_head_begun_behind_a_request_is_given_up_too(connect: Callable[..., Client]) -> None:
    """Also when its first bytes came with the request before."""
    client = connect()

    client.send(LIVE + b"GET ")
    client.expire(HEAD_S + 1)

    assert client.statuses() == [200, 400]


def test_idle_connections_are_closed(connect: Callable[..., Client]) -> None:
    """One that never asked anything soon, one that did later; neither is sent anything."""
    new, used = connect(), connect()
    used.send(LIVE)

    for client in (new, used):
        client.expire(HEAD_S + 1)
    assert new.wire.closed
    assert not new.wire.written
    assert not used.wire.closed
    used.expire(IDLE_S)

    assert used.wire.closed
    assert used.statuses() == [200]


def test_slow_bodies_are_given_up(connect: Callable[..., Client]) -> None:
    """400 with leave to try again, within the bound on bodies."""
    client = connect()

    client.send(VOTES + b"Content-Length: 10\r\n\r\n12345")
    client.expire(BODY_S - 1)
    client.send(b"6")
    client.expire(2)

    assert client.statuses() == [400]
    assert b'"retry":true' in client.wire.written


def test_what_is_under_way_has_no_deadline_here(connect: Callable[..., Client]) -> None:
    """The application bounds its own time: nobody who waits for the queue is cut off."""
    client = connect(at_once=False)

    client.send(sized(b"1"))
    client.expire(10 * IDLE_S)
    client.bench.finish()

    assert client.statuses() == [200]


def test_the_place_for_a_read_is_free_for_the_next(connect: Callable[..., Client]) -> None:
    """Nothing of a connection stays in it: what another one reads there changes no request."""
    client = connect(at_once=False)

    client.send(sized(b"1" * 100)[:-50])
    client.bench.incoming[:] = bytes(READ_BYTES)
    client.send(b"1" * 50 + LIVE)
    client.bench.incoming[:] = bytes(READ_BYTES)
    client.bench.finish()
    client.bench.finish()

    assert client.statuses() == [200, 200]
    assert bytes(client.wire.written).count(b"1" * 100) == 1


def test_the_last_answer_is_not_overtaken_by_a_reset(connect: Callable[..., Client]) -> None:
    """After it nothing more is written, what comes is read and thrown away, and only then it is closed."""
    client, slow = connect(), connect()
    for each in (client, slow):
        each.send(LIVE.replace(b"Host", b"Connection: close\r\nHost"))
        assert each.wire.ended
        assert not each.wire.is_closing()
        each.send(b"whatever" * 1_000)

    assert client.connection.eof_received() is False
    slow.wire.unread = 5
    slow.expire(LINGER_S + 1)
    assert not slow.wire.is_closing()
    slow.expire(STALL_S + 1)

    assert client.statuses() == slow.statuses() == [200]
    assert slow.wire.aborted


def test_a_client_that_shuts_its_side_gets_its_answer(connect: Callable[..., Client]) -> None:
    """Whatever it had sent by then is answered; then the connection is closed."""
    client = connect(at_once=False)

    client.send(LIVE + sized(b"1"))
    assert client.connection.eof_received()
    client.bench.finish()
    assert not client.wire.closed
    client.bench.finish()

    assert client.statuses() == [200, 200]
    assert client.wire.closed


@pytest.mark.parametrize("part", [b"GET /livez", VOTES + b"Content-Length: 5\r\n\r\n1"], ids=["head", "body"])
def test_half_a_request_and_no_more_is_malformed(connect: Callable[..., Client], part: bytes) -> None:
    """The client is told so, although it should know."""
    for sent in ([part], [LIVE + part], [LIVE, part]):
        client = connect()
        for each in sent:
            client.send(each)
        client.connection.eof_received()

        assert client.statuses()[-1] == 400
        assert client.wire.closed


def test_a_client_that_is_gone_gets_nothing(connect: Callable[..., Client]) -> None:
    """Its vote is decided, and the answer is dropped without a word."""
    client = connect(at_once=False)

    client.send(sized(b"1"))
    client.connection.connection_lost(ConnectionResetError())
    client.bench.finish()

    assert not client.wire.written
    assert client.bench.left_ones == [client.connection]


def test_stopping_ends_idle_connections_and_waits_for_answers(connect: Callable[..., Client]) -> None:
    """The idle one is told at once, the busy one with its answer, which says that it is the last."""
    idle, busy = connect(), connect(at_once=False)
    idle.send(LIVE)
    busy.send(sized(b"1"))

    for client in (idle, busy):
        client.bench.draining = True
        client.connection.drain()
    assert idle.wire.ended
    assert not busy.wire.ended
    busy.bench.finish()

    assert busy.wire.ended
    assert b"\r\nConnection: close\r\n" in busy.wire.written
    assert b"Connection" not in idle.wire.written


HOSTILE: dict[str, bytes] = {
    "length and chunks": VOTES + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": VOTES + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": VOTES + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n123",
    "list of lengths": VOTES + b"Content-Length: 3, 3\r\n\r\n123",
    "signed length": VOTES + b"Content-Length: +3\r\n\r\n123",
    "other coding": VOTES + b"Transfer-Encoding: gzip\r\n\r\n",
    "further coding": VOTES + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "further coding of a read": LIVE[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding after chunked": VOTES + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "coding like chunked": VOTES + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded line": b"GET /livez HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "bare line feed": b"GET /livez HTTP/1.1\nHost: a\n\n",
    "bare carriage return": b"GET /livez HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    "chunk ends with line feed": VOTES + b"Transfer-Encoding: chunked\r\n\r\n1\n1\n0\n\n",
    "chunk too long": VOTES + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n1",
    "zero byte": b"GET /livez HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "unknown method": b"FOO /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long line": b"GET /" + b"x" * LINE_BYTES_MAX + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long header": b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 65 + b"\r\n",
    "large head": b"GET /livez HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"x" * 8_000 + b"\r\n") * 9 + b"\r\n",
    "endless head": b"GET /livez HTTP/1.1\r\nHost: a\r\nX:" + b" " * 140_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("length", [1 << 20, 4_000, 1], ids=["whole", "in parts", "byte by byte"])
def test_what_could_be_read_in_two_ways_is_not_read(
    connect: Callable[..., Client], name: str, length: int
) -> None:
    """400, the connection ends, and what stands behind it is no request."""
    client = connect()
    sent = HOSTILE[name] + LIVE

    for at in range(0, len(sent), length):
        client.send(sent[at : at + length])

    assert client.statuses() == [400]
    assert client.wire.ended
    assert not client.bench.taken


@pytest.mark.parametrize(
    "upgrade",
    [
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.0\r\n\r\n",
    ],
)
def test_an_answer_after_which_framing_is_in_doubt_is_the_last(
    connect: Callable[..., Client], upgrade: bytes
) -> None:
    """Upgrades are ignored, and what follows is not read as HTTP."""
    client = connect()

    client.send(upgrade + LIVE)

    assert client.statuses() == [200]
    assert client.wire.ended


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % (REQUEST_BYTES_MAX + 1),
        b"Content-Length: %d\r\n\r\n%b" % (REQUEST_BYTES_MAX + 1, b"x" * (REQUEST_BYTES_MAX + 1)),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (REQUEST_BYTES_MAX + 1, b"x" * (REQUEST_BYTES_MAX + 1)),
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n",
    ],
    ids=["declared", "sent", "in chunks", "in crumbs"],
)
@pytest.mark.parametrize("length", [1 << 20, 1_000], ids=["whole", "in parts"])
def test_too_much_is_too_large(connect: Callable[..., Client], body: bytes, length: int) -> None:
    """413 as soon as it is known, and the connection ends."""
    client = connect()
    sent = VOTES + body + LIVE

    for at in range(0, len(sent), length):
        client.send(sent[at : at + length])

    assert client.statuses() == [413]
    assert client.wire.ended
    assert not client.bench.taken


def test_a_client_that_asks_first_is_invited_once(connect: Callable[..., Client]) -> None:
    """The invitation precedes the answer; HTTP/1.0 knows none."""
    client, old = connect(), connect()

    client.send(VOTES + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert client.wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"1")
    client.send(b"2")
    old.send(VOTES.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")

    assert client.wire.written.count(b"HTTP/1.1 ") == 2
    assert client.wire.written.endswith(b"votes 12")
    assert not old.wire.written


def test_a_bug_costs_one_connection(connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """503 that says to try again, and the connection ends; the loop never sees the exception."""
    client = connect()

    def broken(_request: Request) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(client.bench, "admit", broken)
    client.send(LIVE)

    assert client.statuses() == [503]
    assert client.wire.ended
