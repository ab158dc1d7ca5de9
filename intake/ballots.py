"""The published ballots as this edge serves them, each document verified with the pinned desk key first."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ballot import document as documents
from ballot import gate_layout, handoff
from ballot.definition import shown
from ballot.document import BallotDocument
from ballot.encoding import Malformed, b64decode, b64encode, format_time, strict_json
from ballot.limits import MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, SHARDS_MAX
from ballot.receipt import parse_reference, shard_of_reference
from ballot.rejection import Rejected
from ballot.suite import VERIFY_KEY_BYTES, SignatureInvalid, key_id
from intake import replies
from intake.reads import Reads
from intake.small_file import SmallFile
from intake.windows import Window, Windows
from runtime import logs
from runtime.clock import Clock

log = logs.get("ballots")

LIST_S: Final = 0.05
"""Asking for ballots that nobody published waits this long, and costs twenty reads a second at most."""

FAILED_S: Final = 1.0
"""After a read that failed, whoever needs one is refused at once for this long: nobody waits in a line."""

BALLOTS_MAX: Final = 4_096
RECEIPT_STATES: Final = {b"a": "accepted", b"s": "stored", b"h": "held"}


@dataclass(frozen=True, slots=True)
class Published:
    """One ballot: its verified document and what every answer about it repeats."""

    document: BallotDocument
    signature: bytes
    desk_key: bytes
    """The pinned key that the signature verified with."""

    shards: int

    @property
    def id(self) -> str:
        """The ballot's id."""
        return self.document.definition.id

    @property
    def desk_key_id(self) -> str:
        """The desk key's id, which the letter has too."""
        return key_id(self.desk_key)

    @property
    def contact(self) -> str:
        """Whom voters ask."""
        return shown(self.document.definition.contact)


