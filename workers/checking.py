"""From an entry to the row that is stored: opened, its signature checked, its address sealed anew."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from workers.entry import Entry, Fields, parse, raw_record
from workers.opening import Keys, open_entry, seal_ip
from workers.published import PublishedBallot
from workers.store import Row
from workers.verification import Claim, Verifier


@dataclass(frozen=True, slots=True)
class Checked:
    """An entry and its row. `opened`: our key opened it; `foreign`: it names another key than ours."""

    entry: Entry
    row: Row
    opened: bool
    foreign: bool


@dataclass(frozen=True, slots=True)
class _Opened:
    """An entry with what was inside, or with the reason why not."""

    entry: Entry
    raw: bytes = field(repr=False)
    record: QueueRecord | None = field(default=None, repr=False)
    judged: Rejection | None = None


class Checks:
    """What a worker finds out by itself; whether a credential was issued is the database's to say."""

    def __init__(self, *, keys: Keys, verifier: Verifier) -> None:
        self._keys = keys
        self._verifier = verifier

    async def check(self, ballot: PublishedBallot, entries: Mapping[str, Fields]) -> list[Checked]:
        """(1) Open each entry, (2) verify each signature, (3) make the rows."""
        opened = [self._open(ballot, entry_id, fields) for entry_id, fields in entries.items()]  # (1)
        signed = await self._verify(ballot, opened)  # (2)
        return [  # (3)
            Checked(
                entry=each.entry,
                row=self._row(ballot.id, each, signed=signed.get(each.entry.id, True)),
                opened=each.record is not None,
                foreign=each.entry.wrapped is not None and self._keys.queue.is_foreign(each.entry.wrapped),
            )
            for each in opened
        ]

    def opens(self, ballot: PublishedBallot, entry_id: str, fields: Fields) -> bool | None:
        """Whether our key opens an entry (true) or it names another (false); None says nothing of keys."""
        opened = self._open(ballot, entry_id, fields)
        if opened.record is not None:
            return True
        wrapped = opened.entry.wrapped
        return False if wrapped is not None and self._keys.queue.is_foreign(wrapped) else None

    def _open(self, ballot: PublishedBallot, entry_id: str, fields: Fields) -> _Opened:
        entry, raw = parse(entry_id, fields), raw_record(fields)
        if entry.kind != "vote":
            return _Opened(entry, raw)
        try:
            return _Opened(entry, raw, record=open_entry(self._keys, entry, ballot=ballot.id))
        except Rejected as rejected:
            return _Opened(entry, raw, judged=rejected.rejection)

    async def _verify(self, ballot: PublishedBallot, opened: Sequence[_Opened]) -> dict[str, bool]:
        """Whether each opened vote is signed by its credential, by entry."""
        claims = {
            each.entry.id: Claim(
                ballot=ballot.id,
                definition_sha256=ballot.definition_sha256,
                credential=each.record.credential,
                nonce=each.record.nonce,
                sealed=each.record.sealed,
                signature=each.record.signature,
            )
            for each in opened
            if each.record is not None
        }
        return dict(zip(claims, await self._verifier.signed(list(claims.values())), strict=True))

    def _row(self, ballot: str, opened: _Opened, *, signed: bool) -> Row:
        entry, record = opened.entry, opened.record
        judged = opened.judged if signed else Rejection.BAD_SIGNATURE
        event = secrets.token_bytes(16) if record else None
        sealed_ip = None
        if record and event:
            sealed_ip = seal_ip(
                self._keys.ip, record.ip, ballot=ballot, place=event, random=secrets.token_bytes
            )
        return Row(
            entry=entry.id,
            kind=entry.kind,
            judged=judged.value if judged else None,
            counted=entry.counted,
            uin=entry.uin,
            reference=entry.reference,
            digest=entry.digest,
            at_us=entry.at_us,
            received_us=entry.received_us,
            channel=entry.channel,
            credential=record.credential if record else None,
            nonce=record.nonce if record else None,
            sealed=record.sealed if record else None,
            signature=record.signature if record else None,
            event=event,
            sealed_ip=sealed_ip,
            record=opened.raw,
        )
