"""What `ballot recover` puts back into a gate: from any older or emptier copy of it, again and again."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from ballot import document, gate_layout, handoff
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from ops.recovery import wrong
from ops.recovery.journals import Journals
from ops.recovery.merge import Sources, merge
from ops.recovery.report import BallotReport, Report, record
from ops.recovery.shard import Shard
from runtime import postgres
from tests.integration.intake_rig import pinned_desk_key
from tests.integration.test_check_junk import JUNK
from tests.integration.workers_ground import Cast, Ground, Voter, ground
from workers.trust import Trust
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import Stack

SHARDS = 2
SEED = 20_261_122
INVENTED = "ZZZZ-ZZZZ-ZZZZ-ZZZZ"
COPIES, COPIES_LONG = 9, 60
CUTS, CUTS_LONG = 6, 80

Copy = dict[str, bytes | None]


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """One pool for the module."""
    pool = Verifier(0)
    yield pool
    pool.close()


@dataclass(slots=True)
class Truth:
    """A ballot in which everything has happened, and copies of its queue from the beginning to the end."""

    made: Ground
    sources: Sources
    database: Any
    stored: list[Cast] = field(default_factory=list)
    held: list[Cast] = field(default_factory=list)
    waiting: list[Cast] = field(default_factory=list)
    returned: list[Voter] = field(default_factory=list)
    fresh: list[Voter] = field(default_factory=list)
    released: list[Voter] = field(default_factory=list)
    revoked: list[Voter] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Every key of the ballot."""
        return [
            key for shard in range(self.made.shards) for key in handoff.shard_keys(self.made.ballot, shard)
        ]

    async def copy(self) -> None:
        """Keep a copy of the queue as it is."""
        self.copies.append({key: await self.made.admin.dump(key) for key in self.keys})

    async def restore(self, copy: Copy) -> None:
        """Put a copy in the place of the queue."""
        for key, value in copy.items():
            await self.made.admin.delete(key)
            if value is not None:
                await self.made.admin.restore(key, 0, value)

    async def merge(self, client: Any = None) -> BallotReport:
        """Merge this ballot."""
        (found,) = await merge(
            client or self.made.admin, self.database, sources=self.sources, only=[self.made.ballot]
        )
        return found

    async def state(self, shard: int) -> dict[str, int]:
        """A shard's counters."""
        found = await self.made.admin.hgetall(handoff.gate_key(self.made.ballot, shard))
        return {
            name.decode(): int(value)
            for name, value in found.items()
            if value.isdigit() and not name.startswith(b"lost:")
        }


@pytest.fixture
async def truth(stack: Stack, ballot_id: str, verifier: Verifier, tmp_path: Path) -> AsyncIterator[Truth]:
    """Votes stored, held, released, revoked, returned by post; some votes wait."""
    database = await postgres.connect(stack.servers, "voterdb", "ballot_recovery")
    sources = Sources(desk_public=pinned_desk_key(stack.home).public, journals=Journals((tmp_path,)))
    async with ground(stack, ballot_id, shards=SHARDS) as made:
        found = Truth(made, sources, database)
        try:
            await _live(found, verifier)
            yield found
        finally:
            await database.close()


async def _live(found: Truth, verifier: Verifier) -> None:
    made = found.made
    desk = pinned_desk_key(made.stack.home)
    await made.owner.execute(
        "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us, document, document_signature)"
        " VALUES ($1, 'armed', $2, $3, $4, $5)",
        made.ballot,
        made.definition.opens_us,
        made.definition.closes_us,
        made.document.canonical,
        document.sign(made.document, desk),
    )
    voters = await made.voters(26)
    await found.copy()
    async with made.worker(verifier) as rig:

        async def work() -> None:
            await rig.drain()
            while await rig.turnout.run_once():
                pass
            await found.copy()

        for voter in voters[:8]:
            found.stored.append(await made.cast(voter))
        await found.copy()
        await work()
        stranger = SigningKey.from_seed(secrets.token_bytes(32))
        held = [await made.cast(voter, signer=stranger) for voter in voters[8:11]]
        found.stored += [await made.cast(voter) for voter in voters[11:14]]
        await work()
        found.held = held[1:]
        await _release(made, held[0])
        found.released = [held[0].voter]
        await _revoke(made, voters[14])
        found.revoked = [voters[14]]
        found.returned = voters[15:17]
        for voter in found.returned:
            await made.fcall("ballot_return", voter.shard, voter.uin, "postal", "1760000000000000")
        loser = found.stored[0].voter
        await made.fcall("ballot_return", loser.shard, loser.uin, "postal", "1760000000000001")
        await found.copy()
        found.stored += [await made.cast(voter) for voter in voters[17:20]]
        await work()
    found.waiting = [await made.cast(voter) for voter in voters[20:23]]
    await found.copy()
    found.fresh = voters[23:]


