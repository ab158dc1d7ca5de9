"""Codes are guessed from thousands of addresses, and one voter's code, whose beginning is known, from one.

There must be no hit, and that voter must be able to vote from home all the while.
"""

import asyncio
import os
from dataclasses import replace
from typing import Any, Final

from ballot.alphabet import SYMBOLS
from ballot.code import CODE_SYMBOLS, Code, check_symbol
from loadtests.overlays import addresses
from loadtests.overlays.judging import UNSETTLED, did, equal, got, none_of, only
from loadtests.overlays.own_voters import OwnVoters, entered, papers
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import Reply, Target, once
from loadtests.overlays.work import Impossible, Work
from loadtests.voting.voter import CREATED, OK, Booth, access_body, seal

WHAT = "codes guessed at random, and one voter's code hammered by somebody who knows how it begins"
KNOBS: Final = frozenset({"addresses", "rate", "hammer_rate", "victim_votes"})
RATE, HAMMER_RATE = 50.0, 10.0
KNOWN_SYMBOLS = 8
"""Of 20; the rest is 55 bits and a check symbol."""

LOOK_SECONDS = 5.0
VOTES_AT = 0.6
"""When this part of the time is over, and the guessing goes on."""

AT_ONCE_MAX = 400
VICTIM_TRIES_MAX = 20
RANDOM, HAMMER, VICTIM = "guess", "hammer", "victim"


async def run(work: Work) -> dict[str, Any]:
    """Guess and hammer; the victim asks every few seconds whether the code is good, and votes."""
    context = work.context
    if not context.spare_codes:
        raise Impossible("There is no spare code whose owner could be the victim.")
    target = Target.of(context)
    booth = await asyncio.to_thread(entered, context)
    member, text = next(iter(context.spare_codes.items()))
    guesser = Guesser(work, target, booth, Code.parse(text))
    own = OwnVoters(context, booth, work.name)
    rates = work.knob("rate", RATE), work.knob("hammer_rate", HAMMER_RATE)
    if await work.begin():
        looking = asyncio.create_task(guesser.look())
        voting = asyncio.create_task(guesser.vote(own, member, after_s=VOTES_AT * context.seconds))
        await asyncio.gather(
            work.paced(lambda _: rates[0], guesser.guess, at_once_max=AT_ONCE_MAX),
            work.paced(lambda _: rates[1], guesser.hammer, at_once_max=AT_ONCE_MAX),
        )
        looking.cancel()
        await voting
    return {**own.told(), "victim_waited_s": guesser.waited_s}


class Guesser:
    """Both sides: who guesses, and whose code it is."""

    def __init__(self, work: Work, target: Target, booth: Booth, code: Code) -> None:
        self._work = work
        self._target = target
        self._booth = booth
        self._code = code
        seed = work.context.seed
        self._sources = addresses.drawn(seed, int(work.knob("addresses", addresses.ADDRESSES)))
        (self._attacker,) = addresses.drawn(seed, 1, apart="attacker")
        (self._home,) = addresses.drawn(seed, 1, apart="home")
        self._paper = papers(booth)[0]
        self._voted = False
        self.waited_s = 0

    async def guess(self, number: int) -> None:
        """A code out of nothing, from the next address: asked about, or voted with at once."""
        await self._try(RANDOM, Code.draw(os.urandom), number, self._sources[number % len(self._sources)])

    async def hammer(self, number: int) -> None:
        """A code that begins as the victim's does, from always the same address."""
        await self._try(HAMMER, self._alike(), number, self._attacker)

    async def _try(self, kind: str, code: Code, number: int, source: str) -> None:
        if number % 2:
            to, body = "access", access_body(self._booth, code)
        else:
            to, body = "votes", seal(self._booth, code, self._paper).to_json()
        reply = await once(self._target, self._request(to, body), source=source)
        self._work.note(kind, f"{kind} {reply.came}", reply.ms)

    def _alike(self) -> Code:
        """Never the victim's own: the guesses are to be guesses."""
        symbols = self._code.text().replace("-", "").replace(" ", "")
        while True:
            drawn = "".join(self._work.rng.choice(SYMBOLS) for _ in range(CODE_SYMBOLS - 1 - KNOWN_SYMBOLS))
            guess = symbols[:KNOWN_SYMBOLS] + drawn
            if guess != symbols[:-1]:
                return Code(guess + check_symbol(guess))

    async def look(self) -> None:
        """The victim's page, opened again and again."""
        body = access_body(self._booth, self._code)
        while not self._voted:
            reply = await once(self._target, self._request("access", body), source=self._home)
            if self._voted:
                return  # asked before and answered after: used up by now
            self._work.note(VICTIM, f"{VICTIM} {reply.came}", reply.ms)
            await asyncio.sleep(LOOK_SECONDS)

    async def vote(self, own: OwnVoters, member: str, *, after_s: float) -> None:
        """The victim votes in the midst of it, from home; the same vote again while nothing settles it."""
        await self._work.rest(after_s)
        if not self._work.knob("victim_votes", 1):
            return
        vote = own.seal(self._code, self._paper)
        own.sends(member, vote, self._paper)
        request = self._request("votes", vote.to_json())
        self._voted = True
        reply = Reply(0, b"", 0.0)
        for tried in range(VICTIM_TRIES_MAX):
            reply = replace(await once(self._target, request, source=self._home), unsure=tried > 0)
            if reply.settles:
                break
            self.waited_s = tried + 1
            await asyncio.sleep(1)
        own.came(vote, [reply])
        receipt = own.receipt(reply, vote)
        if receipt is not None and reply.status in {OK, CREATED}:
            own.keep(member, receipt, vote, self._paper)
        self._work.note("victim votes", f"victim's vote {reply.came}", reply.ms)

    def _request(self, to: str, body: bytes) -> bytes:
        return self._target.request("POST", f"{self._booth.path}/{to}", body)


def judge(told: Told) -> list[Judgement]:
    """No guess is a hit; the victim was never turned away, and voted."""
    refused = {"403", "409", *UNSETTLED}  # 409 before the ballot opens and after it has closed
    good = got(told, f"{VICTIM} 200") + int(told["receipts"])
    judgements = [
        none_of(
            told, "codes guessed", [f"{kind} {hit}" for kind in (RANDOM, HAMMER) for hit in ("200", "201")]
        ),
        only(told, "answers to guesses at random", RANDOM, {*refused, "200", "201"}),
        only(told, "answers to guesses at one voter's code", HAMMER, {*refused, "200", "201"}),
        none_of(
            told,
            "times that voter was turned away at home",
            [f"{VICTIM} {answer}" for answer in ("400", "403", "404", "429")],
        ),
        Judgement(
            "times that voter's code was found good or taken, at home",
            "at least 1",
            f"{good:,}",
            ok=good > 0,
        ),
    ]
    if did(told, "victim votes") and not got(told, "victim's vote 409"):
        judgements.append(equal("receipts of that voter", 1, int(told["receipts"])))
    return judgements
