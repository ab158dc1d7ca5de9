"""The trimmer on real servers: it takes out what everybody has, and nothing else, whatever the positions."""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from redis.exceptions import NoPermissionError

from ballot import handoff
from ops.trim_bounds import Mark, order
from ops.trimming import LEAST_AGE_S, ROLE, USER, Away, Trimmer
from runtime import postgres, valkey
from runtime.home import Home
from runtime.servers import servers
from tests.conftest import environment_for
from tests.integration import cluster_rig
from tests.integration.fake_clocks import FakeClock
from tests.integration.intake_scratch import scratch_queue
from tests.integration.queue_server import QueueServer
from tests.integration.workers_ground import Ground, ground
from tests.manual_clock import ManualClock
from workers.trust import Trust
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from tests.conftest import Stack

HERE = Verifier(0)
CASES = 25
NODE_ENTRIES = 100
"""As many entries as a node of a stream has at most: only whole nodes are taken out."""

BIG = b"x" * 3000
"""Two entries of this size fill a node."""


@dataclass
class Case:
    """A stream in some state, and the ids that somebody still needs."""

    ballot: str
    ids: list[str]
    marks: list[Mark] = field(default_factory=list)
    covered: list[Mark] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    later: str = ""
    """A vote that came after the trimmer's first look, stored in most backups."""


@asynccontextmanager
async def trimmer(
    stack: Stack, *, note: Path | None = None, least_age_s: float = LEAST_AGE_S
) -> AsyncIterator[tuple[Trimmer, ManualClock]]:
    """One trimmer whose own clock moves when the test says so."""
    clock = ManualClock()
    made = Trimmer(stack.servers, note=note, clock=clock, least_age_s=least_age_s)
    try:
        yield made, clock
    finally:
        await made.close()


async def rounds(
    trimming: tuple[Trimmer, ManualClock], meanwhile: Awaitable[object] | None = None
) -> dict[str, tuple[int, str]]:
    """Look, wait for a quarter of an hour, and trim: entries gone and what held the others, by ballot."""
    made, clock = trimming
    first = {each.ballot: each.entries for each in await made.round()}
    clock.advance(LEAST_AGE_S)
    if meanwhile is not None:
        await meanwhile
    return {
        each.ballot: (first.get(each.ballot, 0) + each.entries, each.held_by) for each in await made.round()
    }


async def put_marks(owner: Any, marks: list[Mark], entries: int = 0) -> None:
    """Write the voter database's marks."""
    await owner.executemany(
        "INSERT INTO ballot.marks (ballot, shard, side, entry, entries) VALUES ($1, $2, $3, $4, $5)",
        [(mark.ballot, mark.shard, mark.side, mark.entry, entries) for mark in marks],
    )


async def add(admin: Any, key: str, ids: list[str]) -> None:
    """Append an entry by each id."""
    async with admin.pipeline(transaction=False) as pipeline:
        for entry in ids:
            pipeline.xadd(key, {"r": BIG}, id=entry)
        await pipeline.execute()


