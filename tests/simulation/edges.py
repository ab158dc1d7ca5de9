"""An edge process: the product's own intake, batching, links, checks and receipts, on a simulated loop.

Only what is outside it is simulated: the listening socket (a request arrives, its answer goes back), and the
sockets to the queue. The signature on receipts is a digest in place of Ed25519, passed in where the key is.
"""

from __future__ import annotations

import hashlib
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from ballot import receipt
from ballot.rejection import Rejected
from intake import replies
from intake.ballots import Ballots, Published
from intake.batch import Batcher
from intake.durability import Durability
from intake.failures import Failures
from intake.node import Node
from intake.settings import Settings
from intake.votes import Intake
from tests.simulation.kernel import Loop, ProcessClock
from tests.simulation.material import BALLOT, material
from tests.simulation.network import dedicated

if TYPE_CHECKING:
    from collections.abc import Callable

    from ballot.suite import SigningKey
    from intake.answer import Answer
    from tests.simulation.world import World

QUEUE: Final = "queue"

LOST: Final = 0
"""The status of a request whose connection ended without an answer."""


class CheapKey:
    """Signs receipts in a microsecond; nobody but the final check looks at the signature."""

    key_id = "0011223344556677"

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only this message has."""
        return hashlib.sha512(b"simulated receipts" + message).digest()


RECEIPTS: Final = CheapKey()


class Edge:
    """One edge process, and those that take its place when it dies."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop: Loop | None = None
        self._batcher: Batcher | None = None
        self._intake: Intake | None = None
        self._open: dict[int, Callable[[int, bytes], None]] = {}
        self._number = 0

    @property
    def ready(self) -> bool:
        """Whether it takes votes now."""
        return self._batcher is not None and self._batcher.ready

    def start(self) -> None:
        """Begin as `ballot intake` does, unless it runs."""
        if self.loop is not None:
            return
        world = self.world
        kernel = world.kernel
        kernel.tell(self.name, "starts")
        loop = self.loop = Loop(kernel, self.name)  # type: ignore[abstract]  # what it lacks is refused
        clock = ProcessClock(kernel, world.plan.edge_clock_us)
        settings = Settings(replicas=world.plan.replicas, confirm_s=world.plan.confirm_s)
        connect = partial(dedicated, world.network, loop, QUEUE, timeout_s=settings.confirm_s)

        def node(_: object, trusted: Any) -> Node:
            return Node(
                connect,
                durability=Durability(settings.replicas),
                clock=clock,
                timeout_s=settings.confirm_s,
                trusted=trusted,
            )

        key = cast("SigningKey", RECEIPTS)
        self._batcher = Batcher(
            node,
            alone=(QUEUE, 6379),
            settings=settings,
            clock=clock,
            issue_receipts=partial(receipt.issue_bodies, key=key),
        )
        made = material()
        self._intake = Intake(
            settings=settings,
            ballots=cast("Ballots", None),
            batcher=self._batcher,
            failures=Failures(per_minute=settings.failures_per_minute, clock=clock),
            queue_key=made.keys.queue,
            digest_key=made.keys.digest,
            clock=clock,
            random=kernel.random.randbytes,
        )
        loop.create_task(self._batcher.run()).add_done_callback(self._ended)

    def kill(self) -> None:
        """End as by SIGKILL; who waits for an answer sees the connection end."""
        if self.loop is None:
            return
        self.world.kernel.tell(self.name, "is killed")
        loop, self.loop, self._batcher, self._intake = self.loop, None, None, None
        loop.kill()
        waiting, self._open = list(self._open.values()), {}
        for done in waiting:
            done(LOST, b"")

    def request(self, kind: str, body: bytes, done: Callable[[int, bytes], None]) -> None:
        """A voter's request has arrived; `done` is called once with status and body, or LOST."""
        if self.loop is None:
            done(LOST, b"")
            return
        self._number += 1
        number = self._number
        self._open[number] = done
        self.loop.run_inside(self._take, number, kind, body)

    def _take(self, number: int, kind: str, body: bytes) -> None:
        """As `intake.edge` does with a request that is whole."""
        made, intake = material(), self._intake
        if intake is None:
            return
        published = Published(
            made.document, made.document_signature, made.desk.public, self.world.plan.shards
        )
        request: Any = SimpleNamespace(
            body=body, headers=None, remote="192.0.2.7", route=SimpleNamespace(ballot=BALLOT), number=number
        )
        work = intake.cast if kind == "vote" else intake.access
        try:
            work(request, published, self._settle)
        except Rejected as rejected:
            self._answer(number, replies.refusal(rejected))

    def _settle(self, request: Any, make: Callable[..., Answer], *args: Any) -> None:
        try:
            answer = make(*args)
        except Rejected as rejected:
            answer = replies.refusal(rejected)
        self._answer(request.number, answer)

    def _answer(self, number: int, answer: Answer) -> None:
        done = self._open.pop(number, None)
        if done is not None:
            done(answer.status, answer.body)

    def _ended(self, task: Any) -> None:
        if self.loop is not None and not self.loop.dead:
            error = None if task.cancelled() else task.exception()
            self.world.kernel.bugs.append(f"{self.name}: sending votes has ended: {error!r}")
