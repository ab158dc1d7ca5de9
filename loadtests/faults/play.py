"""One run: a ballot under steady load, fault after fault, then the books, every receipt and a count."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from ballot.encoding import format_time
from loadtests.crowds.crowd import Booking, Crowd
from loadtests.faults import audit
from loadtests.faults.clock import SteppedClock
from loadtests.faults.deeds import Deeds, now_us
from loadtests.faults.depth import Depth
from loadtests.faults.draw import Fault
from loadtests.faults.electorate import beside, sized
from loadtests.faults.events import ASKED_LATER, Account, Done, events
from loadtests.faults.ground import Ground
from loadtests.faults.kinds import MONITOR
from loadtests.faults.tape import US, Tape
from loadtests.lifetime.life import Life
from loadtests.published import plan
from loadtests.staging.stage import StageFault
from loadtests.staging.telling import Telling

BESIDE = "beside"
FIRST_VOTES = 20
"""Faults begin when so many votes have been accepted."""

AGAIN_VOTES = 5
AGAIN_SECONDS_MAX = 90.0
LAST_SECONDS_MAX = 240
DRAIN_SECONDS_MAX = 600.0
LOOK_SECONDS = 0.02
USERS_MAX = 800
OUTAGE_SECONDS = 8
"""So long new voters go on coming at the same pace although nobody gets an answer."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is to do."""

    seed: int
    faults: tuple[Fault, ...]
    voters: int
    rate: float
    seconds_max: float
    away_seconds: float | None = None

    @property
    def users(self) -> int:
        """Devices at once: new ones go on coming during an outage, while others wait as they were told."""
        return min(USERS_MAX, int(self.rate * OUTAGE_SECONDS))

    def has(self, name: str) -> bool:
        """Whether a deed or a part of that name is among the faults."""
        return any(name == fault.kind.deed or name in fault.kind.parts for fault in self.faults)


