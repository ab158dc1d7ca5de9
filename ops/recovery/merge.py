"""Puts back into the gate what the voter database knows of every ballot, and says what nobody can put back.

`merge` may be called with any older or emptier copy of a queue, again and again, and be killed anywhere: it
never takes away what the gate has (ops/valkey/recovery.lua), and the last thing it does for a ballot is to
publish it. Afterwards nobody whose vote is stored, held or waiting can vote again, everybody else can, and
the books balance. The caller sees to it that no vote is taken meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ballot import handoff
from ballot.encoding import b64encode, canonical_json
from ops.recovery import desk, jumps, record, streams, turnout
from ops.recovery.conflicts import Suspects
from ops.recovery.journals import Journals, Lost, numbered
from ops.recovery.marks import Marks, put_back_credentials
from ops.recovery.numbers import Numbers, count, less
from ops.recovery.report import RANGES_MAX, BallotReport, Rest
from ops.recovery.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    import asyncpg

    from ballot.suite import AeadKey
    from ops.recovery.record import Ballot, Seen
    from ops.recovery.streams import Mending, Waiting
    from runtime.valkey import Client

CONFIRMED_PAGE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Sources:
    """What helps beside the database, all optional: keys, edges' journals, and the desk's own files."""

    desk_public: bytes | None = None
    """The desk's public key: without it no ballot is published that the queue has forgotten."""

    queue_key: AeadKey | None = field(default=None, repr=False)
    journals: Journals = field(default_factory=Journals)
    roots: Path | None = None
    """The directory of the desk's journals of the register."""

    rest: Path | None = None
    """The directory for a list of what is too long for a report."""


async def merge(
    queue: Client,
    database: asyncpg.Connection,
    *,
    sources: Sources | None = None,
    only: Collection[str] | None = None,
    advance: Callable[[int], None] = lambda _rows: None,
    jump: bool = True,
) -> list[BallotReport]:
    """Merge every ballot on record (or `only` these) into the gate; one report each.

    Without `jump` numbers go on behind the largest that is proved: only where nobody will vote.

    `queue` is an administrator's client, `database` a connection of the role `ballot_recovery` outside any
    transaction. `advance` is told how many codes and votes were gone through.
    """
    given = sources or Sources()
    found = {
        ballot.id: _Ballot(queue, database, ballot, given, advance, jump=jump)
        for ballot in await record.ballots(database)
        if only is None or ballot.id in only
    }
    for each in found.values():
        await each.put_back()
    await _confirm(found, given.journals)
    for each in found.values():
        await each.account()
        await each.publish()
    return [each.report for each in found.values()]


async def size(database: asyncpg.Connection) -> int:
    """How many codes and votes `merge` will go through."""
    query = "SELECT (SELECT count(*) FROM ballot.register) + (SELECT count(*) FROM ballot.votes)"
    return int(await database.fetchval(query))


async def _confirm(found: dict[str, _Ballot], journals: Journals) -> None:
    """Look for every reference that an edge gave out."""
    votes: dict[str, list[tuple[int, int, str]]] = {}
    for line in journals:
        if line.ballot in found:
            kept = votes.setdefault(line.ballot, [])
            kept += [(line.shard, number, reference) for number, reference in numbered(line)]
            if len(kept) >= CONFIRMED_PAGE:
                await found[line.ballot].confirm(votes.pop(line.ballot))
    for ballot, kept in votes.items():
        await found[ballot].confirm(kept)