class Ballots:
    """Reads the queue for what voters may know about ballots; every read is shared and rationed."""

    def __init__(self, reads: Reads, *, desk_key_file: Path, clock: Clock) -> None:
        self._reads = reads
        self._desk_key_file = SmallFile(desk_key_file)
        self._desk_read: bytes | None = None
        self._desk_key: bytes | None = None
        self._clock = clock
        self._lock = asyncio.Lock()
        self._ids: frozenset[str] = frozenset()
        self._listed_s = float("-inf")
        self._failed_s = float("-inf")
        self._published: dict[str, Published] = {}
        self._windows = Windows(reads, clock=clock)

    def desk_key(self) -> bytes | None:
        """The pinned key of the desk; nothing until the desk has made it."""
        try:
            data = self._desk_key_file.read()
            if data is not self._desk_read:
                self._desk_key = None
                value = strict_json(data, bytes_max=OBJECT_BYTES_MAX)
                self._desk_key = b64decode(value["public_key"], length=VERIFY_KEY_BYTES)
                self._desk_read = data
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, Malformed) as error:
            log.alarm("desk key unreadable", file=self._desk_key_file.name, error=type(error).__name__)
            return None
        return self._desk_key

    def known(self, ballot: str) -> Published | None:
        """The ballot called `ballot` if it was found before: a document never changes."""
        return self._published.get(ballot)

    async def find(self, ballot: str) -> Published:
        """The ballot called `ballot`; Rejected if there is none."""
        known = self._published.get(ballot)
        if known is not None:
            return known
        asked_s = self._clock.monotonic()
        async with self._lock:
            if ballot not in self._ids and ballot not in await self._list(asked_s):
                raise replies.not_found()
            if ballot not in self._published:
                self._published[ballot] = await self._load(ballot)
            return self._published[ballot]

    async def all(self) -> Sequence[Published]:
        """Every published ballot whose document verifies."""
        asked_s = self._clock.monotonic()
        async with self._lock:
            ids = sorted(await self._list(asked_s))
        found = []
        for ballot in ids:
            try:
                found.append(await self.find(ballot))
            except Rejected as rejected:
                log.warning("ballot left out", ballot=ballot, reason=rejected.rejection.value)
        return found

    async def window(self, published: Published) -> Window:
        """The window as the gate has it, about a second old; Rejected when it was never armed."""
        return await self._windows.find(published.id)

    async def receipt_state(self, published: Published, reference: str) -> str:
        """What became of the vote with this reference; Rejected when there is none."""
        try:
            canonical = parse_reference(reference)
        except Malformed:
            raise replies.not_found() from None
        shard = shard_of_reference(canonical, published.shards)
        key, field = handoff.references_key(published.id, shard), gate_layout.reference_field(canonical)
        value = await self._reads.field(key, field)
        if value not in RECEIPT_STATES:
            raise replies.not_found()
        return RECEIPT_STATES[value]

    async def _list(self, asked_s: float) -> frozenset[str]:
        """The published ids, read after `asked_s`: all who ask at once share one read; reads are rationed."""
        if self._listed_s <= asked_s:
            wait_s = self._listed_s + LIST_S - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            started_s = self._clock.monotonic()
            with self._asking():
                names: list[Any] = await self._reads.client.hkeys(handoff.PUBLISHED_KEY)
            self._ids = frozenset(name.decode() for name in names[:BALLOTS_MAX])
            self._listed_s = started_s
        return self._ids

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One read under the lock; those who waited for it meanwhile share its failure."""
        if self._clock.monotonic() - self._failed_s < FAILED_S:
            raise replies.unreachable()
        try:
            with self._reads.answering():
                yield
        except Rejected:
            self._failed_s = self._clock.monotonic()
            raise

    async def _load(self, ballot: str) -> Published:
        with self._asking():
            data: Any = await self._reads.client.hget(handoff.PUBLISHED_KEY, ballot)
        desk = self.desk_key()
        if data is None:
            raise replies.not_found()
        if desk is None:
            # We can vouch for nothing, which says nothing about the ballot: the voter's device tries again.
            log.warning("ballot not looked at: the desk's key is not here", ballot=ballot)
            raise replies.unreachable()
        try:
            return _verified(data, desk, ballot=ballot)
        except (Malformed, SignatureInvalid, KeyError, TypeError) as error:
            log.alarm("published ballot refused", ballot=ballot, error=error)
            raise replies.not_found() from None


def _verified(data: bytes, desk: bytes, *, ballot: str) -> Published:
    """What was published, its document verified with the pinned key; nothing in `data` vouches for itself."""
    value = strict_json(data, bytes_max=MANIFEST_BYTES_MAX)
    shards = value["shards"]
    if type(shards) is not int or shards not in {2**n for n in range(SHARDS_MAX.bit_length())}:
        raise Malformed("The number of shards is not a power of two up to 32.")
    signature = b64decode(value["document_signature"])
    document = documents.verify(b64decode(value["document"]), signature, desk)
    if document.definition.id != ballot:
        raise Malformed("This is another ballot's document.")
    return Published(document, signature, desk, shards)


def description(published: Published, window: Window, *, monotonic_s: float) -> dict[str, Any]:
    """The flat object that `GET /api/v1/ballots/<ballot>` answers with."""
    document = published.document
    definition = orjson.loads(document.definition.canonical)
    about = definition["ballot"]
    texts = ("id", "title", "kind", "union", "employer", "scrutineer", "contact")
    return {
        **{name: about[name] for name in texts if name in about},
        "opens": format_time(window.opens_us),
        "closes": format_time(window.closes_us),
        "state": window.state_at(monotonic_s),
        "questions": definition["question"],
        "definition_sha256": document.definition.sha256.hex(),
        "padded_size": document.padded_size,
        "suite": document.suite,
        "public_key": b64encode(document.public_key),
        "result_key": b64encode(document.result_key),
        "document_signature": b64encode(published.signature),
        "desk_key_id": published.desk_key_id,
    }
