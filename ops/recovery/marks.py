"""Codes, voters' marks and references, from the record into the shards, a bounded call at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from ballot import gate_layout, handoff
from ballot.handoff import CHANNEL_BYTES
from ops.recovery import record
from ops.recovery.conflicts import note
from ops.recovery.shard import CALL_ROWS, reference_field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg

    from ballot.suite import AeadKey
    from ops.recovery.conflicts import Suspects
    from ops.recovery.numbers import Numbers
    from ops.recovery.report import BallotReport
    from ops.recovery.shard import Entry, Shard

LETTERS: Final = {"postal": "p", "workplace": "w"}


class Calls:
    """Rows for each shard, sent when there are enough; one call is under way while the next rows come."""

    def __init__(self, shards: int, send: Callable[[int, list[Any]], Awaitable[None]]) -> None:
        self.rows: list[list[Any]] = [[] for _ in range(shards)]
        """For who adds a million rows: append here, and say `full` at every CALL_ROWS."""

        self._send = send
        self._under_way: asyncio.Task[None] | None = None

    async def add(self, shard: int, row: Any) -> None:
        """Add a row of one shard."""
        self.rows[shard].append(row)
        if len(self.rows[shard]) >= CALL_ROWS:
            await self.full(shard)

    async def full(self, shard: int) -> None:
        """Send the rows of one shard, once the call before has arrived."""
        rows, self.rows[shard] = self.rows[shard], []
        await self._begin(shard, rows)

    async def end(self) -> None:
        """Send what is left, and wait for all of it."""
        for shard, rows in enumerate(self.rows):
            if rows:
                await self._begin(shard, rows)
        await self._arrived()

    async def _begin(self, shard: int, rows: list[Any]) -> None:
        await self._arrived()
        self._under_way = asyncio.create_task(self._to(shard, rows))

    async def _arrived(self) -> None:
        task, self._under_way = self._under_way, None
        if task is not None:
            await task

    async def _to(self, shard: int, rows: list[Any]) -> None:
        await self._send(shard, rows)


async def put_back_credentials(
    database: asyncpg.Connection,
    ballot: str,
    shards: Sequence[Shard],
    report: BallotReport,
    advance: Callable[[int], None],
) -> tuple[list[int], list[int]]:
    """Put back every code of the register; each shard's last revocation's time, and their number."""
    last_us, count = [0] * len(shards), [0] * len(shards)

    async def send(number: int, rows: list[Any]) -> None:
        added, revoked, conflicts = await shards[number].credentials(rows)
        report.credentials_restored += added
        report.credentials_revoked += revoked
        for row in conflicts:
            note(report, f"shard {number}: the code {rows[row][0].hex()} is another voter's at the gate")

    calls = Calls(len(shards), send)
    async for rows in record.pages(database, record.CREDENTIALS, ballot):
        for number, digest, uin, channel, revoked_us in rows:
            if not 0 <= number < len(shards):
                note(report, f"the code {digest.hex()} is in shard {number}, which this ballot has not")
                continue
            flag = handoff.CURRENT_FLAG
            if revoked_us is not None:
                flag = handoff.REVOKED_FLAG
                last_us[number] = max(last_us[number], revoked_us)
                count[number] += 1
            calls.rows[number].append((digest, uin, flag + CHANNEL_BYTES[channel]))
            if len(calls.rows[number]) >= CALL_ROWS:
                await calls.full(number)
        advance(len(rows))
    await calls.end()
    return last_us, count


class Marks:
    """Stored votes, then counted returns, then held votes: the first of a voter's is the voter's mark."""

    def __init__(
        self,
        ballot: str,
        shards: Sequence[Shard],
        numbers: Sequence[Numbers],
        report: BallotReport,
        suspects: Suspects,
        key: AeadKey | None,
    ) -> None:
        self._ballot = ballot
        self._shards = shards
        self._numbers = numbers
        self._report = report
        self._suspects = suspects
        self._key = key
        self.last_us = [0] * len(shards)
        self.released = [0] * len(shards)
        self.returned: defaultdict[tuple[str, int], set[bytes]] = defaultdict(set)

    async def put_back(self, database: asyncpg.Connection, advance: Callable[[int], None]) -> None:
        """(1) Stored votes, (2) returns, (3) votes in quarantine, (4) releases."""
        await self._votes(database, advance)  # (1)
        await self._returns(database)  # (2)
        await self._held(database)  # (3) and (4)

    async def _send(self, number: int, rows: list[Any]) -> None:
        added, changed, conflicts = await self._shards[number].marks(rows)
        self._report.marks_restored += added
        self._report.references_restored += changed
        for row, mark in conflicts:
            uin, wanted, reference, state = rows[row]
            if state in {b"a", b"h"}:
                self._suspects.add(number, reference, uin, mark)
                continue
            has = gate_layout.Mark.from_value(mark)
            what = gate_layout.reference_text(reference) if reference else chr(wanted[0])
            note(
                self._report,
                f"shard {number}: {what} is on record; its voter's mark is {has.reference or has.by}",
            )

    async def _votes(self, database: asyncpg.Connection, advance: Callable[[int], None]) -> None:
        calls, last_us, shards = Calls(len(self._shards), self._send), self.last_us, len(self._shards)
        async for rows in record.pages(database, record.VOTES, self._ballot):
            for number, uin, reference, accepted_us, place, head in rows:
                if not 0 <= number < shards:
                    note(self._report, f"{reference} is in shard {number}, which this ballot has not")
                    continue
                self._numbers[number].add(place)
                last_us[number] = max(last_us[number], accepted_us)
                field = reference_field(reference)
                calls.rows[number].append((uin, head + field, field, b"s"))
                if len(calls.rows[number]) >= CALL_ROWS:
                    await calls.full(number)
            self._report.stored += len(rows)
            advance(len(rows))
        await calls.end()

    async def _returns(self, database: asyncpg.Connection) -> None:
        marks = Calls(len(self._shards), self._send)
        lost = Calls(len(self._shards), self._send_lost)
        async for rows in record.pages(database, record.RETURNS, self._ballot):
            for number, uin, method, received_us, recorded_us, counted in rows:
                if not 0 <= number < len(self._shards):
                    continue
                self.last_us[number] = max(self.last_us[number], recorded_us)
                letter = LETTERS[method]
                if counted:
                    self.returned[method, number].add(uin)
                    time_ = received_us.to_bytes(gate_layout.TIME_BYTES, "big")
                    await marks.add(number, (uin, letter.encode() + time_, b"", b"-"))
                else:
                    await lost.add(number, (letter, received_us, uin))
        await marks.end()
        await lost.end()

    async def _send_lost(self, number: int, rows: list[Any]) -> None:
        self._report.returns_restored += await self._shards[number].lost_returns(rows)

    async def _held(self, database: asyncpg.Connection) -> None:
        """The votes in quarantine, and those of them that the desk released."""
        marks, releases = Calls(len(self._shards), self._send), Calls(len(self._shards), self._send_release)
        async for rows in record.pages(database, record.HELD, self._ballot):
            for row in rows:
                number = row["shard"]
                if not 0 <= number < len(self._shards) or len(row["uin"]) != handoff.UIN_BYTES:
                    continue
                self._report.held += 1
                fields = record.held_fields(bytes(row["record"]))
                place = fields.get(handoff.NUMBER_FIELD, b"")
                if place.isdigit() and len(place) <= handoff.NUMBER_DIGITS_MAX:
                    self._numbers[number].add(int(place), proves=False)
                accepted_us = row["accepted_us"] or 0
                self.last_us[number] = max(self.last_us[number], accepted_us)
                field = reference_field(row["reference"])
                mark = b""
                if not row["released"] and not row["other"]:
                    identity = record.held_identity(row, fields, self._ballot, self._key)
                    mark = gate_layout.Mark("e", accepted_us, identity, row["reference"]).to_value()
                if row["released"]:
                    self.released[number] += 1
                    await releases.add(number, (row["uin"], field))
                await marks.add(number, (row["uin"], mark, field, b"h"))
        await marks.end()
        await releases.end()

    async def wait(self, number: int, entries: Sequence[Entry]) -> None:
        """Mark the voters of votes that wait in the stream, should this copy have forgotten them."""
        calls = Calls(len(self._shards), self._send)
        for each in entries:
            field = reference_field(each.reference)
            if each.vote and any(field) and len(each.uin) == handoff.UIN_BYTES:
                mark = gate_layout.Mark("e", each.at_us, record.UNKNOWN_IDENTITY, each.reference)
                await calls.add(number, (each.uin, mark.to_value(), field, b"a"))
        await calls.end()

    async def _send_release(self, number: int, rows: list[Any]) -> None:
        self._report.releases_restored += await self._shards[number].releases(rows)
