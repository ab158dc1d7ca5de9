"""One probe vote through the public address, sealed and signed as a voter's device does it.

What the voter would have seen becomes a verdict: `up` when a receipt came within the deadline and the vote
was stored soon after, `slow` when storing took too long, `down` with the reason otherwise; `unknown` when the
probe ballot itself is not open.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from ballot import document, receipt, sealing
from ballot.encoding import Malformed, b64decode
from ballot.suite import SignatureInvalid
from ops.monitor.intervals import State

if TYPE_CHECKING:
    from ballot.code import Code
    from ballot.document import BallotDocument
    from ballot.vote import CastVote
    from runtime.clock import Clock

STORE_POLL_SECONDS = 0.25
PROBE_BALLOT = "probe"
NOT_OPEN = 409
CLOSED = "probe ballot closed"


class ProbeFailed(Exception):  # noqa: N818  # it is a finding about the service, not an error of ours
    """The public address did not do its part; the text is the interval's reason."""


class ProbeClosed(Exception):  # noqa: N818  # the same
    """The probe ballot is not open, so the public address was right to refuse."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a voter is made to wait before the service counts as down or slow."""

    period_s: float
    deadline_s: float
    store_deadline_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one probe showed; `definite` is False when the same vote should be sent again."""

    state: State
    reason: str
    seconds: float
    definite: bool


class Voter:
    """Talks to the public address as a stranger would: no pooled connection, no key taken on trust."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        desk_public: bytes,
        receipts_public: bytes | None,
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._session = session
        self._api = f"{url.rstrip('/')}/api/v1/ballots/{PROBE_BALLOT}"
        self._desk_public = desk_public
        self._receipts_public = receipts_public
        self._pace = pace
        self._clock = clock

    async def fetch_document(self) -> BallotDocument:
        """Return the probe's ballot document, its signature checked against the pinned desk key."""
        try:
            description = await self._get_json("")
            async with asyncio.timeout(self._pace.deadline_s):
                body = await self._get_bytes("/document")
        except TimeoutError as error:
            raise ProbeFailed("timeout") from error
        except aiohttp.ClientError as error:
            raise ProbeFailed(_plain(error)) from error
        try:
            signature = b64decode(str(description.get("document_signature", "")), length=64)
            return document.verify(body, signature, self._desk_public)
        except (Malformed, SignatureInvalid) as error:
            raise ProbeFailed("the ballot document is not the desk's") from error

    def prepare(self, ballot: BallotDocument, code: Code) -> CastVote:
        """Seal and sign one vote for the first option of each question."""
        answers = {question.id: [question.options[0].id] for question in ballot.definition.questions}
        return sealing.seal(ballot, code.signing_key(ballot.definition.id), answers, random=os.urandom)

    async def cast(self, vote: CastVote) -> Verdict:
        """Send `vote` and wait for its receipt and, after that, for its storing."""
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._pace.deadline_s):
                reference = await self._submit(vote)
        except ProbeClosed:
            # Whether votes are taken elsewhere cannot be told; this one stays unused.
            return Verdict(State.UNKNOWN, CLOSED, self._clock.monotonic() - started, definite=False)
        except ProbeFailed as error:
            seconds = self._clock.monotonic() - started
            return Verdict(State.DOWN, str(error), seconds, definite=str(error) == "http 403")
        except TimeoutError:
            return Verdict(State.DOWN, "timeout", self._clock.monotonic() - started, definite=False)
        except aiohttp.ClientError as error:
            return Verdict(State.DOWN, _plain(error), self._clock.monotonic() - started, definite=False)
        seconds = self._clock.monotonic() - started
        reason = await self._not_stored(reference)
        state = State.SLOW if reason else State.UP
        return Verdict(state, reason, seconds, definite=True)

    async def _submit(self, vote: CastVote) -> str:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._api + "/votes", data=vote.to_json(), headers=headers) as reply:
            if reply.status == NOT_OPEN:
                raise ProbeClosed
            if reply.status not in {200, 201}:
                raise ProbeFailed(f"http {reply.status}")
            body = await _json_object(reply)
        try:
            given = receipt.Receipt.from_dict(body)
            if given.sealed_sha256 != vote.sealed_sha256:
                raise ProbeFailed("the receipt is for another vote")
            if self._receipts_public is not None:
                receipt.verify(given, self._receipts_public)
        except (Malformed, SignatureInvalid) as error:
            raise ProbeFailed("the receipt does not verify") from error
        return given.reference

    async def _not_stored(self, reference: str) -> str:
        """Return why the vote is not in the voter database within the deadline, or nothing if it is."""
        until = self._clock.monotonic() + self._pace.store_deadline_s
        state = "accepted"
        while True:
            try:
                body = await self._get_json(f"/receipts/{reference}")
                state = str(body.get("state"))
            except (ProbeFailed, TimeoutError, aiohttp.ClientError):
                pass  # Storing is judged by the deadline alone; a failed look says nothing about it.
            if state == "stored":
                return ""
            if state == "held":
                return "held"
            if self._clock.monotonic() >= until:
                return "not stored in time"
            await self._clock.sleep(STORE_POLL_SECONDS)

    async def _get_bytes(self, path: str) -> bytes:
        async with self._session.get(self._api + path) as reply:
            if reply.status != 200:  # noqa: PLR2004  # HTTP's own name for success
                raise ProbeFailed(f"http {reply.status}")
            return await reply.read()

    async def _get_json(self, path: str) -> dict[str, Any]:
        async with asyncio.timeout(self._pace.deadline_s), self._session.get(self._api + path) as reply:
            if reply.status != 200:  # noqa: PLR2004  # HTTP's own name for success
                raise ProbeFailed(f"http {reply.status}")
            return await _json_object(reply)


async def _json_object(reply: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        body = await reply.json()
    except (ValueError, aiohttp.ContentTypeError) as error:
        raise ProbeFailed("the answer was not JSON") from error
    if not isinstance(body, dict):
        raise ProbeFailed("the answer was not JSON")
    return body


def _plain(error: aiohttp.ClientError) -> str:
    """One word for the ways a connection fails; never an address."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "disconnected"
    return type(error).__name__
