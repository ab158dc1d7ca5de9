"""Taking a vote, and asking whether one would be taken: the two requests that reach the gate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, assert_never

from ballot import vote as votes
from ballot.queue_record import QueueRecord, wrap, wrap_ip
from ballot.receipt import draw_reference, shard_of_digest
from ballot.rejection import Rejected
from ballot.suite import AeadKey, keyed_digest
from intake import metrics, replies
from intake.address import client_address
from intake.answer import Answer
from intake.ballots import Ballots, Published
from intake.batch import Batcher, Decision
from intake.failures import Failures
from intake.gate import ACCESS, CAST
from intake.request import Request
from intake.settings import Settings
from runtime.clock import Clock

CAST_OUTCOMES: Final = {201: "accepted", 200: "repeated", 409: "not_open"}
ACCESS_OUTCOMES: Final = {200: "ready", 409: "not_open"}


class Settle(Protocol):
    """Answers a request with what `make(*args)` gives or raises, exactly once."""

    def __call__(self, request: Request, make: Callable[..., Answer], *args: Any) -> None:
        """Answer `request`."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What the two requests need."""

    settings: Settings
    ballots: Ballots
    batcher: Batcher
    failures: Failures
    queue_key: AeadKey
    digest_key: bytes
    clock: Clock
    random: Callable[[int], bytes]

    def cast(self, request: Request, published: Published, settle: Settle) -> None:
        """POST votes: 201 with a receipt, 200 with the same reference again, or a refusal, through `settle`.

        (1) the vote's shape; (2) encrypted for the queue, for a worker to open; (3) the gate decides, and
        calls back when the vote is on disk; (4) the receipt. Workers check the vote's signature: a badly
        signed one only harms the voter whose credential it carries.
        """
        started_s = self.clock.monotonic()
        ballot = request.route.ballot
        vote = votes.parse(request.body, padded_size=published.document.padded_size)  # (1)
        address = self._address(request)
        digest = keyed_digest(self.digest_key, vote.credential_sha256)
        shard = shard_of_digest(digest, published.shards)
        reference = draw_reference(shard, published.shards, random=self.random)
        record = QueueRecord(
            vote.credential, vote.nonce, vote.sealed, vote.signature, address, self.clock.now_us()
        )
        wrapped = wrap(  # (2)
            self.queue_key,
            record,
            ballot_id=ballot,
            credential_digest=digest,
            reference=reference,
            random=self.random,
        )
        sealed_ip = self._sealed_ip(address, ballot, digest)
        taken = self.batcher.submit(  # (3)
            CAST,
            ballot=ballot,
            shard=shard,
            args=(digest, vote.identity, reference.encode(), wrapped, vote.sealed_sha256, sealed_ip),
            done=partial(settle, request, self._cast_answer, published, address, started_s),
            throttled=self.failures.throttled(address),
        )
        if not taken:
            raise replies.not_confirmed()

    def access(self, request: Request, published: Published, settle: Settle) -> None:
        """POST access: would a vote with this credential be taken now? Logs the try, uses nothing up."""
        ballot = request.route.ballot
        digest = keyed_digest(self.digest_key, votes.parse_access(request.body))
        address = self._address(request)
        taken = self.batcher.submit(
            ACCESS,
            ballot=ballot,
            shard=shard_of_digest(digest, published.shards),
            args=(digest, self._sealed_ip(address, ballot, digest)),
            done=partial(settle, request, self._access_answer, published, address),
            throttled=self.failures.throttled(address),
        )
        if not taken:
            raise replies.unreachable()

    def _cast_answer(
        self, published: Published, address: str, started_s: float, decision: Decision | None
    ) -> Answer:
        if decision is None:
            raise replies.not_confirmed()
        answer = self._answer(decision, published, address)
        metrics.VOTES.count(CAST_OUTCOMES[answer.status])
        if decision.receipt is not None:  # (4)
            metrics.ACK_SECONDS.observe(self.clock.monotonic() - started_s)
        return answer

    def _access_answer(self, published: Published, address: str, decision: Decision | None) -> Answer:
        if decision is None:
            raise replies.unreachable()
        answer = self._answer(decision, published, address)
        metrics.ACCESS.count(ACCESS_OUTCOMES[answer.status])
        return answer

    def _address(self, request: Request) -> str:
        hops = self.settings.proxy_hops
        forwarded_for = request.headers.getall("X-Forwarded-For", ()) if hops else ()
        return client_address(request.remote, forwarded_for, proxy_hops=hops)

    def _sealed_ip(self, address: str, ballot: str, digest: bytes) -> bytes:
        return wrap_ip(
            self.queue_key, address, ballot_id=ballot, credential_digest=digest, random=self.random
        )

    def _answer(self, decision: Decision, published: Published, address: str) -> Answer:
        match decision.outcome:
            case "accepted" | "repeated":
                if decision.receipt is None:
                    raise RuntimeError("an accepted vote has no receipt")
                status = 201 if decision.outcome == "accepted" else 200
                return Answer(decision.receipt, status=status)
            case "ready":
                return replies.json_response({"state": "ready"})
            case "not_open":
                return replies.not_open(
                    opens_us=decision.opens_us, closes_us=decision.closes_us, state=decision.state
                )
            case "not_found":
                raise replies.not_found()
            case "not_accepted":
                raise self._refused(published, address)
            case "taken":
                # The reference drawn was in use already: nothing was done, and the next try draws another.
                raise replies.not_confirmed()
            case _:
                assert_never(decision.outcome)

    def _refused(self, published: Published, address: str) -> Rejected:
        if self.failures.exceeded(address):
            return replies.slow_down()
        return replies.not_accepted(published.contact)
