"""Races through several edge processes: whatever arrives together, one wins and everybody is told the truth.

A round is one voter and everything that can compete for that voter's one vote, started together with random
delays of a few milliseconds; several rounds run at once. After each wave of rounds the gate's streams are
read and compared with what the edges answered: every attempt with an issued credential is in them exactly
once. At the end the ballot is closed, and every winner is still confirmed. A failure names its seed:
RACE_SEED deals the same rounds again.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp
import orjson
import pytest

from ballot import handoff
from ballot.encoding import parse_time
from tests.integration.intake_rig import Booth, Voter, booth, edge, now_us, shard_of, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from ballot.vote import CastVote
    from tests.conftest import Stack

JSON: Final = {"Content-Type": "application/json"}
SHARDS: Final = 4
WAVE: Final = 6
CROWD: Final = 200
"""Distinct votes with one code at once, in the first round and in every further CROWD_EVERY."""

CROWD_EVERY: Final = 1_000
ROUNDS_SHORT: Final = 30
ROUNDS_LONG: Final = int(os.environ.get("RACE_ROUNDS", "6000"))
LONG_S: Final = float(os.environ.get("RACE_SECONDS", "600"))
ASKED_AT_ONCE: Final = 32
"""No wave of the long run begins later than this."""

SETTINGS: Final = {
    "BALLOT_FAILURES_PER_MINUTE": "1000000000",  # hundreds of losers a second come from this one address
    "BALLOT_CONFIRM_SECONDS": "30",  # a busy machine must not make an honest 503 of an answer we compare
}
SAME: Final = ("reference", "accepted_at", "sealed_sha256")
REFUSED: Final = {"not_accepted": 403, "not_open": 409}

Kind = Literal["distinct", "reissued", "other method", "crowd"]
KINDS: Final[tuple[Kind, ...]] = ("distinct", "reissued", "other method")


@dataclass(frozen=True, slots=True)
class Cast:
    """A vote that was sent, and what was answered."""

    voter: Voter
    vote: CastVote
    status: int
    body: dict[str, Any]


@dataclass(slots=True)
class Round:
    """One voter's race: everything sent and answered, and what it left in the streams."""

    kind: Kind
    voters: list[Voter]
    casts: list[Cast] = field(default_factory=list)
    told: list[tuple[bytes, bytes]] = field(default_factory=list)
    papers: list[tuple[str, int]] = field(default_factory=list)
    revoked_us: int = 0

    @property
    def winner(self) -> Cast | None:
        """Return the vote that was accepted, if one was."""
        won = [cast for cast in self.casts if cast.status == 201]
        assert len(won) <= 1, self
        return won[0] if won else None


