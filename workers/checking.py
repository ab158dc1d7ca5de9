"""From an entry to the row that is stored: opened, its signature checked, its address sealed anew."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from workers.entry import Entry, Fields, parse
from workers.opening import Keys, open_entry, seal_ip
from workers.published import PublishedBallot
from workers.store import Row
from workers.verification import Claim, Verifier

EVENT_BYTES: Final = 16
SLICE_ENTRIES: Final = 64
"""About half a millisecond of opening: so long whatever else the worker does may have to wait."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(slots=True)
class Checked:
    """An entry and its row. `opened`: our key opened it; `foreign`: it names another key than ours."""

    entry: Entry
    row: Row
    opened: bool
    foreign: bool


@dataclass(slots=True)
class _Opened:
    """An entry with what was inside, or with the reason why not."""

    entry: Entry
    came: Fields = field(repr=False)
    record: QueueRecord | None = field(default=None, repr=False)
    judged: Rejection | None = None


class Checks:
    """What a worker finds out by itself; whether a credential was issued is the database's to say."""

    def __init__(self, *, keys: Keys, verifier: Verifier) -> None:
        self._keys = keys
        self._verifier = verifier

    async def check(self, ballot: PublishedBallot, entries: Mapping[str, Fields]) -> list[Checked]:
        """(1) Open each entry, (2) verify each signature, (3) make the rows."""
        opened = await _in_slices(lambda each: self._open(ballot, *each), list(entries.items()))  # (1)
        signed = await self._verify(ballot, opened)  # (2)
        return await _in_slices(lambda each: self._checked(ballot.id, each, signed), opened)  # (3)

    def opens(self, ballot: PublishedBallot, entry_id: str, fields: Fields) -> bool | None:
        """Whether our key opens an entry (true) or it names another (false); None says nothing of keys."""
        opened = self._open(ballot, entry_id, fields)
        if opened.record is not None:
            return True
        return False if self._is_foreign(opened) else None

    def _open(self, ballot: PublishedBallot, entry_id: str, fields: Fields) -> _Opened:
        entry = parse(entry_id, fields)
        if entry.kind != "vote":
            return _Opened(entry, fields)
        try:
            return _Opened(entry, fields, record=open_entry(self._keys, entry, ballot=ballot.id))
        except Rejected as rejected:
            return _Opened(entry, fields, judged=rejected.rejection)

    async def _verify(self, ballot: PublishedBallot, opened: Sequence[_Opened]) -> dict[str, bool]:
        """Whether each opened vote is signed by its credential, by entry."""
        claims = {
            each.entry.id: Claim(
                ballot.id,
                ballot.definition_sha256,
                credential=record.credential,
                nonce=record.nonce,
                sealed=record.sealed,
                signature=record.signature,
            )
            for each in opened
            if (record := each.record) is not None
        }
        return dict(zip(claims, await self._verifier.signed(list(claims.values())), strict=True))

    def _is_foreign(self, opened: _Opened) -> bool:
        """Whether an entry that did not open names another key than ours."""
        wrapped = opened.entry.wrapped
        return opened.record is None and wrapped is not None and self._keys.queue.is_foreign(wrapped)

    def _checked(self, ballot: str, opened: _Opened, signed: Mapping[str, bool]) -> Checked:
        entry, record, judged = opened.entry, opened.record, opened.judged
        event = sealed_ip = None
        if record is not None:
            if not signed[entry.id]:
                judged = Rejection.BAD_SIGNATURE
            event = secrets.token_bytes(EVENT_BYTES)
            sealed_ip = seal_ip(
                self._keys.ip, record.ip, ballot=ballot, place=event, random=secrets.token_bytes
            )
        row = Row(entry, record, judged.value if judged else None, event, sealed_ip, opened.came)
        return Checked(entry, row, record is not None, self._is_foreign(opened))


async def _in_slices(work: Callable[[Given], Made], given: Sequence[Given]) -> list[Made]:
    """Do `work` on each, letting others have their turn now and then."""
    made: list[Made] = []
    for start in range(0, len(given), SLICE_ENTRIES):
        made += map(work, given[start : start + SLICE_ENTRIES])
        await asyncio.sleep(0)
    return made