async def _release(made: Ground, cast: Cast) -> None:
    await made.owner.execute(
        "INSERT INTO ballot.releases (ballot, shard, entry, uin, reference)"
        " SELECT ballot, shard, entry, uin, reference FROM ballot.quarantine"
        " WHERE ballot = $1 AND reference = $2",
        made.ballot,
        cast.reference,
    )
    await made.fcall("ballot_release", cast.voter.shard, cast.voter.uin, cast.reference)


async def _revoke(made: Ground, voter: Voter) -> None:
    reply = await made.fcall("ballot_revoke", voter.shard, voter.digest)
    await made.owner.execute(
        "INSERT INTO ballot.revocations (ballot, credential_digest, revoked_us, batch, position)"
        " VALUES ($1, $2, $3, 1, 0)",
        made.ballot,
        voter.digest,
        int(reply[0]),
    )


def damaged(found: Truth) -> Iterator[Copy]:
    """Copies older and emptier than the truth: whole ones, one for each shard, and with keys missing."""
    chance = random.Random(SEED)  # which copies are tried, the same each time
    empty: Copy = dict.fromkeys(found.keys)
    yield empty
    yield from found.copies[:-1]
    while True:
        copy: Copy = {}
        for shard in range(found.made.shards):
            whole = chance.choice([empty, *found.copies])
            lost = chance.sample(range(9), chance.choice([0, 0, 1, 3]))
            for number, key in enumerate(handoff.shard_keys(found.made.ballot, shard)):
                copy[key] = None if number in lost and number in {1, 2, 3, 4} else whole[key]
        yield copy


async def sound(found: Truth) -> None:
    """Nobody who has voted can again, others can; counters, numbers and streams hold what they must."""
    made = found.made
    for cast in [*found.stored, *found.held]:
        mark = gate_layout.Mark.from_value(
            await made.admin.hget(handoff.voted_key(made.ballot, cast.voter.shard), cast.voter.uin)
        )
        assert (mark.by, mark.reference) == ("e", cast.reference)
    for voter in found.returned:
        mark = await made.admin.hget(handoff.voted_key(made.ballot, voter.shard), voter.uin)
        assert mark[:1] == b"p"
    assert {await made.state(cast) for cast in found.stored} == {b"s"}
    assert {await made.state(cast) for cast in found.held} == {b"h"}
    for voter in found.revoked:
        value = await made.admin.hget(handoff.credentials_key(made.ballot, voter.shard), voter.digest[:16])
        assert gate_layout.Credential.from_value(value).flag == "r"
    for shard in range(made.shards):
        state = await found.state(shard)
        marks = await made.admin.hvals(handoff.voted_key(made.ballot, shard))
        electronic = sum(1 for mark in marks if mark[:1] == b"e")
        assert state["voted_e"] == electronic
        assert state["voted_p"] == len(marks) - electronic
        assert state["accepted"] - state["released"] == electronic
        known = await made.owner.fetchval(
            "SELECT max(number) FROM ballot.votes WHERE ballot = $1 AND shard = $2", made.ballot, shard
        )
        assert state["number"] >= max(known or 0, state["accepted"])


async def _outcome(made: Ground, voter: Voter) -> str:
    """What the gate says to a credential."""
    reply = await made.fcall("ballot_access", voter.shard, voter.digest, b"ip")
    return str(reply[3][0].decode())


@pytest.mark.parametrize("copies", [COPIES, pytest.param(COPIES_LONG, marks=pytest.mark.long)])
async def test_any_older_or_emptier_copy_is_made_whole(truth: Truth, verifier: Verifier, copies: int) -> None:
    """Who is stored, held or returned is refused, all others may vote; a second merge changes nothing."""
    made = truth.made
    for number, copy in enumerate(damaged(truth)):
        if number == copies:
            break
        await truth.restore(copy)
        await truth.merge()
        await sound(truth)

        again = await truth.merge()
        assert not again.changed, (number, again)
        assert not again.conflicts
        for cast in [*truth.stored, *truth.held]:
            assert await _outcome(made, cast.voter) == "not_accepted"
        for voter in [*truth.returned, *truth.revoked]:
            assert await _outcome(made, voter) == "not_accepted"
        for voter in [*truth.fresh, *truth.released]:
            assert await _outcome(made, voter) == "ready"
        # Other tests' ballots may have lost their streams: this worker judges this one.
        await made.owner.execute("DELETE FROM ballot.marks WHERE ballot <> $1", made.ballot)
        async with made.worker(verifier) as rig:
            await Trust(queue=rig.queue, store=rig.store, metrics=rig.metrics).check()
    assert number == copies