@dataclass(slots=True)
class Streams:
    """What the gate wrote, read on from where the last look ended: a long run may outgrow the budget."""

    votes: dict[bytes, list[dict[bytes, bytes]]] = field(default_factory=lambda: defaultdict(list))
    returns: dict[bytes, list[dict[bytes, bytes]]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[bytes, Counter[bytes]] = field(default_factory=lambda: defaultdict(Counter))
    marks: dict[str, bytes] = field(default_factory=dict)

    async def read(self, poll: Booth) -> None:
        """Read what is new in both streams of every shard."""
        for shard in range(poll.shards):
            for entry in await self._new(poll, handoff.votes_key(poll.id, shard)):
                if entry[handoff.KIND_FIELD] == handoff.KIND_RETURN:
                    self.returns[entry[handoff.UIN_FIELD]].append(entry)
                else:
                    self.votes[entry[handoff.DIGEST_FIELD]].append(entry)
            for entry in await self._new(poll, handoff.attempts_key(poll.id, shard)):
                self.attempts[entry[handoff.DIGEST_FIELD]][entry[handoff.OUTCOME_FIELD]] += 1

    async def _new(self, poll: Booth, key: str) -> list[dict[bytes, bytes]]:
        found: Any = await poll.worker.xrange(key, b"(" + self.marks[key] if key in self.marks else "-")
        if found:
            self.marks[key] = found[-1][0]
        return [entry for _, entry in found]


@dataclass(frozen=True, slots=True)
class Course:
    """Where the races are run: the ballot, the edges, the randomness."""

    poll: Booth
    webs: list[aiohttp.ClientSession]
    chance: random.Random
    streams: Streams

    async def send(self, round_: Round, voter: Voter, vote: CastVote, *, within_s: float = 0.0) -> Cast:
        """Send a vote through one of the edges after a moment, and keep what was answered."""
        await asyncio.sleep(self.chance.uniform(0, within_s))
        web = self.chance.choice(self.webs)
        async with web.post(self.poll.path("votes"), data=vote.to_json(), headers=JSON) as response:
            answered = Cast(voter, vote, response.status, orjson.loads(await response.read()))
        round_.casts.append(answered)
        return answered

    def votes(self, voter: Voter, least: int, most: int, *, twice: int = 3) -> list[CastVote]:
        """Seal several distinct votes, and up to `twice` of them again: devices that try again at once."""
        answers = [self.chance.choice(["yes", "no"]) for _ in range(self.chance.randint(least, most))]
        votes = [voter.vote(self.poll.document, answer) for answer in answers]
        return votes + self.chance.choices(votes, k=self.chance.randint(0, twice))


Started = tuple[Round, list["Awaitable[object]"]]
RACE_S: Final = 0.004
DESK_S: Final = 0.04
"""The desk's calls go straight to the gate: with so much more delay they overtake only some of the votes."""


async def distinct(course: Course) -> Started:
    """Prepare distinct votes with one code."""
    (voter,) = await course.poll.issue()
    round_ = Round("distinct", [voter])
    sends = [course.send(round_, voter, vote, within_s=RACE_S) for vote in course.votes(voter, 4, 14)]
    return round_, [*sends]


async def crowd(course: Course) -> Started:
    """Prepare hundreds of distinct votes with one code."""
    (voter,) = await course.poll.issue()
    round_ = Round("crowd", [voter])
    sends = [course.send(round_, voter, vote, within_s=RACE_S) for vote in course.votes(voter, CROWD, CROWD)]
    return round_, [*sends]


async def reissued(course: Course) -> Started:
    """Prepare votes with the old code and with the new one, which replaces it in the middle."""
    poll = course.poll
    (old,) = await poll.issue()
    shard = shard_of(old, poll.shards)
    new = drawn(poll, old.uin, shard)
    round_ = Round("reissued", [old, new])
    early = [(old, vote) for vote in course.votes(old, 2, 7)]
    # Each only once: the first of two copies may rightly be refused as unknown, and the second be accepted.
    early += [(new, vote) for vote in course.votes(new, 1, 4, twice=0)]
    late = course.votes(new, 1, 3)

    async def reissue() -> None:
        await asyncio.sleep(course.chance.uniform(0, DESK_S))
        revoked_us, existed = await poll.call("ballot_revoke", old.digest, shard=shard)
        assert existed == 1
        round_.revoked_us = int(revoked_us)
        assert await poll.call("ballot_issue", new.digest, new.uin, "e", shard=shard) == 1
        await asyncio.gather(*(course.send(round_, new, vote) for vote in late))

    sends = [course.send(round_, voter, vote, within_s=RACE_S) for voter, vote in early]
    return round_, [*sends, reissue()]


def drawn(poll: Booth, uin: bytes, shard: int) -> Voter:
    """Return a further code of the voter that lives in the voter's shard; it is not issued yet."""
    while True:
        voter = poll.draw(uin)
        if shard_of(voter, poll.shards) == shard:
            return voter


async def other_method(course: Course) -> Started:
    """Prepare electronic votes and papers of the same voter, some of them recorded twice."""
    poll, chance = course.poll, course.chance
    (voter,) = await poll.issue()
    round_ = Round("other method", [voter])
    methods = ("postal", "workplace")
    papers = [
        (chance.choice(methods), now_us() - chance.randint(1, 10**9)) for _ in range(chance.randint(1, 3))
    ]
    papers += chance.choices(papers, k=chance.randint(0, 2))

    async def record(method: str, received_us: int) -> None:
        await asyncio.sleep(chance.uniform(0, DESK_S))
        row = (voter.uin, method, received_us)
        (reply,) = await poll.call("ballot_return", *row, shard=shard_of(voter, poll.shards))
        round_.papers.append((method, received_us))
        round_.told.append((reply[0], reply[1]))

    sends = [course.send(round_, voter, vote, within_s=RACE_S) for vote in course.votes(voter, 1, 6)]
    return round_, [*sends, *(record(*paper) for paper in papers)]


PREPARE: Final = {"distinct": distinct, "reissued": reissued, "other method": other_method, "crowd": crowd}


async def wave(course: Course, kinds: Sequence[Kind]) -> list[Round]:
    """Run one round of each kind, all at once, then try again with each winner; compare with the streams."""
    prepared = [await PREPARE[kind](course) for kind in kinds]
    starts = [start for _, begun in prepared for start in begun]
    course.chance.shuffle(starts)
    await asyncio.gather(*starts)
    rounds = [round_ for round_, _ in prepared]
    for round_ in rounds:
        check_outcome(round_)
    await asyncio.gather(*(try_again(course, round_, refused="not_accepted") for round_ in rounds))
    await course.streams.read(course.poll)
    for round_ in rounds:
        check_streams(round_, course.streams)
    return rounds


async def try_again(course: Course, round_: Round, *, refused: str) -> None:
    """Send the winning vote again, and the same vote with another signature; without a winner, any vote."""
    won = round_.winner
    if won is not None:
        again = await course.send(round_, won.voter, won.vote)
        assert again.status == 200, again
        assert [again.body[name] for name in SAME] == [won.body[name] for name in SAME]
    tried = won or round_.casts[0]
    signature = bytes(byte ^ 1 for byte in tried.vote.signature)
    other = await course.send(round_, tried.voter, replace(tried.vote, signature=signature))
    assert (other.status, other.body["error"]) == (REFUSED[refused], refused), other


def check_outcome(round_: Round) -> None:
    """Require that exactly one won and that every answer says what happened to that very vote."""
    won = round_.winner
    recorded = [
        paper for paper, told in zip(round_.papers, round_.told, strict=True) if told[0] == b"recorded"
    ]
    assert (won is not None) + len(recorded) == 1, round_
    for cast in round_.casts:
        if won is not None and cast.vote.identity == won.vote.identity:
            assert cast.status == (201 if cast is won else 200), cast
            assert [cast.body[name] for name in SAME] == [won.body[name] for name in SAME]
        else:
            assert (cast.status, cast.body["error"]) == (403, "not_accepted"), cast
    for paper, told in zip(round_.papers, round_.told, strict=True):
        if won is not None:
            assert told == (b"lost", b"electronic"), round_
        else:
            outcomes = {b"recorded", b"repeated"} if paper == recorded[0] else {b"lost"}
            assert told[0] in outcomes, round_
            assert told[1] == recorded[0][0].encode(), round_
    if round_.kind == "reissued":
        assert won is not None
        by_old = won.voter is round_.voters[0]
        assert (parse_time(won.body["accepted_at"]) < round_.revoked_us) == by_old, round_


def check_streams(round_: Round, streams: Streams) -> None:
    """Require the winner in the votes once, and every other attempt of an issued code in the log once."""
    won = round_.winner
    for index, voter in enumerate(round_.voters):
        accepted = [entry[handoff.REFERENCE_FIELD].decode() for entry in streams.votes[voter.digest]]
        assert accepted == ([won.body["reference"]] if won and won.voter is voter else []), round_
        answered = Counter(cast.status for cast in round_.casts if cast.voter is voter)
        logged = streams.attempts[voter.digest]
        assert logged[b"repeated"] == answered[200], (round_, logged)
        assert logged[b"not_open"] == answered[409], (round_, logged)
        refusals = {b"used"} if won else {b"already_voted"}
        if round_.kind == "reissued":
            refusals |= {b"revoked"} if index == 0 else set()
        assert logged.keys() <= refusals | {b"repeated", b"not_open"}, (round_, logged)
        refused = sum(logged[name] for name in refusals)
        if round_.kind == "reissued" and index == 1:
            assert refused <= answered[403], (round_, logged)  # before its issue the code was unknown
        else:
            assert refused == answered[403], (round_, logged)
    returns = Counter(
        (entry[handoff.METHOD_FIELD].decode(), int(entry[handoff.RECEIVED_FIELD]), entry[handoff.WON_FIELD])
        for entry in streams.returns[round_.voters[0].uin]
    )
    kept = {paper for paper, told in zip(round_.papers, round_.told, strict=True) if told[0] == b"recorded"}
    assert returns == Counter((*paper, b"1" if paper in kept else b"0") for paper in set(round_.papers)), (
        round_
    )


async def close(poll: Booth) -> None:
    """Close every shard and wait until each says so."""
    closes_us = now_us() + 50_000 * poll.shards
    for shard in range(poll.shards):
        assert (await poll.call("ballot_set_closes", closes_us, shard=shard))[0] == 1

    async def closed() -> bool:
        states = [(await poll.call("ballot_latch", shard=shard))[2] for shard in range(poll.shards)]
        return set(states) == {b"closed"}

    await until(closed)


async def unknown_total(poll: Booth) -> int:
    """Return how many attempts the gate counted without knowing their credential."""
    total = 0
    for shard in range(poll.shards):
        minutes: Any = await poll.desk.hgetall(handoff.unknown_key(poll.id, shard))
        total += sum(int(count) for minute, count in minutes.items() if minute.isdigit())
    return total


async def races(course: Course, *, rounds_max: int, seconds: float) -> Counter[str]:
    """Run waves until there were enough rounds or the time is over, then close; return how often what won."""
    started_s = time.monotonic()
    rounds: list[Round] = []
    while len(rounds) < rounds_max and time.monotonic() - started_s < seconds:
        kinds: list[Kind] = course.chance.choices(KINDS, k=min(WAVE, rounds_max - len(rounds)))
        if len(rounds) % CROWD_EVERY < WAVE:
            kinds[0] = "crowd"
        rounds += await wave(course, kinds)
    raced_s = time.monotonic() - started_s

    await close(course.poll)
    for first in range(0, len(rounds), WAVE):
        part = rounds[first : first + WAVE]
        await asyncio.gather(*(try_again(course, round_, refused="not_open") for round_ in part))
    await course.streams.read(course.poll)
    for round_ in rounds:
        check_streams(round_, course.streams)
    casts = sum(len(round_.casts) for round_ in rounds)
    logged = sum(counter.total() for counter in course.streams.attempts.values())
    entered = sum(len(entry) for entry in course.streams.votes.values())
    assert logged + entered + await unknown_total(course.poll) == casts
    return Counter(
        {
            "rounds": len(rounds),
            "casts": casts,
            "logged": logged,
            "entered": entered,
            "seconds": round(raced_s),
        }
    ) + Counter(f"{round_.kind}: {winner_of(round_)}" for round_ in rounds)


def winner_of(round_: Round) -> str:
    """Return in a word what won."""
    if round_.winner is None:
        return "paper"
    return "the vote" if len(round_.voters) == 1 else ("old", "new")[round_.winner.voter is round_.voters[1]]


@pytest.fixture(scope="module")
def edge_urls(stack: Stack) -> Iterator[list[str]]:
    """Two edges as on two machines, the first of two processes on one port."""
    with ExitStack() as running:
        yield [
            running.enter_context(edge(stack.env, processes=processes, settings=SETTINGS)).url
            for processes in (2, 1)
        ]


async def raced(
    stack: Stack, ballot: str, edge_urls: list[str], *, rounds: int, seconds: float
) -> Counter[str]:
    """Run that many rounds on a ballot of their own; a failure names the seed."""
    seed = int(os.environ.get("RACE_SEED") or random.randrange(2**32))
    async with booth(stack.servers, ballot, shards=SHARDS) as poll:
        await poll.arm()
        await poll.publish()
        async with AsyncExitStack() as opened:
            webs = []
            for url in edge_urls:
                # A connection a request, so that all processes on one port get some.
                connector = aiohttp.TCPConnector(force_close=True, limit=0)
                web = await opened.enter_async_context(aiohttp.ClientSession(url, connector=connector))
                await until(partial(served, web, poll))
                webs.append(web)
            course = Course(poll, webs, random.Random(seed), Streams())
            try:
                return await races(course, rounds_max=rounds, seconds=seconds)
            except BaseException as error:
                error.add_note(f"RACE_SEED={seed}")
                raise


async def served(web: aiohttp.ClientSession, poll: Booth) -> bool:
    """Say whether the edge is ready and knows the ballot: all its processes, so many ask at once."""

    async def found(path: str) -> bool:
        async with web.get(path) as answer:
            return answer.status == 200

    asked = [found(path) for path in ("/readyz", poll.path("document")) for _ in range(ASKED_AT_ONCE)]
    return all(await asyncio.gather(*asked))


async def test_thirty_races_have_one_winner_each(stack: Stack, ballot_id: str, edge_urls: list[str]) -> None:
    """One code, two of one voter, or a paper too: one wins, losers know, all is logged, also after close."""
    figures = await raced(stack, ballot_id, edge_urls, rounds=ROUNDS_SHORT, seconds=60)

    assert figures["rounds"] == ROUNDS_SHORT
    assert figures["crowd: the vote"] == 1


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_thousands_of_races_have_one_winner_each(
    stack: Stack, ballot_id: str, edge_urls: list[str]
) -> None:
    """The same for thousands of rounds, among which each side of each race wins some."""
    figures = await raced(stack, ballot_id, edge_urls, rounds=ROUNDS_LONG, seconds=LONG_S)

    sys.stdout.write(f"{dict(figures)}\n")
    assert figures["rounds"] >= min(ROUNDS_LONG, 2_000), figures
    assert {
        "reissued: old",
        "reissued: new",
        "other method: paper",
        "other method: the vote",
        "crowd: the vote",
    } < figures.keys()
