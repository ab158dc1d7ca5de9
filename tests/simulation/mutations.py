"""Faults put into the code on purpose, each at the place of one promise: the simulation must notice all.

Each is a small change of the product as it is loaded, the gate's as text, the rest as a replaced method; the
last few are of what database and trimmer promise, whose code is modelled here. None is ever written to disk.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import asyncpg
from redis.exceptions import RedisError

import scrutineer.lifecycle
from ballot.receipt import Leaf
from intake.durability import DURABLE, Durability
from intake.gate import Decision
from intake.link import Link
from intake.wire import Wire
from ops.recovery.jumps import Jump
from ops.recovery.shard import Shard
from tests.simulation import database_functions
from tests.simulation.lua_gate import gate_source
from tests.simulation.trimming import Trimmer
from workers.queue import Given, Queue
from workers.reading import Reading
from workers.restored import Restored
from workers.storing import Storing
from workers.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from intake.lines import Round
    from tests.simulation.database_tables import Tables, Vote
    from tests.simulation.plan import Level
    from workers.store import Outcome

SIDES: Final = ("stored", "turnout")
SEEDS_MAX: Final = 300
"""So many seeds are tried when the one that is named no longer notices it."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault: whose promise it breaks, and how. `where` and `to` are texts of the gate."""

    name: str
    breaks: str
    seed: int
    """One that noticed it when this was written: tried first. As the code changes, so do the histories."""

    level: Level = "disk"
    gate: tuple[tuple[str, str], ...] = ()
    python: tuple[tuple[Any, str, Any], ...] = ()

    def source(self) -> bytes | None:
        """The gate with it; None when the gate is as it is."""
        text = gate_source().decode()
        for where, to in self.gate:
            if text.count(where) != 1:
                raise ValueError(f"{self.name}: the gate has {where!r} {text.count(where)} times")
            text = text.replace(where, to)
        return text.encode() if self.gate else None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the product has it."""
        with ExitStack() as stack:
            for owner, name, put in self.python:
                if isinstance(owner, dict):
                    stack.enter_context(patch.dict(owner, put, clear=name == "clear"))
                elif isinstance(owner, str):
                    stack.enter_context(patch(f"{owner}.{name}", put))
                else:
                    stack.enter_context(patch.object(owner, name, put))
            yield


def _as_proved(_: Jump, known: int) -> int:
    return known


def _always(value: Any) -> Callable[..., Any]:
    def said(*_: Any, **__: Any) -> Any:
        return value

    return said


def _never(value: Any) -> Callable[..., Any]:
    async def said(*_: Any, **__: Any) -> Any:
        return value

    return said


_commit = Storing._commit


async def _acknowledge_first(self: Storing, batch: Any, checked: Any) -> list[Outcome]:
    await self._queue.acknowledge(batch.stream, batch.given, references_key="x", states={})
    return await _commit(self, batch, checked)


def _told_accepted(self: Link, round_: Round) -> None:
    """Whoever has no answer from the queue is told that all is well."""
    for item in round_.all():
        decision: Decision | None = None
        if item.function == "ballot_cast" and not item.settled:
            reference, sealed = item.args[2].decode(), item.args[4]
            decision = Decision("accepted", 0, 1, "open", reference, 1, sealed)
            (decision.receipt,) = self._issue_receipts([_leaf(item.ballot, decision)])
        self.settle(item, decision)


def _leaf(ballot: str, decision: Decision) -> Leaf:
    return Leaf(ballot, decision.reference, decision.accepted_us, decision.sealed_sha256)


_exchange = Wire.exchange


async def _sent_again(self: Wire, commands: Any) -> list[Any]:
    try:
        return await _exchange(self, commands)
    except (RedisError, OSError, TimeoutError):
        await self.open()
        return await _exchange(self, commands)


_again = Reading._again


async def _taken_for_done(self: Reading, streams: Any) -> Given:
    """What comes again is taken for done, without a look."""
    for stream, entries in (await _again(self, streams)).items():
        ids = [entry for entry, _ in entries]
        await self._queue.acknowledge(stream, ids, references_key="x", states={})
    return Given()


_claim_stale = Queue.claim_stale


async def _claimed_for_done(self: Queue, *args: Any, **named: Any) -> Given:
    for stream, entries in (await _claim_stale(self, *args, **named)).items():
        ids = [entry for entry, _ in entries]
        await self.acknowledge(stream, ids, references_key="x", states={})
    return Given()


async def _last_shard_later(gate: Any, states: Any, closes_us: int) -> None:
    for state in states:
        late = 1_000_000 if state is states[-1] and len(states) > 1 else 0
        await gate.set_closes(state.shard, closes_us + late)


def _no_constraint(tables: Tables, ballot: str, vote: Vote, sealed_ip: bytes) -> None:
    if vote.event in tables["vote_events"]:
        raise asyncpg.UniqueViolationError("votes")
    tables.put("votes", (ballot, vote.uin, vote.event), vote)
    tables.put("vote_events", vote.event, vote.uin)
    tables.put("ip_records", vote.event, (ballot, sealed_ip))


def _by_marks_alone(self: Trimmer, marks: dict[tuple[int, str], Any]) -> None:
    if self.covered is not None:
        shards = range(self.world.plan.shards)
        self.covered = {shard: min(marks.get((shard, side), (0, 0)) for side in SIDES) for shard in shards}


MUTATIONS: Final = (
    Mutation(
        "reply_before_fsync",
        "1: an edge takes votes of a queue that answers before its fsync",
        2,
        python=((DURABLE, "clear", {k: v for k, v in DURABLE.items() if k != "appendfsync"}),),
    ),
    Mutation(
        "reply_before_replicas",
        "1: an edge does not look whether the replicas have the vote",
        60,
        level="replicated",
        python=((Durability, "kept", _always(value=True)),),
    ),
    Mutation(
        "reply_before_answer",
        "1: a vote without an answer from the queue is confirmed",
        3,
        python=((Link, "_unconfirmed", _told_accepted),),
    ),
    Mutation(
        "acknowledge_before_commit",
        "1: a worker acknowledges first and stores then",
        0,
        python=((Storing, "_commit", _acknowledge_first),),
    ),
    Mutation(
        "check_and_mark_in_two_steps",
        "2: all votes of a call are checked before the first is marked",
        39,
        gate=(("local mark = marks[row] or marked[uin]", "local mark = marks[row]"),),
    ),
    Mutation(
        "mark_after_the_call",
        "2: a voter's mark is written with the next call",
        2,
        gate=(
            ("local function cast(keys, args)", "local later = {}\nlocal function cast(keys, args)"),
            (
                "  set_all(keys[3], new_marks)\n",
                "  set_all(keys[3], later[keys[3]] or {})\n  later[keys[3]] = new_marks\n",
            ),
        ),
    ),
    Mutation(
        "retry_with_a_new_reference",
        "3: the same vote again gets the reference that was drawn this time",
        60,
        gate=(("told = { 'repeated', written_reference(mark, 25),", "told = { 'repeated', args[i + 2],"),),
    ),
    Mutation(
        "retry_not_recognised",
        "3: the same vote again is refused as a second vote",
        60,
        gate=(("if same and mark and credential then", "if false then"),),
    ),
    Mutation(
        "sent_again_after_a_reset",
        "11: an edge connects again by itself and repeats what it sent, past its checks",
        359,
        python=((Wire, "exchange", _sent_again),),
    ),
    Mutation(
        "no_trust_needed",
        "13: an edge takes votes of a queue that nobody has compared with the database",
        2,
        python=(("intake.node", "require_trust", _always(value=None)),),
    ),
    Mutation(
        "trust_without_comparing",
        "13: a worker vouches for a queue without a look at what is stored",
        77,
        python=((Trust, "_faults", _never([])),),
    ),
    Mutation(
        "no_fence",
        "13: the database takes what a worker read from the queue before it was recovered",
        610,
        python=(("tests.simulation.database_fence", "storing_fence", _always(None)),),
    ),
    Mutation(
        "recovery_gives_numbers_again",
        "12: a recovery goes on behind the largest number that is proved",
        97,
        python=((Jump, "beyond", _as_proved),),
    ),
    Mutation(
        "recovery_without_marks",
        "13: a recovery puts no voter's mark back",
        96,
        python=((Shard, "marks", _never((0, 0, []))),),
    ),
    Mutation(
        "clock_reopens",
        "9: a shard goes by its clock alone, also backwards",
        61,
        gate=(
            (
                "now_us = math.max(clock_us(), tonumber(fields[4]) + (least_step_us or 0)),",
                "now_us = clock_us(),",
            ),
            (
                "  if seen.state ~= 'closed' then\n    if seen.now_us",
                "  if true then\n    seen.state = 'scheduled'\n    if seen.now_us",
            ),
        ),
    ),
    Mutation(
        "one_shard_closes_late",
        "9: closing gives one shard a later instant",
        0,
        python=((scrutineer.lifecycle, "_set_everywhere", _last_shard_later),),
    ),
    Mutation(
        "closed_without_latching",
        "9: closing is content with a shard that was read as closed",
        0,
        python=(("scrutineer.gate.Gate", "latch", _never((True, 0))),),
    ),
    Mutation(
        "own_entries_skipped",
        "1: what a worker was given before a failure it takes for done",
        2,
        python=((Reading, "_again", _taken_for_done),),
    ),
    Mutation(
        "claimed_entries_skipped",
        "1: what a dead worker left is taken for done",
        61,
        python=((Queue, "claim_stale", _claimed_for_done),),
    ),
    Mutation(
        "restored_database_not_rewound",
        "13: nobody looks whether the database has forgotten what was acknowledged",
        14,
        python=((Restored, "check", _never([])),),
    ),
    Mutation(
        "turnout_not_looked_at_again",
        "12: the turnout does not notice a database of yesterday until another vote comes",
        171,
        python=(("workers.turnout", "LOOK_S", 1e9),),
    ),
    Mutation(
        "number_given_twice",
        "12: the votes of one call have one number",
        1,
        gate=(("'n', whole(seen.number + place))", "'n', whole(seen.number + 1))"),),
    ),
    Mutation(
        "no_unique_constraint",
        "2: the database takes a redelivered vote for a new one",
        2,
        python=((database_functions, "add_vote", _no_constraint),),
    ),
    Mutation(
        "trim_before_store",
        "1: the trimmer goes by age alone",
        2,
        python=((Trimmer, "below", _always((2**62, 0))),),
    ),
    Mutation(
        "backup_covers_by_marks_alone",
        "1: the trimmer takes all below a backup's mark for stored there, also what a dead worker had",
        5292,
        python=((Trimmer, "cover", _by_marks_alone),),
    ),
)

BY_NAME: Final = {mutation.name: mutation for mutation in MUTATIONS}
