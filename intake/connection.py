"""One client's connection: which bytes are which request, in what order they are answered, when it ends.

aiohttp's parser reads heads and bodies; everything else is decided here. One request is under way at a time:
what a client sends meanwhile waits, and reading stops until its turn comes, so that nobody holds more of our
memory than two reads, one body and one buffer of answers. A connection is always in exactly one state:

    WAITING    for a head: idle, or with a part of it there
    BODY       the head was let in, its body is still arriving
    ANSWERING  the request is with the application
    HOLDING    answers wait for a client that reads slowly, or other connections have their turn
    LINGERING  the last answer is written; what still comes is thrown away, else a reset could overtake it
    CLOSED

Time is kept by the server's sweep, once a second: a deadline is a number here, never a timer of its own.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ballot.limits import REQUEST_BYTES_MAX
from ballot.rejection import Rejected, Rejection
from intake import admission, replies
from intake.faults import place
from intake.framing import HEAD_BYTES_MAX, HEAD_END, UNREADABLE, parser, unreadable
from intake.request import Request
from runtime import logs

if TYPE_CHECKING:
    from intake.answer import Answer
    from intake.server import Server

log = logs.get("http")

TURN_REQUESTS: Final = 16
"""Answers in a row that need nobody else; then the other connections have their turn."""

IDLE_S: Final = 75.0
LINGER_S: Final = 2.0
DRAIN_LINGER_S: Final = 0.5
STALL_S: Final = 30.0
"""How long answers wait for a client that does not read them."""

UNREAD_BYTES: Final = 16 * 1024
"""With more than so many bytes of answers waiting for a client, it gets no further one."""

NEVER: Final = float("inf")
WAITING, BODY, ANSWERING, HOLDING, LINGERING, CLOSED = range(6)
TAKING: Final = frozenset({WAITING, BODY})
"""What arrives is looked at now."""

INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.BufferedProtocol):
    """The state of one connection; `peer` is its client's address when whoever accepted it knows better."""

    __slots__ = (
        "_advancing",
        "_alone",
        "_begun_bytes",
        "_eof",
        "_held",
        "_overfull",
        "_parser",
        "_payload",
        "_request",
        "_server",
        "_stalled",
        "_stopped",
        "_stuffed",
        "_sure_idle",
        "_transport",
        "_turn",
        "deadline_s",
        "peer",
        "state",
    )

    def __init__(self, server: "Server", peer: str | None = None) -> None:
        self._server = server
        self.peer = peer
        self.state = WAITING
        self.deadline_s = NEVER
        self._transport: Any = None
        self._parser: Any = parser(self, server.loop)
        self._request: Request | None = None
        self._payload: Any = None
        self._held = b""
        self._alone = self._overfull = False
        self._begun_bytes = 0
        self._sure_idle = True
        self._turn = 0
        self._advancing = self._eof = self._stuffed = self._stopped = self._stalled = False

    # What the loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room for one more."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=UNREAD_BYTES)
        if self.peer is None:
            peer = transport.get_extra_info("peername")
            self.peer = str(peer[0]) if isinstance(peer, (list, tuple)) else str(peer or "")
        self.deadline_s = self._server.now_s() + self._server.head_s
        self._server.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002  # why is nobody's concern
        """Forget it; a vote that is under way is decided all the same."""
        self.state = CLOSED
        self._request = self._payload = None
        self._held = b""
        self._server.left(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # one size for all
        """Where the next read goes: one place for all connections, emptied before another one's read."""
        return self._server.incoming

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what arrived, or let it wait for its turn."""
        data = self._server.incoming[:nbytes].tobytes()
        state = self.state
        if state in TAKING:
            self._advance(data)
        elif state in {ANSWERING, HOLDING}:
            self._held += data
            if not self._stopped:
                self._stopped = True
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more; what it sent is still answered, except over TLS, which ends both ways."""
        self._eof = True
        if self.state in TAKING:
            self._advance(b"")
        elif self.state == LINGERING:
            return False
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """The client reads more slowly than we answer: no further request of its is taken up for now."""
        self._stuffed = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._stuffed = False
        self._next_turn()

    # What a body asks of its protocol.

    def pause_reading(self) -> None:
        """It is far too large, or comes in thousands of crumbs, each of which costs more than it brings."""
        self._overfull = True

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """It has ended."""

    # Requests, one after the other.

    def _advance(self, data: bytes) -> None:
        """Parse `data` and what waits behind it, until there is something to wait for."""
        self._turn = TURN_REQUESTS
        self._advancing = True
        try:
            while self._step(data):
                data, self._held = self._held, b""
        except Exception as error:  # noqa: BLE001  # the one place: a bug costs one connection, and says so
            # The exception's text may quote what was sent: only its type is logged.
            log.alarm("connection failed", error=type(error).__name__, place=place(error))
            self._refuse(replies.failed(""))
        finally:
            self._advancing = False
        if self._stopped and self.state in TAKING:
            self._read_on()

    def _step(self, data: bytes) -> bool:
        """Take one step; whether a request was answered at once, so that the next one may be there."""
        try:
            messages, _, _ = self._parser.feed_data(data)
        except UNREADABLE:
            self._refuse(unreadable())
            return False
        if messages:
            message, payload = messages[0]
            self._begin(message, payload, data)
        elif self.state == WAITING:
            self._wait(len(data))
            return False
        elif self.state == BODY:
            self._continue()
        return self.state == WAITING

    def _wait(self, length: int) -> None:
        """No whole head yet: `length` more bytes of one, or nothing."""
        if length:
            if not self._begun_bytes:
                self.deadline_s = self._server.now_s() + self._server.head_s
            self._begun_bytes += length
            if self._begun_bytes > 2 * HEAD_BYTES_MAX:
                self._refuse(unreadable())
        if self._eof and self.state == WAITING:
            if self._head_begun():
                self._refuse(unreadable())
            else:
                self.close()

    def _begin(self, message: Any, payload: Any, data: bytes) -> None:
        """A head is there, ending in `data`: let it in, or answer at once."""
        length = len(data)
        long = self._begun_bytes + length > HEAD_BYTES_MAX
        # Nearly always one read is one whole request: then nothing of a next one need be looked for.
        self._alone = (
            not self._begun_bytes
            and payload.is_eof()
            and data.find(HEAD_END) + len(HEAD_END) + payload.total_bytes == length
        )
        self._begun_bytes = 0
        if long and sum(len(name) + len(value) for name, value in message.raw_headers) > HEAD_BYTES_MAX:
            self._refuse(unreadable())
            return
        request = Request(message, remote=self.peer or "", origin=self)
        self._request, self._payload = request, payload
        self.state = ANSWERING
        self.deadline_s = NEVER
        if not self._server.application.admit(request):
            return
        if payload.is_eof():  # as most bodies, it came with the head
            self._hand_over(request)
        elif admission.declared_bytes(request) > REQUEST_BYTES_MAX:
            self._refuse(admission.too_large())
        else:
            self.state = BODY
            self.deadline_s = self._server.now_s() + self._server.body_s
            if admission.wants_invitation(request) and not payload.total_bytes:
                self._transport.write(INVITATION)
            self._continue()

    def _continue(self) -> None:
        """More of the body may be there."""
        request = self._request
        if request is None:
            raise RuntimeError("a body belongs to a request")
        if self._payload.is_eof():
            self._hand_over(request)
        elif self._overfull or self._payload.total_bytes > REQUEST_BYTES_MAX:
            self._refuse(admission.too_large())
        elif self._eof:
            self._refuse(Rejected(Rejection.MALFORMED, "The request's body did not arrive whole."))

    def _hand_over(self, request: Request) -> None:
        """The whole request is there."""
        if self._overfull or self._payload.total_bytes > REQUEST_BYTES_MAX:
            self._refuse(admission.too_large())
            return
        self.state = ANSWERING
        self.deadline_s = NEVER
        request.body = self._payload.read_nowait()
        self._server.application.handle(request)

    def answered(self, request: Request, answer: "Answer") -> None:
        """Send `answer`, and go on with the next request if the connection lasts."""
        if self._request is not request:
            return  # the client is gone, or has an answer already
        keep_alive = (
            request.keep_alive
            and answer.keep_alive
            and self._payload.is_eof()  # else what follows would be taken for the rest of the body
            and not self._server.draining
        )
        self._transport.write(
            answer.rendered(
                persistent=request.persistent, keep_alive=keep_alive, bodiless=request.method == "HEAD"
            )
        )
        if answer.tail:
            self._transport.write(answer.tail)
        self._request = self._payload = None
        if not keep_alive:
            self._linger()
            return
        self._parser.message_consumed()
        self._overfull = False
        self.state = WAITING
        self._rest()
        self._turn -= 1
        if self._stuffed:
            self.state = HOLDING
            self.deadline_s = self._server.now_s() + STALL_S
        elif self._turn <= 0:
            self.state = HOLDING
            self._server.loop.call_soon(self._next_turn)
        elif not (self._advancing or (self._sure_idle and not self._eof)):
            held, self._held = self._held, b""
            self._advance(held)

    def _rest(self) -> None:
        """Wait for the next request; a part of its head may be there, unless the last one came alone."""
        self._sure_idle = self._alone and not self._stopped
        self.deadline_s = self._server.rested(self) + (IDLE_S if self._sure_idle else self._server.head_s)

    def _next_turn(self) -> None:
        if self.state == HOLDING and not self._stuffed:
            self.state = WAITING
            self._rest()
            held, self._held = self._held, b""
            self._advance(held)

    # The end.

    def _refuse(self, rejected: Rejected) -> None:
        """Answer what cannot go on as a request, and end the connection."""
        if self.state in {LINGERING, CLOSED}:
            return  # it has its last answer
        request = self._request
        answer = self._server.application.refuse(rejected, request)
        persistent = request is not None and request.persistent
        bodiless = request is not None and request.method == "HEAD"
        self._transport.write(answer.rendered(persistent=persistent, keep_alive=False, bodiless=bodiless))
        self._linger()

    def _linger(self, seconds: float = LINGER_S) -> None:
        """Say that nothing follows, and give the client time to read what was written before we close."""
        self._request = self._payload = None
        self._held = b""
        self.state = LINGERING
        self.deadline_s = self._server.now_s() + seconds
        if self._eof:
            self.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()
        if self._stopped:
            self._read_on()

    def _read_on(self) -> None:
        self._stopped = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _head_begun(self) -> bool:
        """Whether a part of a head is there; the parser is of no more use if so."""
        if self._begun_bytes:
            return True
        try:
            return self._parser.feed_eof() is not None
        except UNREADABLE:
            return True

    def expired(self) -> None:
        """The deadline has passed."""
        if self.state == BODY:
            self._refuse(replies.late())
        elif self.state == WAITING and self._sure_idle and not self._begun_bytes:
            self.close()
        elif self.state == WAITING:
            # What came behind the last request may be the beginning of a head that never ended.
            if self._head_begun():
                self._refuse(replies.late())
            else:
                self._sure_idle = True
                self.deadline_s += max(IDLE_S - self._server.head_s, 0.0)
        elif self.state == LINGERING and self._transport.get_write_buffer_size() and not self._stalled:
            self._stalled = True
            self.deadline_s += STALL_S
        else:
            self._transport.abort()

    def drain(self) -> None:
        """We stop: whoever has nothing under way is told so; everyone else is with the answer."""
        if self.state == WAITING and not self._begun_bytes:
            self._linger(DRAIN_LINGER_S)

    def close(self) -> None:
        """End it once what was written is on its way; nothing more comes from us."""
        self.state = LINGERING
        self.deadline_s = self._server.now_s() + LINGER_S
        self._transport.close()

    def yields(self) -> bool:
        """Close to make room, unless a request is under way."""
        if self.state == ANSWERING:
            return False
        self._transport.abort()
        return True

    def abort(self) -> None:
        """End it now."""
        self._transport.abort()
