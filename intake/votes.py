"""Taking a vote, and asking whether one would be taken: the two requests that reach the gate."""

import os
from dataclasses import dataclass
from typing import assert_never

from aiohttp import web

from ballot import vote as votes
from ballot.queue_record import QueueRecord, wrap, wrap_ip
from ballot.receipt import draw_reference, shard_of_digest
from ballot.rejection import Rejected
from ballot.suite import AeadKey, keyed_digest
from intake import admission, metrics, replies
from intake.address import client_address
from intake.answer import Answer
from intake.ballots import Ballots, Published
from intake.batch import Batcher, Decision
from intake.failures import Failures
from intake.gate import ACCESS, CAST
from intake.settings import Settings
from runtime.clock import Clock


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

    async def cast(self, request: web.BaseRequest, ballot: str) -> Answer:
        """POST votes: 201 with a receipt, 200 with the same reference again, or a refusal.

        (1) type, size, time; (2) the ballot; (3) the vote's shape; (4) encrypted for the queue, for a worker
        to open; (5) the gate decides, and answers when the vote is on disk; (6) the receipt. Workers check
        the vote's signature: a badly signed one only harms the voter whose credential it carries.
        """
        body = await admission.read_json(request, timeout_s=self.settings.body_s)  # (1)
        started_s = self.clock.monotonic()
        published = await self.ballots.find(ballot)  # (2)
        vote = votes.parse(body, padded_size=published.document.padded_size)  # (3)
        address = self._address(request)
        digest = keyed_digest(self.digest_key, vote.credential_sha256)
        shard = shard_of_digest(digest, published.shards)
        reference = draw_reference(shard, published.shards, random=os.urandom)
        record = QueueRecord(
            vote.credential, vote.nonce, vote.sealed, vote.signature, address, self.clock.now_us()
        )
        wrapped = wrap(  # (4)
            self.queue_key,
            record,
            ballot_id=ballot,
            credential_digest=digest,
            reference=reference,
            random=os.urandom,
        )
        sealed_ip = self._sealed_ip(address, ballot, digest)
        decision = await self.batcher.ask(  # (5)
            CAST,
            ballot=ballot,
            shard=shard,
            args=(digest, vote.identity, reference.encode(), wrapped, vote.sealed_sha256, sealed_ip),
        )
        if decision is None:
            raise replies.not_confirmed()
        response = self._reply(decision, published, address)
        if decision.receipt is not None:  # (6)
            metrics.ACK_SECONDS.observe(self.clock.monotonic() - started_s)
        return response

    async def access(self, request: web.BaseRequest, ballot: str) -> Answer:
        """POST access: would a vote with this credential be taken now? Logs the try, uses nothing up."""
        body = await admission.read_json(request, timeout_s=self.settings.body_s)
        published = await self.ballots.find(ballot)
        digest = keyed_digest(self.digest_key, votes.parse_access(body))
        address = self._address(request)
        decision = await self.batcher.ask(
            ACCESS,
            ballot=ballot,
            shard=shard_of_digest(digest, published.shards),
            args=(digest, self._sealed_ip(address, ballot, digest)),
        )
        if decision is None:
            raise replies.unreachable()
        return self._reply(decision, published, address)

    def _address(self, request: web.BaseRequest) -> str:
        hops = self.settings.proxy_hops
        forwarded_for = request.headers.getall("X-Forwarded-For", ()) if hops else ()
        return client_address(request.remote, forwarded_for, proxy_hops=hops)

    def _sealed_ip(self, address: str, ballot: str, digest: bytes) -> bytes:
        return wrap_ip(self.queue_key, address, ballot_id=ballot, credential_digest=digest, random=os.urandom)

    def _reply(self, decision: Decision, published: Published, address: str) -> Answer:
        match decision.outcome:
            case "accepted" | "repeated":
                if decision.receipt is None:
                    raise RuntimeError("an accepted vote has no receipt")
                status = 201 if decision.outcome == "accepted" else 200
                return replies.json_response(decision.receipt.to_dict(), status=status)
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
