"""What a voter's device does: check the document, seal, sign once, send, check the receipt.

`ballot cast` and the load both vote through here, so that what is measured is what a voter's device would do.
"""

import hashlib
import json
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from ballot import document as documents
from ballot import receipt as receipts
from ballot import sealing
from ballot.code import Code
from ballot.document import BallotDocument
from ballot.encoding import Malformed, b64decode
from ballot.receipt import Receipt
from ballot.suite import SignatureInvalid
from ballot.vote import CastVote
from loadtests.published.plan import Paper

CREATED, OK, FORBIDDEN, SLOW_DOWN, UNAVAILABLE = 201, 200, 403, 429, 503
NO_ANSWER = 0
MALFORMED, LATE = 400, 408
"""A request that came too slowly is answered 400 and that it may be tried again; it is counted as 408."""
TRANSIENT = frozenset({NO_ANSWER, LATE, SLOW_DOWN, UNAVAILABLE})
RETRY_DELAY_SECONDS = 0.25
RETRY_DELAY_SECONDS_MAX = 5.0
HANG_UP_SECONDS_MAX = 5.0


class Refused(Exception):  # noqa: N818  # named for what it means to the voter
    """The server's final no: its `error` name and its words."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class Unconfirmed(Exception):  # noqa: N818  # the same
    """No answer that settles it, however often the identical request was sent."""


class Untrue(Exception):  # noqa: N818  # the same
    """What the server said does not hold: a signature, a digest or a reference is not what it must be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; status 0 when none came."""

    status: int
    body: bytes = b""
    retry_after_seconds: float = 0.0

    def fields(self) -> Mapping[str, Any]:
        """The JSON object in the body; empty when there is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def as_counted(self) -> "Answer":
        """This answer, or one of status 408 when it says that the request only came too slowly."""
        if self.status == MALFORMED and self.fields().get("retry") is True:
            return replace(self, status=LATE)
        return self

    def refusal(self) -> Refused:
        """This answer as a refusal in the server's own words."""
        told = self.fields()
        return Refused(
            self.status,
            str(told.get("error", "")),
            str(told.get("message", f"The server answered {self.status}.")),
        )


class Door(Protocol):
    """What carries a request to the server and its answer back."""

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The answer to one request; status 0 when the connection failed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a device sends the identical request again; tests step `sleep`."""

    sleep: Callable[[float], None]
    attempts_max: int = 30
    spread: Callable[[], float] = field(default=random.random)

    def pause(self, attempt: int, answer: Answer) -> None:
        """Wait before the next attempt: longer each time, at least as told, spread, bounded."""
        delay = max(answer.retry_after_seconds, RETRY_DELAY_SECONDS * attempt)
        self.sleep(min(delay, RETRY_DELAY_SECONDS_MAX) * (0.5 + self.spread()))


@dataclass(frozen=True, slots=True)
class Booth:
    """One ballot as a device knows it, the desk's signature checked; and the receipts' keys."""

    document: BallotDocument
    receipt_keys: Mapping[str, bytes]

    @property
    def ballot(self) -> str:
        """The ballot's id."""
        return self.document.definition.id

    @property
    def path(self) -> str:
        """Where this ballot is served."""
        return f"/api/v1/ballots/{self.ballot}"


def settled(
    door: Door, method: str, path: str, body: bytes | None, *, patience: Patience
) -> tuple[Answer, int]:
    """The first answer that settles it, and how many identical requests were sent again for it."""
    for attempt in range(1, patience.attempts_max + 1):
        answer = door.send(method, path, body).as_counted()
        if answer.status not in TRANSIENT:
            return answer, attempt - 1
        if attempt < patience.attempts_max:
            patience.pause(attempt, answer)
    raise Unconfirmed(
        "We could not confirm it: the server is not answering. Try again later; a vote cannot count twice."
    )


