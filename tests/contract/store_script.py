"""What the contract does to a voter database: calls of the real `Store`, which are drawn.

An operation names voters, references, sealed votes and entries by small numbers, so that retries, conflicts,
copies and odd rows come about often, and a failing run shrinks to a short one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from hypothesis import strategies as st

from ballot.queue_record import QueueRecord
from runtime.lifecycle import Fatal, Retry
from workers.entry import Entry
from workers.store import Attempt, Outcome, Row, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Op = tuple[Any, ...]
VOTERS: Final = 5
SHARDS: Final = 2
MINUTE_US: Final = 60_000_000
BEGIN_US: Final = 1_750_000_000_000_000


class Desk(Protocol):
    """What the desk does to either database, for a ballot."""

    async def issue(self, digest: bytes, uin: bytes, shard: int) -> None:
        """A code of the register, to a voter of the electorate."""

    async def revoke(self, digest: bytes, revoked_us: int) -> None:
        """A revocation."""

    async def tables(self) -> dict[str, list[Any]]:
        """All rows of the ballot, without the times at which the server wrote them."""


def named(*parts: object) -> bytes:
    """Bytes that stand for something."""
    return hashlib.sha256(repr(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Given:
    """A row that was drawn; what is False in `there` is missing from its entry."""

    kind: str
    entry: int
    voter: int
    code: int
    reference: int
    sealed: int
    minute: int
    counted: bool = True
    judged: str | None = None
    event: int | None = None
    number: int | None = None
    missing: str = ""


class Script:
    """The same operations, whichever database is behind the two stores."""

    def __init__(self, ballot: str, desk: Desk, stores: tuple[Store, Store]) -> None:
        self.ballot = ballot
        self.desk = desk
        self.stores = stores
        self.drawn = 0
        self.epoch = 0

    async def begin(self) -> None:
        """An electorate with a code each, in its shard; no fuse is blown."""
        for voter in range(VOTERS):
            await self.desk.issue(self.digest(voter, 0), self.uin(voter), voter % SHARDS)
        await self.stores[0].event(None, "fuse_cleared")

    async def end(self) -> None:
        """Leave no connection and no blown fuse behind."""
        await self.stores[0].event(None, "fuse_cleared")
        for store in self.stores:
            await store.close()

    async def answer(self, op: Op) -> Any:
        """What the store answers, or how it fails."""
        try:
            return await OPERATIONS[op[0]][0](self, *op[1:])
        except (Retry, Fatal) as error:
            return type(error).__name__, str(error)

    def uin(self, voter: int) -> bytes:
        """A voter's number."""
        return named(self.ballot, voter)[:16]

    def digest(self, voter: int, code: int) -> bytes:
        """A voter's credential."""
        return named(self.ballot, voter, code)

    def row(self, given: Given) -> Row:
        """A row as a worker makes it, or nearly."""
        self.drawn += 1
        event = named(self.ballot, "event", self.drawn if given.event is None else -given.event)[:16]
        vote = given.kind == "vote"
        at_us = BEGIN_US + given.minute * MINUTE_US + given.entry
        entry = Entry(
            f"{1_750_000_000_000 + given.entry // 3}-{given.entry % 3}",
            given.kind,  # type: ignore[arg-type]  # drawn
            whole=True,
            counted=given.counted or vote,
            uin=None if given.missing == "uin" else self.uin(given.voter),
            reference=f"0000-0000-0000-{given.reference:04d}"
            if vote and given.missing != "reference"
            else None,
            digest=self.digest(given.voter, given.code) if vote and given.missing != "digest" else None,
            at_us=None if given.missing == "at_us" else at_us,
            received_us=None if vote else at_us - 5,
            channel=("email" if vote and given.missing != "channel" else None),
        )
        entry.number = given.number
        record = None
        if vote and given.judged != "unreadable" and given.missing != "record":
            mark = bytes([given.sealed])
            record = QueueRecord(mark * 32, mark * 16, mark * 40, mark * 64, "192.0.2.1", at_us)
        kept = record is not None and given.missing != "event"
        came = {b"k": b"v", b"d": entry.digest or b""}
        return Row(entry, record, given.judged, event if kept else None, b"sealed ip" if kept else None, came)


def _store(script: Script, who: int, shard: int, rows: list[Given], refuse: bool) -> Awaitable[Any]:  # drawn
    def judge(outcomes: list[Outcome]) -> None:
        if refuse:
            raise Retry(f"the judge says no to {len(outcomes)}")

    return script.stores[who].store_batch(
        script.ballot, shard, [*map(script.row, rows)], epoch=script.epoch, judge=judge
    )


def _judge(script: Script, who: int, shard: int, rows: list[Given]) -> Awaitable[Any]:
    return script.stores[who].judge_batch(script.ballot, shard, [*map(script.row, rows)], epoch=script.epoch)


async def _references(script: Script, who: int, references: list[int]) -> Any:
    asked = [f"0000-0000-0000-{each:04d}" for each in references]
    return sorted(await script.stores[who].stored_references(script.ballot, asked))


