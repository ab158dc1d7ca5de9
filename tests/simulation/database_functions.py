"""What a worker may execute, as ops/postgres/voterdb defines it (003 to 016), on tables in memory.

Each function has the arguments of its namesake and raises the error that PostgreSQL would.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from tests.simulation.database_fence import (
    fenced,
    recovery_epoch,
    recovery_event,
    recovery_gate_epochs,
    recovery_turnout,
)
from tests.simulation.database_tables import Event, Held, Return, Tables, Vote, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUTE_US: Final = 60_000_000
REFERENCE: Final = re.compile(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){3}")
REASONS: Final = frozenset({"unreadable", "bad_signature", "not_in_register", "conflict"})
BELIEVED_MAX: Final = 4 * 10**12
"""A day ahead of the clock, roughly: no clock comes into what is decided by it here."""
KINDS: Final = frozenset({"vote", "postal", "workplace"})
EVENT_BYTES: Final = 16
NEEDED: Final = tuple(name for name in Vote.__slots__ if name != "number")
EVENTS: Final = frozenset(
    {
        *("fuse", "fuse_cleared", "trust_given", "trust_refused", "attempt_unreadable", "document_refused"),
        "storing_rewound",
    }
)


def entry_order(entry: str) -> list[int]:
    """Stream entries as numbers."""
    return [int(part) for part in entry.split("-")]


def mark_row(tables: Tables, ballot: str, shard: int, side: str) -> tuple[str, int]:
    """The mark, made if it is not there."""
    key = (ballot, shard, side)
    if key not in tables["marks"]:
        tables.put("marks", key, ("0-0", 0))
    found: tuple[str, int] = tables["marks"][key]
    return found


def add_turnout(tables: Tables, ballot: str, side: str, counts: Counter[tuple[int, str]]) -> None:
    """Add to the turnout."""
    for (minute_us, method), votes in sorted(counts.items()):
        key = (ballot, minute_us, method, side)
        tables.put("turnout", key, tables["turnout"].get(key, 0) + votes)


def add_event(tables: Tables, ballot: str | None, kind: str, detail: dict[str, Any]) -> None:
    """A line in the audit log."""
    tables.put("events", len(tables["events"]), Event(ballot, kind, "worker", detail))


def add_vote(tables: Tables, ballot: str, vote: Vote, sealed_ip: bytes) -> None:
    """A vote with its address, unless a constraint says no."""
    if not REFERENCE.fullmatch(vote.reference) or len(vote.event) != EVENT_BYTES:
        raise asyncpg.CheckViolationError("votes")
    if (
        (ballot, vote.uin) in tables["votes"]
        or (ballot, vote.reference) in tables["vote_references"]
        or vote.event in tables["vote_events"]
        or vote.event in tables["ip_records"]
    ):
        raise asyncpg.UniqueViolationError("votes")
    if (ballot, vote.digest) not in tables["register"]:
        raise asyncpg.ForeignKeyViolationError("votes")
    tables.put("votes", (ballot, vote.uin), vote)
    tables.put("vote_references", (ballot, vote.reference), vote.uin)
    tables.put("vote_events", vote.event, vote.uin)
    sealed = (ballot, vote.sealed_sha256)
    tables.put("sealed_digests", sealed, (*tables["sealed_digests"].get(sealed, ()), vote.digest))
    tables.put("ip_records", vote.event, (ballot, sealed_ip))


def store_votes(tables: Tables, ballot: str, shard: int, *columns: Sequence[Any]) -> bool:
    """Store a batch that is nothing but new and sound votes, or say false."""
    numbers = columns[12] if len(columns) > 12 else [None] * len(columns[0])
    entry, entries = mark_row(tables, ballot, shard, "stored")
    votes, addresses = [], columns[11]
    for row in zip(*columns[:11], numbers, strict=True):
        place, uin, reference, digest, at_us, channel, credential, nonce, sealed, signature, event, number = (
            row
        )
        said = (uin, reference, at_us, digest, channel, credential, nonce, sealed, signature)
        votes.append(Vote(*said, hashlib.sha256(sealed).digest(), event, shard, place, number))
    if not all(_plain(tables, ballot, shard, vote) for vote in votes):
        return False
    if len({vote.sealed_sha256 for vote in votes}) != len(votes):
        return False
    before = len(tables.journal or [])
    try:
        for vote, sealed_ip in zip(votes, addresses, strict=True):
            _need(*(getattr(vote, name) for name in NEEDED), sealed_ip)
            add_vote(tables, ballot, vote, sealed_ip)
    except asyncpg.UniqueViolationError:
        tables.undo(before)
        return False
    minutes = Counter((vote.accepted_us - vote.accepted_us % MINUTE_US, "electronic") for vote in votes)
    add_turnout(tables, ballot, "stored", minutes)
    last = max([*columns[0], entry], key=entry_order)
    tables.put("marks", (ballot, shard, "stored"), (last, entries + len(votes)))
    return True


def _plain(tables: Tables, ballot: str, shard: int, vote: Vote) -> bool:
    """Whether store_batch would say `stored` of it, as far as this vote alone shows."""
    revoked_us = tables["revocations"].get((ballot, vote.digest))
    return (
        tables["register"].get((ballot, vote.digest)) == (vote.uin, shard)
        and (ballot, shard, vote.entry) not in tables["quarantine"]
        and (revoked_us is None or revoked_us > vote.accepted_us)
        and (ballot, vote.uin) not in tables["counted_returns"]
        and (ballot, vote.sealed_sha256) not in tables["sealed_digests"]
    )


@dataclass(slots=True)
class Given:
    """One entry of a batch, in the order of store_batch's columns, and what has been made of it."""

    entry: str
    kind: str
    judged: str | None
    counted: bool
    uin: Any
    reference: Any
    digest: Any
    at_us: Any
    received_us: Any
    channel: Any
    credential: Any
    nonce: Any
    sealed: Any
    signature: Any
    event: Any
    sealed_ip: Any
    record: Any
    number: int | None
    sealed_sha256: Any = None
    status: str = ""
    fresh: bool = False

    @property
    def vote(self) -> bool:
        """Whether it is a vote, not a return."""
        return self.kind == "vote"

    @property
    def same(self) -> tuple[Any, ...] | None:
        """By what a vote is the same one again; what lacks a part of it never is."""
        parts = (self.reference, self.digest, self.sealed_sha256)
        return None if None in parts else parts