async def test_after_the_merge_votes_go_on(
    truth: Truth, verifier: Verifier, run_ballot: Any, stack: Stack
) -> None:
    """On a queue that was empty new votes are numbered on, stored, counted once; nothing is missed."""
    made = truth.made
    numbers = [(await truth.state(shard))["number"] for shard in range(made.shards)]
    await truth.restore(dict.fromkeys(truth.keys))
    report = await truth.merge()
    await record(truth.database, Report([], "in place", ballots=[report]))
    lost = len(truth.waiting)
    assert report.stored == len(truth.stored)
    assert (await made.turnout("accepted"))["electronic"] == len(truth.stored) + len(truth.held) + 1

    again = [await made.cast(cast.voter) for cast in truth.waiting]
    fresh = [await made.cast(voter) for voter in [*truth.fresh, *truth.released]]
    async with made.worker(verifier) as rig:
        assert await rig.drain() == len(again) + len(fresh)
        while await rig.turnout.run_once():
            pass
        rig.restored._looked_s -= 60
        assert await rig.restored.check() == []
        assert await made.turnout("accepted") == {
            "electronic": len(truth.stored) + len(truth.held) + 1 + len(again) + len(fresh),
            "postal": len(truth.returned),
        }
        assert {await made.state(cast) for cast in [*again, *fresh]} == {b"s"}
    given = {row["reference"]: (row["shard"], row["number"]) for row in await made.rows("votes")}
    assert lost == len(again)
    # No number of a lost vote comes again, nor any that the lost gate may have given.
    for cast in [*again, *fresh]:
        shard, number = given[cast.reference]
        assert number > numbers[shard]
        jumped = any(first <= numbers[shard] <= last for first, last in report.skipped[str(shard)])
        assert jumped != ((shard, numbers[shard]) in given.values())
        assert number > max(last for _, last in report.skipped[str(shard)])
    largest = [(await truth.state(shard))["number"] for shard in range(made.shards)]
    await truth.restore(truth.copies[-1])
    later = await truth.merge()
    for shard in range(made.shards):
        assert (await truth.state(shard))["number"] > largest[shard]
        assert set(later.skipped[str(shard)]) != set(report.skipped[str(shard)])