async def draw(chance: random.Random, admin: Any, ballot: str) -> Case:
    """A stream of old and young entries, groups anywhere in it, and marks anywhere."""
    key = handoff.votes_key(ballot, 0)
    now_ms = time.time_ns() // 1_000_000
    spread_ms = chance.choice((60_000, int(LEAST_AGE_S * 2000), 10**8, 10**9))
    at = sorted({now_ms - 2_000 - chance.randrange(spread_ms + 1) for _ in range(chance.randrange(1, 90))})
    ids = [f"{ms}-{chance.randrange(3)}" for ms in at]
    await add(admin, key, ids)
    case = Case(ballot, ids)
    groups = [handoff.GROUP, *(f"g{number}" for number in range(chance.randrange(3)))]
    for group in groups:
        await admin.xgroup_create(key, group, id="0")
        given = await admin.xreadgroup(
            group, "c", {key: ">"}, count=chance.choice((chance.randrange(1, len(ids) + 1), 100, 100))
        )
        names = [entry.decode() for _, entries in given or [] for entry, _ in entries]
        kept = set(chance.sample(names, chance.choice((0, 0, 0, 0, 0, 1, len(names) // 2))))
        if set(names) - kept:
            await admin.xack(key, group, *(set(names) - kept))
        case.needed |= kept | set(ids[len(names) :])
    case.later = f"{now_ms - 1_000}-0"
    for marks, end in ((case.marks, ids[-1]), (case.covered, case.later)):
        for side in ("stored", "turnout"):
            entry = chance.choice(
                [*[end] * 8, chance.choice(ids), chance.choice(ids), f"{at[0] - 1}-0", "0-0"]
            )
            marks.append(Mark(ballot, 0, side, entry))
            case.needed |= {each for each in ids if order(each) > order(entry)}
    if any(mark.entry != case.later for mark in case.covered):
        case.needed |= set(ids)  # begun, for all that is known, before they were acknowledged
    case.needed |= {each for each, ms in zip(ids, at, strict=True) if ms > now_ms - LEAST_AGE_S * 1000}
    return case


@pytest.mark.parametrize("seed", range(2))
async def test_no_entry_that_anybody_needs_is_taken_out(
    stack: Stack, ballot_id: str, tmp_path: Path, seed: int
) -> None:
    """Streams, groups, marks and backups at random: what is needed stays, and what nobody needs goes."""
    chance = random.Random(seed)
    admin: Any = valkey.connect(stack.servers, "admin")
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    note = tmp_path / "note"
    cases = [await draw(chance, admin, f"{ballot_id}-{place}") for place in range(CASES)]
    try:
        await put_marks(owner, [mark for case in cases for mark in case.marks])
        rows = [vars_of(mark) for case in cases for mark in case.covered]
        note.write_text(json.dumps({"backup": "x", "marks": rows}))

        async def go_on() -> None:
            for case in cases:
                await add(admin, handoff.votes_key(case.ballot, 0), [case.later])

        async with trimmer(stack, note=note) as trimming:
            done = await rounds(trimming, go_on())

        gone = 0
        for case in cases:
            stream = await admin.xrange(handoff.votes_key(case.ballot, 0))
            assert stream[-1][0].decode() == case.later
            left = [entry.decode() for entry, _ in stream[:-1]]
            assert case.needed <= set(left), case
            assert left == case.ids[len(case.ids) - len(left) :]
            first = next(
                (place for place, entry in enumerate(case.ids) if entry in case.needed), len(case.ids)
            )
            assert first - (len(case.ids) - len(left)) <= NODE_ENTRIES // 25, case
            gone += done[case.ballot][0]
        assert gone == sum(len(case.ids) for case in cases) - sum(
            [await admin.xlen(handoff.votes_key(case.ballot, 0)) - 1 for case in cases]
        )
        assert gone > 0
    finally:
        for case in cases:
            await admin.delete(handoff.votes_key(case.ballot, 0))
            await owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", case.ballot)
        await admin.aclose()
        await owner.close()


def vars_of(mark: Mark) -> dict[str, Any]:
    """A mark as the backups note it."""
    return {"ballot": mark.ballot, "shard": mark.shard, "side": mark.side, "entry": mark.entry}


@dataclass
class Old:
    """A ballot's stream of entries that are an hour old, read and acknowledged, with marks at its end."""

    admin: Any
    owner: Any
    ballot: str
    key: str
    ids: list[str]

    async def length(self) -> int:
        """How many entries it has."""
        return int(await self.admin.xlen(self.key))


@pytest.fixture
async def old(stack: Stack, ballot_id: str) -> AsyncIterator[Old]:
    """One of forty entries."""
    admin: Any = valkey.connect(stack.servers, "admin")
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    key = handoff.votes_key(ballot_id, 0)
    hour_ago_ms = time.time_ns() // 1_000_000 - 3_600_000
    ids = [f"{hour_ago_ms + place}-0" for place in range(40)]
    await add(admin, key, ids)
    await admin.xgroup_create(key, handoff.GROUP, id="0")
    await admin.xreadgroup(handoff.GROUP, "c", {key: ">"})
    await admin.xack(key, handoff.GROUP, *ids)
    await put_marks(owner, [Mark(ballot_id, 0, side, ids[-1]) for side in ("stored", "turnout")], len(ids))
    try:
        yield Old(admin, owner, ballot_id, key, ids)
    finally:
        await admin.delete(key)
        await owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", ballot_id)
        await admin.aclose()
        await owner.close()


async def test_what_everybody_has_goes_but_for_the_last(stack: Stack, old: Old) -> None:
    """The stream keeps its counts, so whoever counts what it ever held goes on as before."""
    before = await old.admin.xinfo_stream(old.key)
    async with trimmer(stack) as trimming:
        entries, held_by = (await rounds(trimming))[old.ballot]

    after = await old.admin.xinfo_stream(old.key)
    assert entries >= 38
    assert held_by == "stored"
    assert after["length"] == 40 - entries
    for name in ("entries-added", "last-generated-id", "max-deleted-entry-id"):
        assert after[name] == before[name]


async def test_nothing_goes_that_was_not_seen_for_long_enough(stack: Stack, old: Old) -> None:
    """However old an entry's id says it is: not before a quarter of an hour has passed on a clock of ours."""
    async with trimmer(stack) as (made, clock):
        for _ in range(3):
            assert {each.held_by for each in await made.round() if each.ballot == old.ballot} == {"seen"}
            clock.advance(LEAST_AGE_S / 3 - 1)
        assert await old.length() == 40
        clock.advance(10)
        await made.round()

    assert await old.length() < 3


async def test_nothing_young_goes_by_the_queues_own_clock(stack: Stack, old: Old) -> None:
    """Entries of the last quarter of an hour stay, wherever marks and groups are."""
    young = await old.admin.xadd(old.key, {"r": BIG})
    younger = await old.admin.xadd(old.key, {"r": BIG})
    await old.admin.xreadgroup(handoff.GROUP, "c", {old.key: ">"})
    await old.admin.xack(old.key, handoff.GROUP, young, younger)
    await old.owner.execute(
        "UPDATE ballot.marks SET entry = $2 WHERE ballot = $1", old.ballot, younger.decode()
    )
    async with trimmer(stack) as trimming:
        assert (await rounds(trimming))[old.ballot][1] == "age"

    assert {young, younger} <= {entry for entry, _ in await old.admin.xrange(old.key)}


async def test_while_the_queue_is_recovered_nothing_goes(stack: Stack, old: Old) -> None:
    """Recovery reads the streams for what nobody has stored."""
    await old.admin.set(handoff.RECOVERING_KEY, "1")
    try:
        async with trimmer(stack) as trimming:
            assert await rounds(trimming) == {}
    finally:
        await old.admin.delete(handoff.RECOVERING_KEY)

    assert await old.length() == 40


async def test_without_a_verified_backup_nothing_goes(stack: Stack, old: Old, tmp_path: Path) -> None:
    """Where there are backups and none covers the ballot, or the note of it is odd."""
    note = tmp_path / "note"
    for text in (None, "junk", json.dumps({"marks": [vars_of(Mark(old.ballot, 0, "stored", old.ids[-1]))]})):
        if text is not None:
            note.write_text(text)
        async with trimmer(stack, note=note) as trimming:
            assert (await rounds(trimming))[old.ballot] == (0, "backup")

    assert await old.length() == 40


@pytest.mark.parametrize("dead", [False, True], ids=["all stored", "one with a dead worker"])
@pytest.mark.parametrize("name", ["20250615T140000Z-full", "20250615T161640Z-full"])
async def test_what_was_with_a_dead_worker_when_a_backup_began_stays(
    stack: Stack, old: Old, tmp_path: Path, name: str, *, dead: bool
) -> None:
    """Stored afterwards, it is in no backup, though the backup's marks are at the stream's end.

    What the backup is called, by a clock an hour ahead or behind, says nothing.
    """
    note = tmp_path / "note"
    if dead:
        await old.admin.xgroup_setid(old.key, handoff.GROUP, id=old.ids[4])
        await old.admin.xreadgroup(handoff.GROUP, "c", {old.key: ">"})
        await old.admin.xack(old.key, handoff.GROUP, *old.ids[6:])

    async with trimmer(stack, note=note) as (made, clock):
        await made.round()
        after = await vote_later(old)
        marks = [vars_of(Mark(old.ballot, 0, side, after)) for side in ("stored", "turnout")]
        note.write_text(json.dumps({"backup": name, "marks": marks}))
        await old.admin.xack(old.key, handoff.GROUP, old.ids[5])
        clock.advance(LEAST_AGE_S)
        await made.round()

    left = [entry.decode() for entry, _ in await old.admin.xrange(old.key)]
    assert (old.ids[5] in left) == dead


async def vote_later(old: Old) -> str:
    """One more vote, read, stored and acknowledged; its entry."""
    after = (await old.admin.xadd(old.key, {"r": BIG})).decode()
    await old.admin.xreadgroup(handoff.GROUP, "c", {old.key: ">"})
    await old.owner.execute("UPDATE ballot.marks SET entries = entries + 1 WHERE ballot = $1", old.ballot)
    await old.admin.xack(old.key, handoff.GROUP, after)
    return str(after)


class _StartedAnew(Trimmer):
    """One whose voter database says that it runs since another moment, once somebody has said `anew`."""

    anew = False

    async def _asked(self, query: str) -> list[Any]:
        rows = await super()._asked(query)
        return [(*row[:3], "anew") for row in rows] if self.anew and "trimmer_stored" in query else rows


@pytest.mark.parametrize(
    "back", ["not", "started anew", "lacks some", pytest.param("lacked some", marks=pytest.mark.long)]
)
async def test_what_a_restored_database_has_again_is_in_no_backup_of_before(
    stack: Stack, old: Old, tmp_path: Path, back: str
) -> None:
    """Put back and brought forward within one round: a backup that began in between may lack an entry."""
    note, clock = tmp_path / "note", ManualClock()
    made = _StartedAnew(stack.servers, note=note, clock=clock)

    async def lacks(entries: int) -> None:
        await old.owner.execute(
            "UPDATE ballot.marks SET entries = entries - $2 WHERE ballot = $1", old.ballot, entries
        )

    try:
        await lacks(1 if back == "lacked some" else 0)
        await made.round()
        after = await vote_later(old)
        made.anew = back == "started anew"
        await lacks({"lacks some": 1, "lacked some": -1}.get(back, 0))
        marks = [vars_of(Mark(old.ballot, 0, side, after)) for side in ("stored", "turnout")]
        note.write_text(json.dumps({"backup": "20250615T140000Z-full", "marks": marks}))
        clock.advance(LEAST_AGE_S)
        (found,) = [each for each in await made.round() if each.ballot == old.ballot]
    finally:
        await made.close()
    assert (found.entries > 0) == (back == "not")
    assert back == "not" or found.held_by == "backup"


async def test_a_backup_that_ends_where_the_stream_ended_at_the_first_look_covers_nothing(
    stack: Stack, old: Old, tmp_path: Path
) -> None:
    """Nobody knows what was acknowledged when it began, whatever it is called and however long we look."""
    note = tmp_path / "note"
    marks = [vars_of(Mark(old.ballot, 0, side, old.ids[-1])) for side in ("stored", "turnout")]
    note.write_text(json.dumps({"backup": "20990615T150000Z-full", "marks": marks}))

    async with trimmer(stack, note=note) as trimming:
        assert (await rounds(trimming))[old.ballot] == (0, "backup")
        assert (await rounds(trimming, vote_later(old)))[old.ballot] == (0, "backup")


async def test_without_both_marks_or_a_reader_nothing_goes(stack: Stack, old: Old) -> None:
    """A stream that no worker has read, and a shard whose turnout was never counted."""
    await old.admin.xgroup_destroy(old.key, handoff.GROUP)
    async with trimmer(stack) as trimming:
        assert (await rounds(trimming))[old.ballot] == (0, "unread")
    await old.owner.execute("DELETE FROM ballot.marks WHERE ballot = $1 AND side = 'turnout'", old.ballot)
    async with trimmer(stack) as trimming:
        assert old.ballot not in await rounds(trimming)

    assert await old.length() == 40


async def test_a_key_that_is_no_stream_is_left_and_the_others_are_trimmed(
    stack: Stack, old: Old, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever somebody put there; and a ballot whose stream is gone is no fault."""
    others = [f"{old.ballot}-{name}" for name in ("junk", "gone")]
    await old.admin.set(handoff.votes_key(others[0], 0), "junk")
    marks = [Mark(ballot, 0, side, "5-5") for ballot in others for side in ("stored", "turnout")]
    await put_marks(old.owner, marks)
    try:
        async with trimmer(stack) as trimming:
            done = await rounds(trimming)
    finally:
        await old.admin.delete(handoff.votes_key(others[0], 0))
        for ballot in others:
            await old.owner.execute("DELETE FROM ballot.marks WHERE ballot = $1", ballot)

    assert not set(others) & set(done)
    assert await old.length() < 3
    assert capfd.readouterr().err.count('"trim_refused"') == 1


async def test_what_is_given_out_again_stays(stack: Stack, ballot_id: str) -> None:
    """A trimmed stream passes the trust check, is read again for a restored database, and loses no vote."""
    async with ground(stack, ballot_id) as made, made.worker(HERE) as rig:
        casts = [await made.cast(voter) for voter in await made.voters(30)]
        await rig.drain()
        while await rig.turnout.run_once():
            pass
        first = await old_enough(made, 20)
        async with trimmer(stack, least_age_s=0.0) as trimming:
            assert (await rounds(trimming))[made.ballot][0] >= 15
        left = [entry.decode() for entry, _ in await made.admin.xrange(handoff.votes_key(made.ballot, 0))]
        assert first in left
        assert await Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics).check()
        rig.restored._looked_s -= 60
        assert await rig.restored.check() == []

        # The database goes back to what the backup covers; what came since is in the queue.
        gone = casts[22:]
        await made.owner.execute(
            "DELETE FROM ballot.votes WHERE ballot = $1 AND reference = ANY ($2)",
            made.ballot,
            [cast.reference for cast in gone],
        )
        await made.owner.execute(
            "UPDATE ballot.marks SET entry = $2, entries = 22 WHERE ballot = $1 AND side = 'stored'",
            made.ballot,
            await made.owner.fetchval(
                "SELECT entry FROM ballot.votes WHERE ballot = $1 AND reference = $2",
                made.ballot,
                casts[21].reference,
            ),
        )
        rig.restored._looked_s -= 60
        assert await rig.restored.check()
        stream = handoff.votes_key(made.ballot, 0)
        assert (await rig.queue.state(stream)).waiting == len(left)
        async with trimmer(stack, least_age_s=0.0) as trimming:
            assert (await rounds(trimming))[made.ballot] == (0, "group")
        await rig.drain()
        rig.restored._looked_s -= 60
        assert await rig.restored.check() == []

        stored = {row["uin"]: row["sealed"] for row in await made.rows("votes")}
        assert stored == {cast.voter.uin: cast.sealed for cast in casts}
        state = await rig.queue.state(stream)
        assert (state.waiting, state.oldest_id) == (0, None)
        (group,) = await made.admin.xinfo_groups(stream)
        assert (group["lag"], group["pending"]) == (0, 0)  # what `ballot close` waits for


async def old_enough(made: Ground, place: int) -> str:
    """Put both marks back to the entry at `place`, as if no more were backed up; its id."""
    entries = await made.admin.xrange(handoff.votes_key(made.ballot, 0))
    entry = str(entries[place][0].decode())
    await made.owner.execute(
        "UPDATE ballot.marks SET entry = $2 WHERE ballot = $1 AND side = 'turnout'", made.ballot, entry
    )
    return entry


async def test_a_step_of_the_queues_clock_makes_no_entry_old(tmp_path: Path) -> None:
    """Set forward by a day, it calls the last minute's votes a day old; they stay until we have waited."""
    clock = FakeClock(tmp_path / "clock")
    directory = tmp_path / "queue"
    directory.mkdir()
    with scratch_queue(tmp_path) as scratch:
        server = QueueServer(scratch.home, directory, env=clock.environment)
        server.start()
        scratch.env["BALLOT_VALKEY_URL"] = f"redis://127.0.0.1:{server.port}"
        try:
            with servers(scratch.home, scratch.env) as found, closing(server.admin()) as queue:
                admin: Any = queue
                key = handoff.votes_key("b", 0)
                ids = [admin.xadd(key, {"r": BIG}).decode() for _ in range(20)]
                admin.xgroup_create(key, handoff.GROUP, id="0")
                admin.xreadgroup(handoff.GROUP, "c", {key: ">"})
                admin.xack(key, handoff.GROUP, *ids)

                class Marked(Trimmer):
                    """A trimmer that was told the marks: there is no voter database here."""

                    async def _marks(self) -> list[Mark]:
                        return [Mark("b", 0, side, ids[-1]) for side in ("stored", "turnout")]

                ours = ManualClock()
                made = Marked(found, note=None, clock=ours)
                try:
                    await made.round()
                    clock.step(86_400)
                    ours.advance(60)
                    (held,) = await made.round()
                    assert (held.entries, held.held_by) == (0, "seen")
                    clock.step(-2 * 86_400)
                    ours.advance(LEAST_AGE_S)
                    (held,) = await made.round()
                    assert (held.entries, held.held_by) == (0, "age")
                    assert admin.xlen(key) == 20
                    clock.step(2 * 86_400)
                    (done,) = await made.round()
                    assert done.entries >= 18
                finally:
                    await made.close()
        finally:
            server.end()


@pytest.mark.long
async def test_on_a_cluster_each_primary_is_trimmed_and_one_that_is_gone_holds_up_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Streams of every primary; while one is dead the others' go on, and its own when it is back."""
    env = environment_for(tmp_path / "home")
    home = Home.from_environment(env)
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    with cluster_rig.cluster(home, tmp_path, primaries=3, replicas=0) as rig:
        env["BALLOT_VALKEY_URL"] = rig.url
        with servers(Home(home.path, embedded=False), env) as found:
            hour_ago_ms = time.time_ns() // 1_000_000 - 3_600_000
            ids = [f"{hour_ago_ms + place}-0" for place in range(40)]
            admin: Any = valkey.connect(found, "admin")
            keys = [handoff.votes_key("b", shard) for shard in range(16)]
            for key in keys:
                for entry in ids:
                    await admin.xadd(key, {"r": BIG}, id=entry)
                await admin.xgroup_create(key, handoff.GROUP, id="0")
                await admin.execute_command("XGROUP SETID", key, handoff.GROUP, ids[-1])
            await admin.aclose()
            owners = {key: rig.owner(key) for key in keys}
            latch = rig.owner(handoff.RECOVERING_KEY)
            victim = next(node for node in owners.values() if node is not latch)

            class Marked(Trimmer):
                """A trimmer that was told the marks: there is no voter database here."""

                async def _marks(self) -> list[Mark]:
                    sides = ("stored", "turnout")
                    return [Mark("b", shard, side, ids[-1]) for shard in range(16) for side in sides]

            clock = ManualClock()
            made = Marked(found, note=None, clock=clock)
            try:
                assert len(await made.round()) == 16
                rig.kill(victim)
                clock.advance(LEAST_AGE_S)
                done = {handoff.votes_key("b", each.shard): each.entries for each in await made.round()}
                assert set(done) == {key for key in keys if owners[key] is not victim}
                assert min(done.values()) >= 38
                rig.restart(victim)
                rig.wait_well()
                again = await made.round()
                assert sum(each.entries >= 38 for each in again) == 16 - len(done)
            finally:
                await made.close()
    assert '"trim_waits"' in capfd.readouterr().err


async def test_without_its_servers_it_waits(tmp_path: Path) -> None:
    """Neither a queue nor a database that is away ends it."""
    with scratch_queue(tmp_path) as scratch, servers(scratch.home, scratch.env) as found:
        made = Trimmer(found, note=None, clock=ManualClock())
        try:
            with pytest.raises(Away, match="voter database"):
                await made.round()
            scratch.send(signal.SIGKILL)
            with pytest.raises(Away, match="queue"):
                await made.round()
        finally:
            await made.close()


TRIMMER_MUST_NOT = [
    ("XADD", "votes", "*", "k", "v"),
    ("XRANGE", "votes", "-", "+"),
    ("XREAD", "STREAMS", "votes", "0"),
    ("XDEL", "votes", "1-1"),
    ("DEL", "votes"),
    ("XGROUP", "SETID", "votes", "workers", "$"),
    ("XACK", "votes", "workers", "1-1"),
    ("XTRIM", "attempts", "MAXLEN", "0"),
    ("HGET", "gate", "accepted"),
    ("HGET", "voted", "x"),
    ("HSET", "references", "x", "s"),
]


@pytest.mark.parametrize("command", TRIMMER_MUST_NOT, ids=" ".join)
async def test_the_trimmer_reads_no_vote_and_changes_nothing_else(
    stack: Stack, ballot_id: str, command: tuple[str, ...]
) -> None:
    """In the queue it may take entries out of votes streams, and that is all."""
    parts = [
        f"{{{ballot_id}:00}}:{part}" if part in {"votes", "attempts", "gate", "voted", "references"} else part
        for part in command
    ]
    client: Any = valkey.connect(stack.servers, USER)
    try:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*parts)
    finally:
        await client.aclose()


KNOWN = "marks WHERE side = 'stored'"


async def test_the_trimmer_learns_the_marks_and_nothing_else(stack: Stack) -> None:
    """In the voter database it executes two functions: no table, no other function."""
    connection = await postgres.connect(stack.servers, "voterdb", ROLE)
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        await connection.fetch("SELECT * FROM ballot.trimmer_marks()")
        stored = "SELECT ballot, shard, entries, since FROM ballot.trimmer_stored()"
        known = stored.replace("since", "pg_postmaster_start_time()").replace("trimmer_stored()", KNOWN)
        await owner.execute("INSERT INTO ballot.marks VALUES ('learns', 1, 'stored', '1-1', 7)")
        assert {*await connection.fetch(stored)} == {*await owner.fetch(known)} != set()
        for statement in (
            "SELECT * FROM ballot.marks",
            "SELECT * FROM ballot.votes",
            "SELECT * FROM ballot.worker_marks()",
            "SELECT ballot.worker_event('b', 'fuse', '{}')",
            "INSERT INTO ballot.events (kind, actor) VALUES ('x', 'y')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await owner.execute("DELETE FROM ballot.marks WHERE ballot = 'learns'")
        await connection.close()
        await owner.close()