def store_batch(
    tables: Tables, ballot: str, shard: int, *columns: Sequence[Any]
) -> list[tuple[str, str, bool, bool]]:
    """Store a batch and tell of each entry what became of it."""
    numbers = columns[17] if len(columns) > 17 else [None] * len(columns[0])
    batch = [Given(*row) for row in zip(*columns[:17], numbers, strict=True)]
    for given in batch:
        given.sealed_sha256 = sha256(given.sealed)
    if not batch or len({given.entry for given in batch}) != len(batch):
        raise asyncpg.RaiseError("a batch holds each entry once, and at least one")
    if not {given.kind for given in batch} <= KINDS:
        raise asyncpg.RaiseError("an entry is a vote or a postal or workplace return")
    mark_row(tables, ballot, shard, "stored")
    for given in batch:
        known = tables["quarantine"].get((ballot, shard, given.entry))
        given.fresh = known is None
        given.status = known.reason if known else _alone(tables, ballot, shard, given)
    _against_each_other(batch)
    for given in batch:
        given.fresh = given.fresh and given.status != "redelivered"
    _write(tables, ballot, shard, batch)
    equal = _equal_sealed(tables, ballot, batch)
    for each in sorted(equal):
        add_event(tables, ballot, "equal_sealed", {"shard": shard, "entry": each})
    counts = Counter(
        (given.at_us - given.at_us % MINUTE_US, "electronic" if given.vote else given.kind)
        for given in batch
        if given.status == "stored" and given.counted
    )
    add_turnout(tables, ballot, "stored", counts)
    entry, entries = tables["marks"][ballot, shard, "stored"]
    last = max([entry, *(given.entry for given in batch)], key=entry_order)
    tables.put("marks", (ballot, shard, "stored"), (last, entries + sum(given.fresh for given in batch)))
    return [
        (given.entry, given.status, given.fresh, given.status == "stored" and given.entry in equal)
        for given in batch
    ]


