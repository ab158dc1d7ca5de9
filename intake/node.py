"""One primary, over a connection that is only ever used while the primary is durable and vouched for.

Checked whenever the connection is made, and again every few seconds: see `intake.durability`. At level
`replicated` the calls of a round and the wait for the replicas go together over this one connection, because
the wait covers only what its own connection wrote. A vote that is tried again writes its attempt, so that its
wait covers the original too, over whatever connection that came.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from redis.exceptions import AskError, ClusterDownError, ReadOnlyError, TryAgainError

from ballot import handoff
from intake.clocks import Reading
from intake.durability import QUESTIONS, Durability, Facts, require_trust
from intake.gate import Call, Unready
from intake.wire import Command, Connect, Wire
from runtime.clock import Clock

ASKING: Final[Command] = ("ASKING",)
TRUSTED: Final[Command] = ("HKEYS", handoff.TRUST_KEY)
READINGS_MAX: Final = 3
ASK_REPLICAS_S: Final = 0.2
"""Replicas that say nothing for so long are asked again."""

DOUBT_ENOUGH_US: Final = 5_000
"""A clock read within 10 ms is read well enough; otherwise it is read again."""

NOT_DONE: Final = (AskError, TryAgainError, ClusterDownError, ReadOnlyError)
"""What a server answers before it looks at a function at all; MOVED is a kind of ASK."""

Trusted = Callable[[], Collection[str]]


class NotKept(Exception):  # noqa: N818  # a state of the replicas, not a mistake
    """The primary did what it was asked, but not every replica has it on disk yet."""


class Node:
    """The primary that `connect` leads to; without `trusted` it is asked itself whom the workers trust."""

    def __init__(
        self,
        connect: Connect,
        *,
        durability: Durability,
        clock: Clock,
        timeout_s: float,
        trusted: Trusted | None = None,
    ) -> None:
        self._wire = Wire(connect, timeout_s=timeout_s)
        self._durability = durability
        self._clock = clock
        self._trusted = trusted
        self._durable_run = ""
        self.timeout_s = timeout_s
        self.reading: Reading | None = None

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as we know."""
        return self._wire.alive

    async def open(self) -> None:
        """Connect and check; Unready says why votes cannot be taken."""
        await self._wire.open()
        try:
            await self.check()
        except BaseException:
            await self.drop()
            raise

    async def check(self) -> None:
        """Raise Unready unless the primary is as it must be now; its clock is read on the way."""
        answers = await self._wire.exchange([*QUESTIONS, *(() if self._trusted else (TRUSTED,))])
        facts = Facts.of(answers[: len(QUESTIONS)])
        known, self._durable_run = self._durable_run, ""
        self._durability.require(facts, known_run=known)
        self._durable_run = facts.run
        require_trust(facts.run, self._trusted() if self._trusted else trusted_runs(answers[-1]))
        self.reading = await self._read_clock()

    async def call(self, calls: Sequence[Call], *, wait_s: float) -> list[Any]:
        """The answers to `calls`, an error in the place of its call; replicas have at most `wait_s`.

        NotKept when they do not all have it by then. Calls that were all not done leave nothing to wait for,
        and a primary that was made a replica answers the wait with an error.
        """
        commands: list[Command] = []
        for call in calls:
            if call.asking:
                commands.append(ASKING)
            commands.append(call.packed())
        if not self._durability.replicas:
            return _of_calls(commands, await self._wire.exchange(commands))
        until_s = self._clock.monotonic() + wait_s
        waits = self._waits(wait_s)
        found = await self._wire.exchange([*commands, *waits])
        answers, waited = _of_calls(commands, found[: -len(waits)]), found[-len(waits) :]
        if all(isinstance(answer, NOT_DONE) for answer in answers):
            return answers
        while not self._durability.kept(waited):
            left_s = until_s - self._clock.monotonic()
            if left_s <= 0:
                raise NotKept
            waited = await self._wire.exchange(self._waits(left_s))
        return answers

    async def kept(self, wait_s: float) -> bool:
        """Whether the replicas have by now what this connection wrote before."""
        return self._durability.kept(await self._wire.exchange(self._waits(wait_s)))

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        await self._wire.drop()

    def _waits(self, wait_s: float) -> Sequence[Command]:
        return self._durability.waits(min(wait_s, ASK_REPLICAS_S))

    async def _read_clock(self) -> Reading:
        best: Reading | None = None
        for _ in range(READINGS_MAX):
            asked_s = self._clock.monotonic()
            (time,) = await self._wire.exchange([("TIME",)])
            if isinstance(time, Exception):
                raise time
            reading = Reading.of(*time, asked_s=asked_s, answered_s=self._clock.monotonic())
            if best is None or reading.doubt_us < best.doubt_us:
                best = reading
            if best.doubt_us <= DOUBT_ENOUGH_US:
                break
        if best is None:
            raise RuntimeError("no reading was made")
        return best


def _of_calls(commands: Sequence[Command], answers: Sequence[Any]) -> list[Any]:
    """The answers without those to ASKING."""
    return [answer for command, answer in zip(commands, answers, strict=True) if command is not ASKING]


def trusted_runs(answer: object) -> frozenset[str]:
    """The runs of servers that a worker vouched for; Unready when the queue does not say."""
    if not isinstance(answer, list):
        raise Unready("unreachable", f"The queue did not answer a check: {type(answer).__name__}.")
    return frozenset(run.decode() for run in answer)