async def test_what_an_edge_remembers_names_the_lost(truth: Truth, tmp_path: Path) -> None:
    """Lost references in a journal are named, once; its numbers prove nothing, least of all huge ones."""
    made = truth.made
    entries = [
        fields
        for shard in range(made.shards)
        for _, fields in await made.admin.xrange(handoff.votes_key(made.ballot, shard))
    ]
    by_reference = {fields[b"ref"].decode(): fields for fields in entries if b"ref" in fields}
    shard = truth.waiting[0].voter.shard
    casts = [cast for cast in truth.waiting if cast.voter.shard == shard]
    last = casts[-1]
    number = int(by_reference[last.reference][b"n"])
    lines = [
        {"ballot": made.ballot, "shard": shard, "at": 1, "first": number, "references": [last.reference]},
        {"ballot": "another", "shard": 0, "at": 1, "first": 1, "references": [last.reference]},
        {
            "ballot": made.ballot,
            "shard": truth.stored[0].voter.shard,
            "at": 1,
            "numbers": [int(by_reference[truth.stored[0].reference][b"n"])],
            "references": [truth.stored[0].reference],
        },
        {"ballot": made.ballot, "shard": shard, "at": 1, "first": 40_000_000, "references": [INVENTED]},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"ballot": "torn'
    (tmp_path / "accepted-20261122T080000Z-1.jsonl").write_text(text)

    await truth.restore(dict.fromkeys(truth.keys))
    report = await truth.merge()

    assert report.unconfirmed == sorted([last.reference, INVENTED])
    assert report.unaccounted == {}
    assert (report.claimed, report.journal_numbers_odd) == ({str(shard): 1}, 1)
    ((first, end),) = report.skipped[str(shard)]
    assert first <= number <= end < 1000
    assert (await truth.state(shard))["number"] == end
    assert truth.sources.journals.unreadable == 1

    await record(truth.database, Report([], "in place", ballots=[report]))
    again = await truth.merge()
    assert (again.unconfirmed, again.unconfirmed_before) == ([], 2)


async def test_numbers_that_the_gate_proves_are_named(truth: Truth) -> None:
    """Votes gone from the stream of a copy that counted them: their numbers and no others are named."""
    made = truth.made
    cast = truth.waiting[0]
    key = handoff.votes_key(made.ballot, cast.voter.shard)
    ((entry, fields),) = [
        each for each in await made.admin.xrange(key) if each[1].get(b"ref") == cast.reference.encode()
    ]
    await made.admin.xdel(key, entry)
    name, number = str(cast.voter.shard), int(fields[b"n"])
    whole = await truth.merge()
    assert (whole.unaccounted, whole.unexplained) == ({}, {name: [(number, number)]})

    # A shard that has lost something: explained, and by a later recovery, which lost nothing, still.
    stored = next(each for each in truth.stored if each.voter.shard == cast.voter.shard)
    await made.admin.hdel(handoff.voted_key(made.ballot, cast.voter.shard), stored.voter.uin)
    report = await truth.merge()
    assert (report.unaccounted, report.unexplained) == ({name: [(number, number)]}, {})
    assert report.unaccounted_before == 0
    await record(truth.database, Report([], "in place", ballots=[report]))
    await Shard(made.admin, made.ballot, cast.voter.shard).finish()
    later = await truth.merge()
    assert (later.unaccounted, later.unaccounted_before) == (report.unaccounted, 1)


@pytest.mark.parametrize(
    "forged",
    [
        "40000000",
        *(pytest.param(each, marks=pytest.mark.long) for each in (str(10**15), "9" * 5_000)),
    ],
)
async def test_a_number_that_somebody_wrote_into_the_gate_is_not_gone_on_from(
    truth: Truth, forged: str
) -> None:
    """There cannot have been as many: no edge spends the numbers that are left, and the event is short."""
    gate = handoff.gate_key(truth.made.ballot, 0)
    before = await truth.merge()
    await truth.made.admin.hset(gate, mapping={"number": forged, "jumped_to": forged})
    report = await truth.merge()
    assert sum(end - first for first, end in report.unexplained.get("0", [])) < 1000
    assert any("can have been" in each for each in report.conflicts) == (len(forged) <= 16)
    number = (await truth.state(0))["number"]
    assert number < 1000
    assert report.skipped["0"][-1][1] == number
    assert before.skipped["0"][-1][1] <= number


async def test_a_number_that_cannot_be_proves_nothing(truth: Truth) -> None:
    """Nor up to what there can have been: in a shard that lost something it would make up lost votes."""
    gate = handoff.gate_key(truth.made.ballot, 0)
    await truth.made.admin.hset(gate, mapping={"number": "9" * 15, "recovery_lost": "1"})
    report = await truth.merge()
    assert (report.unaccounted, report.unexplained) == ({}, {})
    assert len(report.conflicts) == 1
    assert (await truth.state(0))["number"] < 1000


@pytest.mark.parametrize("gone", ["queue", "event"])
async def test_no_jump_comes_twice_without_its_event(truth: Truth, verifier: Verifier, gone: str) -> None:
    """The voter database was restored to before a recovery, votes came forward; then another recovery.

    With the queue lost as well only the stored votes show the jump, with its gate that had jumped once more
    only they tell what had been given before that.
    """
    made, voter = truth.made, truth.fresh[0]
    await truth.restore(dict.fromkeys(truth.keys))
    await truth.merge()  # no event of it is on record
    jumped = (await truth.state(voter.shard))["number"]
    cast = await made.cast(voter)
    async with made.worker(verifier) as rig:
        await rig.drain()
    given = jumped + 1
    if gone == "queue":
        await truth.restore(dict.fromkeys(truth.keys))
    else:  # another recovery that is not on record any more: the gate stands where that one jumped to
        await truth.merge()
    report = await truth.merge()
    assert (await truth.state(voter.shard))["number"] > given
    assert report.conflicts == []
    assert not [each for each in report.skipped[str(voter.shard)] if each[0] <= given <= each[1]]
    number = await made.owner.fetchval(
        "SELECT number FROM ballot.votes WHERE ballot = $1 AND reference = $2", made.ballot, cast.reference
    )
    assert number == given


async def test_numbers_go_on_after_any_number_of_recoveries(truth: Truth, verifier: Verifier) -> None:
    """Far beyond any count of votes it is still known which vote is there, and which is lost."""
    made, far = truth.made, 70_000_000
    earlier = BallotReport(made.ballot, skipped={str(shard): [(500, far)] for shard in range(SHARDS)})
    await record(truth.database, Report([], "in place", ballots=[earlier]))
    await truth.restore(dict.fromkeys(truth.keys))
    await record(truth.database, Report([], "in place", ballots=[await truth.merge()]))
    for shard in range(SHARDS):
        assert (await truth.state(shard))["number"] > far
    kept, lost = [await made.cast(voter) for voter in truth.fresh[:2]]
    async with made.worker(verifier) as rig:
        await rig.drain()
    await made.owner.execute("DELETE FROM ballot.votes WHERE reference = $1", lost.reference)
    numbers = {}
    for cast in (kept, lost):
        key = handoff.votes_key(made.ballot, cast.voter.shard)
        for entry, fields in await made.admin.xrange(key):
            if fields.get(b"ref") == cast.reference.encode():
                numbers[cast.reference] = int(fields[b"n"])
                await made.admin.xdel(key, entry)
        assert numbers[cast.reference] > far
    report = await truth.merge()
    named = {**report.unaccounted, **report.unexplained}
    far_ones = [each for ranges in named.values() for each in ranges if each[0] > far]
    assert far_ones == [(numbers[lost.reference], numbers[lost.reference])]
    assert report.conflicts == []


@pytest.mark.parametrize("held", [False, True], ids=["waiting", "in quarantine"])
async def test_an_appended_entry_makes_up_no_lost_votes(truth: Truth, verifier: Verifier, held: bool) -> None:
    """Whoever writes to the stream, or gets into quarantine: a number proves nothing of those before it."""
    made, shard = truth.made, truth.waiting[0].voter.shard
    await made.voters(16)  # codes, so that there can be more numbers
    largest = await made.admin.hlen(handoff.credentials_key(made.ballot, shard))
    key = handoff.votes_key(made.ballot, shard)
    uin = truth.fresh[0].uin
    entry = await made.admin.xadd(key, {"k": "v", "n": str(largest), "u": uin, "ref": INVENTED})
    if held:
        async with made.worker(verifier) as rig:
            await rig.drain()
        assert entry.decode() in {row["entry"] for row in await made.rows("quarantine")}
        await made.admin.xdel(key, entry)
    report = await truth.merge()
    assert (report.unaccounted, report.unexplained, report.numbers_unproved) == ({}, {}, 1)


async def test_a_waiting_vote_of_a_voter_with_another_mark_is_named(truth: Truth) -> None:
    """Neither stored nor released nor waiting is the vote that the mark names: said, and left as it is."""
    made, cast = truth.made, truth.waiting[0]
    key = handoff.voted_key(made.ballot, cast.voter.shard)
    other = gate_layout.Mark("e", 1_760_000_000_000_000, bytes(16), INVENTED).to_value()
    await made.admin.hset(key, cast.voter.uin, other)
    report = await truth.merge()
    assert [cast.reference in each and INVENTED in each for each in report.conflicts] == [True]
    assert await made.admin.hget(key, cast.voter.uin) == other

    known = gate_layout.Mark("e", 1_760_000_000_000_000, bytes(16), truth.waiting[1].reference).to_value()
    await made.admin.hset(key, cast.voter.uin, known)
    assert (await truth.merge()).conflicts == []


async def test_junk_in_the_stream_ends_no_recovery(truth: Truth) -> None:
    """Whatever bytes stand in an entry, acknowledged or not: all else is put back, and none of it counts."""
    made = truth.made
    await truth.restore(truth.copies[-1])
    for shard in range(SHARDS):
        key = handoff.votes_key(made.ballot, shard)
        await made.admin.delete(key)
        for value in JUNK:
            fields = dict.fromkeys([b"r", b"d", b"ref", b"t", b"u", b"c", b"m", b"rt", b"n"], value)
            paper = {b"k": b"r", b"m": b"postal", b"won": b"1", b"u": value, b"t": b"1"}
            for entry in [paper, *(fields | {b"k": kind, value: value} for kind in (b"v", b"r", value))]:
                await made.admin.xadd(key, entry)
    report = await truth.merge()
    await sound(truth)
    assert report.waiting == SHARDS * 4 * len(JUNK)
    assert report.conflicts == []
    for shard in range(SHARDS):
        key = handoff.votes_key(made.ballot, shard)
        await made.admin.xadd(key, {b"k": b"v", b"ref": b"\0"}, id=f"{2**64 - 1}-{2**64 - 2}")
    assert not (await truth.merge()).changed


async def test_codes_on_their_way_hide_no_others(truth: Truth, tmp_path: Path) -> None:
    """A batch that the desk has signed and not pushed is no fault of the gate; all others are compared."""
    made = truth.made
    batch = await made.owner.fetchval("SELECT min(batch) FROM ballot.register WHERE ballot = $1", made.ballot)
    for shard in range(made.shards):
        await made.admin.delete(handoff.credentials_key(made.ballot, shard))

    async def codes() -> list[str]:
        found = await wrong.look(made.admin, truth.database, roots=tmp_path)
        return [each for each in found if made.ballot in each and " codes, " in each]

    journal = tmp_path / f"{made.ballot}.jsonl"
    journal.write_text(json.dumps({"act": "signed", "batch": batch + 1}) + "\n")
    assert len(await codes()) == made.shards
    journal.write_text(json.dumps({"act": "signed", "batch": batch}) + "\n")
    assert await codes() == []


class _Cut(Redis):
    """A client that dies before its n-th command."""

    left = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Die, or execute."""
        type(self).left -= 1
        if type(self).left < 0:
            raise asyncio.CancelledError
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("cuts", [CUTS, pytest.param(CUTS_LONG, marks=pytest.mark.long)])
async def test_killed_anywhere_it_is_run_again(truth: Truth, stack: Stack, cuts: int) -> None:
    """A merge that dies before any of its commands and is run again comes to the same end."""
    made = truth.made
    copy = truth.copies[3]
    await truth.restore(copy)
    _Cut.left = limit = 10_000
    password = stack.home.password("valkey-admin").reveal()
    address = stack.servers.valkey
    client: Any = _Cut(host=address.host, port=address.port, username="admin", password=password, protocol=2)
    try:
        await truth.merge(client)
        commands = limit - _Cut.left
        whole = [await truth.state(shard) for shard in range(made.shards)]
        chance = random.Random(SEED)  # where it is cut, the same each time
        for cut in sorted(chance.sample(range(commands), min(cuts, commands))):
            await truth.restore(copy)
            _Cut.left = cut
            with pytest.raises(asyncio.CancelledError):
                await truth.merge(client)
            _Cut.left = limit
            await truth.merge(client)
            await sound(truth)
            assert [await truth.state(shard) for shard in range(made.shards)] == whole
            assert not (await truth.merge(client)).changed
    finally:
        await client.aclose()


async def test_a_mark_that_names_another_vote_is_named_and_left(truth: Truth) -> None:
    """Gate and record disagree: the report says so, and neither mark nor code is overwritten."""
    made, cast = truth.made, truth.stored[0]
    key = handoff.voted_key(made.ballot, cast.voter.shard)
    other = gate_layout.Mark("e", 1_760_000_000_000_000, bytes(16), truth.waiting[0].reference).to_value()
    await made.admin.hset(key, cast.voter.uin, other)
    thief = truth.fresh[0]
    credentials = handoff.credentials_key(made.ballot, thief.shard)
    await made.admin.hset(credentials, thief.digest[:16], bytes(16) + b"ce")

    report = await truth.merge()

    assert len(report.conflicts) == 2
    assert any(cast.reference in each for each in report.conflicts)
    assert await made.admin.hget(key, cast.voter.uin) == other
    assert (await made.admin.hget(credentials, thief.digest[:16]))[:16] == bytes(16)


async def test_a_forgotten_ballot_is_published_and_a_closed_one_stays_closed(truth: Truth) -> None:
    """Publishing comes back from the record; a shard that has closed is not opened by a later record."""
    made = truth.made
    before = await made.admin.hget(handoff.PUBLISHED_KEY, made.ballot)
    await made.admin.hdel(handoff.PUBLISHED_KEY, made.ballot)
    gate = handoff.gate_key(made.ballot, 0)
    await made.admin.hset(gate, mapping={"state": "closed", "closes_us": "1760000000000000"})

    report = await truth.merge()

    assert report.published
    assert await made.admin.hget(handoff.PUBLISHED_KEY, made.ballot) == before
    assert len(report.conflicts) == 1
    assert await made.admin.hmget(gate, "state", "closes_us") == [b"closed", b"1760000000000000"]
    assert b64encode(made.document.canonical) in before.decode()