class Play:
    """A run on `ground`; call `whole` once."""

    def __init__(
        self, ground: Ground, settings: Settings, telling: Telling, *, clock: SteppedClock | None = None
    ) -> None:
        self.ground = ground
        self.settings = settings
        self.account = Account(seed=settings.seed, began=format_time(now_us()))
        self._telling = telling
        played = sized(settings.voters, ground.files)
        self.life = Life(ground, played, plan.draw(played, seed=settings.seed), seed=settings.seed)
        self.tape = Tape(self.life.files / "voters")
        self._deeds = Deeds(ground, beside=BESIDE, clock=clock)
        self._deeds.away_seconds = settings.away_seconds
        self._done: list[Done] = []
        self._beside: Life | None = None

    def whole(self) -> Account:
        """Set up, vote under faults, close, and give account."""
        started = time.monotonic()
        self._set_up()
        with self._telling.step(
            f"{len(self.settings.faults):,} faults, {self.settings.rate:g} votes a second"
        ):
            summary = self._vote()
        end_us = now_us()
        with self._telling.step("closed, drained, checked, counted; every receipt verified"):
            found = audit.audit(self.life, self.tape, summary)
            if self._beside is not None:
                found.wrong += audit.beside(self._beside, junk=self._deeds.junk_entries)
        account = self.account
        account.votes, account.lost, account.doubled = found.votes, found.lost, found.doubled
        account.wrong += found.wrong
        account.events = events(self._done, self.tape, end_us=end_us, lost=found.lost, doubled=found.doubled)
        account.seconds = round(time.monotonic() - started, 1)
        return account

    def _set_up(self) -> None:
        now = now_us()
        steps: list[tuple[str, Callable[[], Any]]] = [
            (
                "ballot servers, relays, ballot up",
                lambda: self.ground.start(
                    monitor=self.settings.has(MONITOR), small_disk=self.settings.has("full")
                ),
            ),
            (f"a ballot of {self.settings.voters:,} voters, open", lambda: _opened(self.life, now)),
        ]
        if self.settings.has("junk"):
            small = beside(BESIDE)
            self._beside = Life(self.ground, small, plan.draw(small))
            aside = self._beside
            steps.append(("a ballot beside it, to be spoilt", lambda: _opened(aside, now)))
        for what, step in steps:
            with self._telling.step(what):
                step()

    def _vote(self) -> dict[str, Any]:
        """Let voters vote while faults are done; what the voters say in the end."""
        enough = self.life.files / "enough"
        booking = Booking(
            scenario=self.life.scenario.file,
            url=self.ground.voters_url,
            codes=self.life.codes,
            desk_key=self.ground.desk_key,
            out=self.tape.folder,
            seed=self.settings.seed,
            users=self.settings.users,
            seconds=int(self.settings.seconds_max) + LAST_SECONDS_MAX,
            rate=self.settings.rate,
            enough=enough,
        )
        with Crowd(booking) as crowd:
            crowd.wait_for(min(FIRST_VOTES, self.settings.voters // 2))
            try:
                self._break(crowd)
            except StageFault as fault:
                # The books are looked at all the same: they say more than this sentence.
                self.account.wrong.append(self._said(str(fault)))
            finally:
                self.ground.calm()
            enough.touch()
            summary = crowd.end()
        self.tape.look()
        return summary

    def _break(self, crowd: Crowd) -> None:
        """Fault after fault, each seen to be over before the next."""
        deadline = time.monotonic() + self.settings.seconds_max
        with (
            Depth(f"http://127.0.0.1:{self.ground.metrics_port + 1}") as depth,
            _bar(len(self.settings.faults)) as shown,
        ):
            for fault in self.settings.faults:
                if time.monotonic() > deadline:
                    raise StageFault(f"The time was up before fault {fault.number:,}.")
                if not crowd.running or self.tape.between(0, now_us()) >= self.settings.voters - 1:
                    raise StageFault(
                        f"All voters had voted before fault {fault.number:,}: give more --voters."
                    )
                self._one(fault, crowd, depth)
                shown(1)

    def _one(self, fault: Fault, crowd: Crowd, depth: Depth) -> None:
        """Do one fault, see votes accepted after it, and rest."""
        began = now_us()
        self._done.append(Done(fault, began, began, began))  # it is counted even if it is the last
        back = self._deeds.do(fault)
        self._done[-1] = Done(fault, began, back, back)
        deadline = time.monotonic() + AGAIN_SECONDS_MAX
        while len(self.tape.since(back)) < AGAIN_VOTES and crowd.running:
            if time.monotonic() > deadline:
                raise StageFault(f"No votes were accepted {AGAIN_SECONDS_MAX:.0f} s after {fault.kind.name}.")
            time.sleep(LOOK_SECONDS)
            self.tape.look()
        self._done[-1] = Done(fault, began, back, now_us())
        if not sys.stderr.isatty():  # to a person the bar says enough
            after = (self.tape.since(back)[:1] or [now_us()])[0] - back
            took = f"{(back - began) / US:.2f} s, votes again after {after / US:.2f} s"
            self._telling.say(f"  {fault.number:4,}  {fault.kind.name}: {took}")
        if fault.kind.deed == "away":
            self._wait_for_drain(depth, began)
        time.sleep(fault.rests_s)
        self.tape.look()

    def _wait_for_drain(self, depth: Depth, began: int) -> None:
        """Wait until what was accepted meanwhile is stored, but for the last second's votes."""
        returned, started = self._done[-1].over_us, time.monotonic()
        while (waiting := depth.now()) is None or waiting > self.settings.rate:
            if time.monotonic() - started > DRAIN_SECONDS_MAX:
                raise StageFault(f"{waiting} votes still waited {DRAIN_SECONDS_MAX:.0f} s after the return.")
            time.sleep(LOOK_SECONDS * 5)
        self.tape.look()
        answers = self.tape.answers(began, now_us())
        self._note("away: seconds it was away", round((returned - began) / US, 1))
        self._note(
            "away: accepted votes a second",
            round(self.tape.between(began, returned) * US / (returned - began), 1),
        )
        self._note("away: answers 503 and 429", sum(answers[status] for status in ASKED_LATER))
        self._note("away: most votes waiting", depth.most(began))
        self._note(
            "away: seconds to drain, but for the last second's votes", round((now_us() - returned) / US, 1)
        )

    def _note(self, what: str, value: float) -> None:
        """Keep the largest of its kind."""
        self.account.notes[what] = max(value, self.account.notes.get(what, 0))

    def _said(self, sentence: str) -> str:
        """A sentence with the fault it came after."""
        if not self._done:
            return sentence
        last = self._done[-1].fault
        return f"At fault {last.number:,}, {last.kind.name}: {sentence}"


def _opened(life: Life, at_us: int) -> None:
    """From the definition to an open ballot, by the commands a scrutineer types."""
    life.create(now_us=at_us)
    for step in (life.keys, life.roll, life.issue, life.open):
        step()


@contextmanager
def _bar(length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while the block runs, if that is a terminal."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label="faults", file=sys.stderr, hidden=hidden) as shown:
        yield shown.update