def _alone(tables: Tables, ballot: str, shard: int, given: Given) -> str:  # noqa: PLR0911  # the function's own cases, in its order
    """What an entry is, looked at alone."""
    vote = tables["votes"].get((ballot, given.uin))
    if not given.vote and (ballot, shard, given.entry) in tables["returns"]:
        return "redelivered"
    if given.vote and vote and (vote.reference, vote.digest) == (given.reference, given.digest):
        again = given.sealed is None and (vote.shard, vote.entry) == (shard, given.entry)
        if again or vote.sealed_sha256 == given.sealed_sha256:
            return "redelivered"
    if given.judged is not None:
        return str(given.judged)
    if not _in_register(tables, ballot, shard, given):
        return "not_in_register"
    counted = vote is not None or (ballot, given.uin) in tables["counted_returns"]
    if given.counted and counted:
        return "conflict"
    if given.vote and (ballot, given.reference) in tables["vote_references"]:
        return "conflict"
    return "stored"


def _in_register(tables: Tables, ballot: str, shard: int, given: Given) -> bool:
    if not given.vote:
        return (ballot, given.uin) in tables["electorate"]
    if tables["register"].get((ballot, given.digest)) != (given.uin, shard):
        return False
    revoked_us = tables["revocations"].get((ballot, given.digest))
    return revoked_us is None or given.at_us is None or revoked_us > given.at_us


def _against_each_other(batch: list[Given]) -> None:
    """What an entry is against those before it."""
    voters: dict[bytes, Given] = {}
    references: set[str] = set()
    decided: list[tuple[Given, str]] = []
    for given in batch:
        if given.status != "stored":
            continue
        taken = given.vote and given.reference in references
        if given.vote:
            references.add(given.reference)
        if not given.counted:
            continue
        first = voters.setdefault(given.uin, given)
        if first is not given:
            again = given.vote and given.same is not None and given.same == first.same
            decided.append((given, "redelivered" if again else "conflict"))
        elif taken:
            decided.append((given, "conflict"))
    for given, status in decided:
        given.status = status


def _write(tables: Tables, ballot: str, shard: int, batch: list[Given]) -> None:
    """The rows of everything that is new."""
    for given in batch:
        if given.status == "stored" and given.vote:
            vote = Vote(
                *(given.uin, given.reference, given.at_us, given.digest, given.channel, given.credential),
                *(given.nonce, given.sealed, given.signature, given.sealed_sha256, given.event),
                *(shard, given.entry, given.number),
            )
            _need(*(getattr(vote, name) for name in NEEDED), given.sealed_ip)
            add_vote(tables, ballot, vote, given.sealed_ip)
    for given in batch:
        if given.status == "stored" and not given.vote:
            _need(given.received_us, given.at_us)
            place = (ballot, shard, given.entry)
            row = Return(given.uin, given.kind, given.received_us, given.at_us, given.counted)
            tables.put("returns", place, row)
            if given.counted:
                tables.put("counted_returns", (ballot, given.uin), place)
    for given in batch:
        if given.fresh and given.status != "stored":
            if given.status not in REASONS:
                raise asyncpg.CheckViolationError("quarantine")
            held = Held(given.status, given.reference, given.uin, given.digest, given.at_us, given.record)
            tables.put("quarantine", (ballot, shard, given.entry), held)
            detail = {"shard": shard, "entry": given.entry, "reason": given.status}
            add_event(tables, ballot, "quarantined", detail)


def _need(*values: object) -> None:
    """The columns that must not be null are not."""
    if None in values:
        raise asyncpg.NotNullViolationError("a null value in a column that has none")


def _equal_sealed(tables: Tables, ballot: str, batch: list[Given]) -> set[str]:
    """Stored votes of the batch whose sealed bytes are stored under another credential too."""
    return {
        given.entry
        for given in batch
        if given.vote
        and given.status == "stored"
        and any(digest != given.digest for digest in tables["sealed_digests"][ballot, given.sealed_sha256])
    }


def store_attempts(tables: Tables, ballot: str, shard: int, *columns: Sequence[Any]) -> int:
    """Store attempts; how many were new."""
    new = 0
    for entry, kind, outcome, digest, sealed_ip, at_us, count, first_us in zip(*columns, strict=True):
        key = (ballot, shard, entry)
        if count <= 0:
            raise asyncpg.CheckViolationError("attempts")
        if key not in tables["attempts"]:
            tables.put("attempts", key, (kind, outcome, digest, sealed_ip, at_us, count, first_us))
            new += 1
    return new