class _Ballot:
    """One ballot's merge, in the order of its methods."""

    def __init__(
        self,
        queue: Client,
        database: asyncpg.Connection,
        ballot: Ballot,
        sources: Sources,
        advance: Callable[[int], None],
        *,
        jump: bool,
    ) -> None:
        self._queue: Any = queue
        self._jump = jump
        self._database = database
        self._ballot = ballot
        self._sources = sources
        self._advance = advance
        self._shards = [Shard(queue, ballot.id, number) for number in range(ballot.shards)]
        self._numbers = [Numbers() for _ in self._shards]
        self._jumps: list[jumps.Jump] = []
        self._waiting: list[Waiting] = []
        self._suspects = Suspects()
        self.report = BallotReport(ballot.id)
        self._rest = Rest(sources.rest, self.report)
        self._lost = Lost(self.report, self._rest)

    async def put_back(self) -> None:
        """(1) Codes, (2) marks and references, (3) streams and turnout, (4) window and counters."""
        marks = Marks(
            self._ballot.id, self._shards, self._numbers, self.report, self._suspects, self._sources.queue_key
        )
        async with self._database.transaction(isolation="repeatable_read", readonly=True):
            last_us, revoked = await put_back_credentials(  # (1)
                self._database, self._ballot.id, self._shards, self.report, self._advance
            )
            self._jumps = await jumps.known(self._queue, self._database, self._ballot.id, self._shards)
            for numbers, jump in zip(self._numbers, self._jumps, strict=True):
                numbers.limit = jump.limit
            await marks.put_back(self._database, self._advance)  # (2)
        await self._mend_streams()  # (3)
        for number, shard in enumerate(self._shards):  # (4)
            await self._set_window(number, shard, marks, last_us[number], revoked[number])
        await self._suspects.judge(self._database, self._ballot.id, self._waiting, self.report)
        self._lost.named = await jumps.named(self._database, self._ballot.id)

    async def _mend_streams(self) -> None:
        """Streams after the turnout: killed in between, the next merge finds the streams as they were."""
        seen = await record.seen(self._database, self._ballot.id)
        attempts = {
            row["shard"]: row["entry"] for row in await self._database.fetch(record.ATTEMPTS, self._ballot.id)
        }
        wanted: dict[int, Mending] = {}
        ends: dict[int, tuple[str, int]] = {}
        for number, shard in enumerate(self._shards):
            left = await streams.waiting(self._database, self._ballot.id, number, shard)
            self._waiting.append(left)
            extent = await shard.extent(shard.keys[4])
            ends[number] = (extent.last, extent.added)
            mending = streams.mending(extent, left, seen.get(number, record.Seen()))
            if mending is not None:
                wanted[number] = mending
                ends[number] = (mending.last, mending.added)
        self.report.waiting = sum(len(left.entries) for left in self._waiting)
        if any(mending.gap for mending in wanted.values()) or _ahead(seen, ends):
            self.report.turnout_lost = await turnout.set_turnout(
                self._database, self._ballot.id, ends, self._waiting
            )
        for number, mending in wanted.items():
            shard = self._shards[number]
            if mending.gap is not None:
                await shard.lost()
            await shard.set_stream(
                shard.keys[4],
                last=mending.last,
                added=mending.added,
                position=mending.position,
                read=mending.read,
            )
            if mending.gap is not None:
                self.report.gaps[str(number)] = [mending.gap]
        self.report.streams_mended = len(wanted)
        for number, stored in attempts.items():
            if number < len(self._shards):
                self.report.streams_mended += await streams.mend_attempts(self._shards[number], stored)

    async def _set_window(self, number: int, shard: Shard, marks: Marks, last_us: int, revoked: int) -> None:
        numbers = self._numbers[number]
        await marks.wait(number, self._waiting[number].entries)
        for each in self._waiting[number].entries:
            if each.vote:
                numbers.add(each.number, proves=False)
        returned = {method: set(marks.returned[method, number]) for method in turnout.RETURNED}
        for each in self._waiting[number].entries:
            if each.won and each.method in returned:
                returned[each.method].add(each.uin)
        jump = self._jumps[number]
        numbers.reached(jump.gate)
        if jump.impossible:
            self._suspects.note(
                self.report,
                f"shard {number} says it gave number {jump.impossible}; there can have been "
                f"{jump.limit} at most",
            )
        window = await shard.window(
            self._ballot.opens_us,
            self._ballot.closes_us,
            max(last_us, marks.last_us[number]),
            marks.released[number],
            len(returned["postal"]),
            len(returned["workplace"]),
            numbers.largest,
            jump.beyond(numbers.largest) if self._jump else 0,
            revoked,
        )
        self._lost.ends[number] = (numbers.largest, jump.beyond(numbers.largest))
        if self._jump and self._ballot.opens_us:
            self.report.skipped[str(number)] = jump.taken(numbers.largest, window.number)
        self.report.windows_restored += window.changed
        if self._ballot.opens_us and window.closes_us != self._ballot.closes_us:
            self.report.conflicts.append(
                f"shard {number} has closed at {window.closes_us} us, and the record says "
                f"{self._ballot.closes_us} us"
            )

    async def confirm(self, votes: list[tuple[int, int, str]]) -> None:
        """Keep those references that are neither stored, nor held, nor in the queue."""
        references = [reference for _, _, reference in votes]
        rows = await self._database.fetch(record.UNCONFIRMED, self._ballot.id, references)
        missing = {row["reference"] for row in rows}
        if missing:
            missing -= {each.reference for left in self._waiting for each in left.entries}
        for shard, number, reference in votes:
            if reference in missing:
                self._lost.add(shard, number, reference)

    async def account(self) -> None:
        """Name the references that are gone, and the numbers that nothing has up to the largest proved.

        What no earlier recovery has named is explained only in a shard that has lost something.
        """
        self._lost.end()
        if any(numbers.unnumbered for numbers in self._numbers):
            for shard, votes in (await jumps.without(self._database, self._ballot.id)).items():
                if 0 <= shard < len(self._numbers):
                    self._numbers[shard].without = votes
        for number, numbers in enumerate(self._numbers):
            jump, name = self._jumps[number], str(number)
            missing = numbers.missing(jump.skipped)
            new = less(missing, jump.named)
            self.report.unaccounted_before += count(missing) - count(new)
            if new and not await self._shards[number].has_lost():
                self.report.unexplained[name] = new[:RANGES_MAX]
                missing = less(missing, new)
            if missing:
                self.report.unaccounted[name] = self._rest.ranges(number, missing)
            self.report.numbers_unproved += numbers.unproved
        self._rest.close()

    async def publish(self) -> None:
        """Tell the edges of the ballot, if it was opened and the queue has forgotten it."""
        ballot, public = self._ballot, self._sources.desk_public
        await self._look_for_batches()
        if ballot.document is None or ballot.document_signature is None:
            return
        if await self._queue.hexists(handoff.PUBLISHED_KEY, ballot.id):
            return
        if public is None:
            self.report.conflicts.append("not published: the desk's public key is not in this home")
            return
        entry = {
            "document": b64encode(bytes(ballot.document)),
            "document_signature": b64encode(bytes(ballot.document_signature)),
            "desk_public_key": b64encode(public),
            "shards": ballot.shards,
        }
        await self._queue.hset(handoff.PUBLISHED_KEY, ballot.id, canonical_json(entry))
        self.report.published = True

    async def _look_for_batches(self) -> None:
        """Name the batches that the desk signed, and did not give up, and that the register lacks."""
        if self._sources.roots is None:
            return
        signed = desk.live(self._sources.roots, self._ballot.id)
        rows = await self._database.fetch(record.BATCHES, self._ballot.id)
        self.report.missing_batches = sorted(signed - {row["batch"] for row in rows})


def _ahead(seen: dict[int, Seen], ends: dict[int, tuple[str, int]]) -> bool:
    """Whether the turnout counted more entries than the stream will know of."""
    return any(number in ends and marks.counted > ends[number][1] for number, marks in seen.items())