def _attempts(script: Script, who: int, shard: int, entries: list[tuple[int, int, int]]) -> Awaitable[Any]:
    attempts = [
        Attempt(
            f"{entry}-0", "vote", "used", named(voter), b"ip", entry, count, entry - 1 if count > 1 else None
        )
        for entry, voter, count in entries
    ]
    return script.stores[who].store_attempts(script.ballot, shard, attempts, epoch=script.epoch)


def _turnout(
    script: Script, who: int, shard: int, ends: tuple[int, int], counts: dict[tuple[int, str], int]
) -> Awaitable[Any]:
    begin, end = (f"{each}-0" for each in ends)
    return script.stores[who].turnout_add(
        script.ballot,
        shard,
        epoch=script.epoch,
        begin=begin,
        end=end,
        entries=sum(counts.values()),
        counts=counts,
    )


async def _epoch(script: Script, who: int, queue: int, stale: bool) -> Any:  # drawn
    number = await script.stores[who].epoch(queue)
    script.epoch = queue if stale else number
    return number


async def _marks(script: Script, who: int) -> Any:
    return [mark for mark in await script.stores[who].marks() if mark.ballot == script.ballot]


async def _event(script: Script, who: int, ours: bool, kind: str) -> Any:  # drawn
    return await script.stores[who].event(script.ballot if ours else None, kind, why="drawn", shard=1)


async def _revoke(script: Script, voter: int, code: int, minute: int) -> Any:
    return await script.desk.revoke(script.digest(voter, code), BEGIN_US + minute * MINUTE_US)


async def _reissue(script: Script, voter: int, code: int, shard: int) -> Any:
    return await script.desk.issue(script.digest(voter, code), script.uin(voter), shard)


_who = st.integers(0, 1)
_shard = st.sampled_from([0, 0, 1])
_voter = st.integers(0, VOTERS)
_minute = st.integers(0, 3)
_plain = st.builds(
    Given,
    kind=st.just("vote"),
    entry=st.integers(0, 30),
    voter=st.integers(0, VOTERS - 1),
    code=st.just(0),
    reference=st.integers(0, 30),
    sealed=st.integers(0, 9),
    minute=_minute,
    number=st.none() | st.integers(1, 9),
)
_odd = st.builds(
    Given,
    kind=st.sampled_from(["vote", "vote", "vote", "postal", "workplace"]),
    entry=st.integers(0, 30),
    voter=_voter,
    code=st.sampled_from([0, 0, 1, 9]),
    reference=st.integers(0, 9),
    sealed=st.integers(0, 4),
    minute=_minute,
    counted=st.booleans(),
    judged=st.sampled_from([None, None, None, "unreadable", "bad_signature", "not_in_register"]),
    event=st.sampled_from([None] * 8 + [1]),
    number=st.none() | st.integers(1, 9),
    missing=st.sampled_from([""] * 8 + ["uin", "reference", "digest", "at_us", "channel", "record", "event"]),
)
_rows = st.lists(_plain, min_size=1, max_size=3) | st.lists(_plain | _odd, min_size=1, max_size=5)
_count = st.tuples(_minute.map(lambda each: each * MINUTE_US), st.sampled_from(["electronic", "postal"]))

OPERATIONS: Final[dict[str, tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]]] = {
    "store": (_store, (_who, _shard, _rows, st.sampled_from([False] * 5 + [True]))),
    "judge": (_judge, (_who, _shard, _rows)),
    "references": (_references, (_who, st.lists(st.integers(0, 12), max_size=4))),
    "attempts": (
        _attempts,
        (
            _who,
            _shard,
            st.lists(st.tuples(st.integers(1, 9), _voter, st.integers(0, 3)), min_size=1, max_size=3),
        ),
    ),
    "turnout": (
        _turnout,
        (
            _who,
            _shard,
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.dictionaries(_count, st.integers(1, 5), max_size=3),
        ),
    ),
    "epoch": (_epoch, (_who, st.sampled_from([-1, 0, 1, 3, 1004, 10**12, 10**15]), st.booleans())),
    "marks": (_marks, (_who,)),
    "event": (
        _event,
        (_who, st.booleans(), st.sampled_from(["fuse", "fuse_cleared", "trust_given", "nonsense"])),
    ),
    "fuse": (lambda script, who: script.stores[who].fuse_blown(), (_who,)),
    "place": (lambda script, who: script.stores[who].take_turnout_place(), (_who,)),
    "leave": (lambda script, who: script.stores[who].close(), (_who,)),
    "plans": (lambda script, who: script.stores[who].forget_plans(), (_who,)),
    "revoke": (_revoke, (st.integers(0, VOTERS - 1), st.just(0), _minute)),
    "reissue": (_reissue, (st.integers(0, VOTERS - 1), st.just(1), _shard)),
}
WEIGHTS: Final = [*OPERATIONS, *(["store"] * 12), *(["judge", "marks"] * 2)]
OPERATION: Final = st.sampled_from(WEIGHTS).flatmap(
    lambda name: st.tuples(st.just(name), *OPERATIONS[name][1])
)
