"""The turns of the replaying overlay's own codes: what is sent again, what is raced, and what came of it."""

import asyncio
import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from ballot.alphabet import SYMBOLS, grouped
from ballot.code import Code
from ballot.vote import CastVote
from loadtests.overlays import addresses
from loadtests.overlays.own_voters import OwnVoters, papers
from loadtests.overlays.wire import Line, Reply, Target, once
from loadtests.overlays.work import Work
from loadtests.published.plan import Paper
from loadtests.voting.voter import CREATED, OK

COPIES, RACED_ONE_IN = 3, 3
TRIES_MAX = 20
NOT_OPEN = 409
PAUSE_SECONDS = 0.5
APART_MS_MAX = 5.0
REFERENCE_SYMBOLS: Final = 16
COPY, RACE, RECEIPT, UNKNOWN = "copy", "race", "receipt", "unknown receipt"


class Replayer:
    """What became of every code: how often it was accepted, and under which references."""

    def __init__(self, work: Work, target: Target, own: OwnVoters) -> None:
        self._work = work
        self._target = target
        self._own = own
        self._papers = papers(own.booth)
        self._codes = list(work.context.spare_codes.items())
        self._sources = addresses.drawn(work.context.seed, max(1, 2 * len(self._codes)), apart="replay")
        self.closed = self.finished = self.begun = self.votes_twice = self.other_references = (
            self.unsettled
        ) = 0
        self.unsent = 0
        self.raced = self.races_won_once = self.told_too_much = 0
        self.raced_within_5_ms = 0
        self.apart_ms_max = 0.0

    async def one(self, number: int) -> None:
        """The next code's turn; nothing once all have had theirs."""
        if number >= len(self._codes):
            if self._work.context.voters is None:
                self._work.over.set()
            return
        member, text = self._codes[number]
        self.begun += 1
        if number % RACED_ONE_IN == RACED_ONE_IN - 1:
            await self._race(member, Code.parse(text), number)
        else:
            await self._copies(member, Code.parse(text), number)
        self.finished += 1

    async def _copies(self, member: str, code: Code, number: int) -> None:
        """One vote, and at once and afterwards the identical request from other addresses."""
        paper = self._papers[number % 2]
        vote = self._own.seal(code, paper)
        self._own.sends(member, vote, paper)
        request = self._request(vote)
        sources = self._sources[2 * number : 2 * number + 2]
        replies = await asyncio.gather(*(self.settled(request, source) for source in sources))
        replies += [await self.settled(request, sources[-1]) for _ in range(COPIES - 1)]
        self._own.came(vote, replies)
        if self._closed(replies):
            return
        for reply in replies:
            self._work.note(COPY, f"{COPY} {reply.came}", reply.ms)
        references = {
            receipt.reference for reply in replies if (receipt := self._own.receipt(reply, vote)) is not None
        }
        self.votes_twice += sum(reply.status == CREATED for reply in replies) > 1
        self.other_references += len(references) > 1
        self._keep(member, replies, [vote], [paper])
        for reference in references:
            await self._ask(reference, self._sources[-1 - number % len(self._sources)])

    async def _race(self, member: str, code: Code, number: int) -> None:
        """Two votes of one code that differ, written to two open connections in one step."""
        votes = [self._own.seal(code, paper) for paper in self._papers]
        lines = await self._two_lines(number)
        if lines is None:
            self.unsent += 1
            return
        for vote, paper in zip(votes, self._papers, strict=True):
            self._own.sends(member, vote, paper)
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = [
            asyncio.ensure_future(line.ask(self._request(vote)))
            for line, vote in zip(lines, votes, strict=True)
        ]
        await asyncio.sleep(0)
        apart_ms = (loop.time() - began) * 1000
        self.apart_ms_max = max(self.apart_ms_max, apart_ms)
        self.raced_within_5_ms += apart_ms <= APART_MS_MAX
        replies = list(await asyncio.gather(*asked))
        for line in lines:
            line.close()
        for place, reply in enumerate(replies):
            if not reply.settles:
                again = await self.settled(self._request(votes[place]), self._sources[2 * number])
                replies[place] = replace(again, unsure=True)
        for vote, reply in zip(votes, replies, strict=True):
            self._own.came(vote, [reply])
        if self._closed(replies):
            return
        for reply in replies:
            self._work.note(RACE, f"{RACE} {reply.came}", reply.ms)
        accepted = sum(reply.status in {OK, CREATED} for reply in replies)
        self.raced += 1
        self.races_won_once += accepted == 1
        self.votes_twice += accepted > 1
        self._keep(member, replies, votes, self._papers)

    def _closed(self, replies: Sequence[Reply]) -> bool:
        """Whether the ballot closed before this code's turn; then nobody else has one."""
        statuses = {reply.status for reply in replies}
        if NOT_OPEN not in statuses or statuses & {OK, CREATED}:
            return False
        self.closed += 1
        self._work.over.set()
        return True

    async def _two_lines(self, number: int) -> list[Line] | None:
        """Two open connections from two addresses; nobody may be there for as long as for any other vote."""
        sources = self._sources[2 * number : 2 * number + 2]
        for _ in range(TRIES_MAX):
            opened = await asyncio.gather(
                *(Line.open(self._target, source=source) for source in sources), return_exceptions=True
            )
            lines = [line for line in opened if isinstance(line, Line)]
            if len(lines) == len(sources):
                return lines
            for line in lines:
                line.close()
            if strange := [each for each in opened if not isinstance(each, (Line, OSError, TimeoutError))]:
                raise strange[0]
            await asyncio.sleep(PAUSE_SECONDS)
        return None

    def _keep(
        self, member: str, replies: Sequence[Reply], votes: Sequence[CastVote], marked: Sequence[Paper]
    ) -> None:
        """Keep the first receipt there is; whoever has none is unsettled."""
        for place, reply in enumerate(replies):
            vote, paper = votes[place % len(votes)], marked[place % len(marked)]
            if reply.status in {OK, CREATED} and (receipt := self._own.receipt(reply, vote)) is not None:
                self._own.keep(member, receipt, vote, paper)
                return
        self.unsettled += 1

    async def settled(self, request: bytes, source: str) -> Reply:
        """The first answer that settles it; the last one when none did."""
        reply = Reply(0, b"", 0.0)
        for tried in range(TRIES_MAX):
            reply = replace(await once(self._target, request, source=source), unsure=tried > 0)
            if reply.settles:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return reply

    async def _ask(self, reference: str, stranger: str) -> None:
        """What a stranger is told about a reference, and about one that nobody was given."""
        drawn = random.Random(os.urandom(REFERENCE_SYMBOLS))
        nobodys = grouped("".join(drawn.choice(SYMBOLS) for _ in range(REFERENCE_SYMBOLS)))
        for kind, asked in ((RECEIPT, reference), (UNKNOWN, nobodys)):
            path = f"{self._own.booth.path}/receipts/{asked}"
            reply = await once(self._target, self._target.request("GET", path), source=stranger)
            self._work.note(kind, f"{kind} {reply.came}", reply.ms)
            if reply.status == OK and not says_only_state(reply.body):
                self.told_too_much += 1

    def _request(self, vote: CastVote) -> bytes:
        return self._target.request("POST", f"{self._own.booth.path}/votes", vote.to_json())

    def told(self) -> dict[str, Any]:
        """All of it."""
        return self._own.told() | {
            "codes": self.finished - self.closed - self.unsent,
            "closed_before": self.closed,
            "unsent": self.unsent,
            "cut_short": self.begun - self.finished,
            "raced": self.raced,
            "races_won_once": self.races_won_once,
            "votes_twice": self.votes_twice,
            "other_references": self.other_references,
            "unsettled": self.unsettled,
            "told_too_much": self.told_too_much,
            "raced_within_5_ms": self.raced_within_5_ms,
            "apart_ms_max": round(self.apart_ms_max, 3),
        }


def says_only_state(body: bytes) -> bool:
    """Whether an answer about a reference holds a state that a stranger may know, and nothing else."""
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return told in ({"state": "accepted"}, {"state": "stored"})