def turnout_add(
    tables: Tables,
    ballot: str,
    shard: int,
    begin: str,
    end: str,
    more: int,
    minutes: Sequence[int],
    methods: Sequence[str],
    votes: Sequence[int],
) -> bool:
    """Add what lies between two entries, if the mark is at the first."""
    if not entry_order(end) > entry_order(begin):
        raise asyncpg.RaiseError("turnout goes forward")
    entry, entries = mark_row(tables, ballot, shard, "turnout")
    if entry != begin:
        return False
    tables.put("marks", (ballot, shard, "turnout"), (end, entries + more))
    counts: Counter[tuple[int, str]] = Counter()
    for minute_us, method, count in zip(minutes, methods, votes, strict=True):
        counts[minute_us, method] += count
    add_turnout(tables, ballot, "accepted", counts)
    return True


def worker_marks(tables: Tables) -> list[tuple[str, int, str, str, int, int]]:
    """How far storing and turnout have come."""
    electronic: Counter[str] = Counter()
    for (ballot, _, method, side), votes in tables["turnout"].items():
        if side == "stored" and method == "electronic":
            electronic[ballot] += votes
    return [
        (ballot, shard, side, entry, entries, electronic[ballot])
        for (ballot, shard, side), (entry, entries) in sorted(tables["marks"].items())
    ]


def worker_kept(tables: Tables) -> list[tuple[str, int, None, None, int, int]]:
    """How many codes of each shard were revoked; the model has no window and no release on record."""
    register = tables["register"]
    counts = Counter({(ballot, shard): 0 for (ballot, _), (_, shard) in register.items()})
    counts.update((ballot, register[ballot, digest][1]) for ballot, digest in tables["revocations"])
    return [(*place, None, None, counts[place], 0) for place in sorted(counts)]


def worker_gate_epochs(tables: Tables) -> list[tuple[str, int]]:
    """The number that the last recovery gave each ballot's gates."""
    return sorted((ballot, number) for ballot, number in tables["gate_epochs"].items() if number)


def trimmer_marks(tables: Tables) -> list[tuple[str, int, str, str]]:
    """The same, for the trimmer."""
    return [(*place, entry) for place, (entry, _) in sorted(tables["marks"].items())]


def worker_event(tables: Tables, ballot: str | None, kind: str, detail: str) -> None:
    """One line in the audit log."""
    if kind not in EVENTS:
        raise asyncpg.RaiseError(f"a worker writes no event of kind {kind}")
    add_event(tables, ballot, kind, json.loads(detail))


def worker_fuse_state(tables: Tables) -> bool:
    """Whether the fuse has blown and nothing has cleared it since."""
    for event in reversed(tables["events"].values()):
        if event.ballot is None and event.actor == "worker" and event.kind in {"fuse", "fuse_cleared"}:
            return bool(event.kind == "fuse")
    return False


def worker_stored_references(tables: Tables, ballot: str, references: Sequence[str]) -> list[tuple[str]]:
    """Which of these are stored votes'."""
    return [(each,) for each in dict.fromkeys(references) if (ballot, each) in tables["vote_references"]]


def worker_epoch(tables: Tables, queue: int) -> int:
    """The number; a queue's that is a little ahead is taken over."""
    number = int(tables["queue_epoch"].get("number", 0))
    if number < queue <= BELIEVED_MAX:
        tables.put("queue_epoch", "number", queue)
        add_event(tables, None, "queue_epoch_raised", {"from": number, "to": queue})
        return queue
    return number


WRITES: Final = {
    **{each.__name__: fenced(each) for each in (store_votes, store_batch, store_attempts, turnout_add)},
    **{each.__name__: each for each in (worker_event, worker_epoch)},
    **{each.__name__: each for each in (recovery_epoch, recovery_gate_epochs)},
    **{each.__name__: each for each in (recovery_turnout, recovery_event)},
}
READS: Final = {
    each.__name__: each
    for each in (
        *(worker_kept, worker_gate_epochs, worker_marks, trimmer_marks, worker_fuse_state),
        worker_stored_references,
    )
}