def enter(door: Door, ballot: str, desk_public: bytes, *, patience: Patience) -> Booth:
    """The ballot `ballot` as served, once its document bears the signature of the desk's pinned key."""
    path = f"/api/v1/ballots/{ballot}"
    told = _fetch(door, path, patience).fields()
    canonical = _fetch(door, f"{path}/document", patience).body
    try:
        signature = b64decode(str(told.get("document_signature", "")))
        document = documents.verify(canonical, signature, desk_public)
    except SignatureInvalid as error:
        raise Untrue(
            "The ballot document is not signed by the desk's key: do not vote, and tell the scrutineer."
        ) from error
    except Malformed as error:
        raise Untrue(f"The ballot document cannot be read: {error}") from error
    if document.definition.id != ballot or told.get("definition_sha256") != document.definition.sha256.hex():
        raise Untrue("The server shows another ballot than the one asked for.")
    return Booth(document=document, receipt_keys=_receipt_keys(_fetch(door, "/api/v1/keys", patience)))


def _fetch(door: Door, path: str, patience: Patience) -> Answer:
    """The page at `path`, or the server's refusal."""
    answer, _ = settled(door, "GET", path, None, patience=patience)
    if answer.status != OK:
        raise answer.refusal()
    return answer


def _receipt_keys(answer: Answer) -> dict[str, bytes]:
    """The published keys that sign receipts, by id."""
    try:
        return {
            str(key["id"]): b64decode(str(key["public_key"]), length=32)
            for key in answer.fields()["keys"]
            if key["use"] == "receipts"
        }
    except (KeyError, TypeError, Malformed) as error:
        raise Untrue("The server's list of keys cannot be read.") from error


def seal(booth: Booth, code: Code, paper: Paper) -> CastVote:
    """`paper` sealed and signed with the code's key: once, and kept for every retry."""
    key = code.signing_key(booth.ballot)
    if paper.legal:
        return sealing.seal(booth.document, key, dict(paper.answers), random=os.urandom)
    answers = {question: list(marks) for question, marks in paper.answers}
    plaintext = json.dumps({"v": 1, "answers": answers}, separators=(",", ":")).encode()
    return sealing.seal_plaintext(booth.document, key, plaintext, random=os.urandom)


def access_body(booth: Booth, code: Code) -> bytes:
    """What the page asks before it shows the paper: the digest of the credential, never the code."""
    return access_body_of(booth.ballot, code)


def access_body_of(ballot: str, code: Code) -> bytes:
    """The same of a ballot that was not looked at."""
    digest = hashlib.sha256(code.credential(ballot)).hexdigest()
    return json.dumps({"credential_sha256": digest}).encode()


def receipt_of(answer: Answer, vote: CastVote, booth: Booth) -> Receipt:
    """The receipt in `answer`, checked: for this very vote, and signed by a published key."""
    if answer.status not in {OK, CREATED}:
        raise answer.refusal()
    try:
        receipt = Receipt.from_dict(dict(answer.fields()))
        public = booth.receipt_keys[receipt.key_id]
        receipts.verify(receipt, public)
    except (Malformed, KeyError, SignatureInvalid) as error:
        raise Untrue("The receipt is not signed by a published key.") from error
    if receipt.ballot != booth.ballot or receipt.sealed_sha256 != vote.sealed_sha256:
        raise Untrue("The receipt is not for the vote that was sent.")
    return receipt


def cast(door: Door, booth: Booth, vote: CastVote, *, patience: Patience) -> tuple[Receipt, int]:
    """The receipt for `vote`, and how many times the identical request had to go again."""
    answer, again = settled(door, "POST", f"{booth.path}/votes", vote.to_json(), patience=patience)
    return receipt_of(answer, vote, booth), again


def send_and_hang_up(
    url: str, path: str, body: bytes, *, tls: ssl.SSLContext | None = None, source: str | None = None
) -> None:
    """Send a whole request and break the connection without waiting: the answer, if any, is lost.

    `source` is the address it comes from.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https" and tls is not None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        local = None if source is None else (source, 0)
        with socket.create_connection((host, port), HANG_UP_SECONDS_MAX, local) as plain:
            if tls is None or not secure:
                plain.sendall(head.encode("ascii") + body)
                return
            with tls.wrap_socket(plain, server_hostname=host) as connection:
                connection.sendall(head.encode("ascii") + body)
    except OSError:
        return  # a server that is away loses the answer as well: the retry that follows settles it
