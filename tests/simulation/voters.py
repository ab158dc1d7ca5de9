"""Voters' devices: each sends the same bytes until it has a receipt or a final refusal.

Some ask for access first; some voters have a second device with another vote. What a device was told is what
the final check holds the rest to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from tests.simulation.edges import LOST

if TYPE_CHECKING:
    from tests.simulation.material import Paper, Roll
    from tests.simulation.world import World

PATIENCE_S: Final = 3.0
"""A device without an answer by then gives the request up and tries again; an edge answers within 2 s."""

ACCEPTED: Final = 201
"""The status of a first receipt; 200 is that of the same one again."""

PAUSE_S: Final = (0.1, 0.8)


@dataclass(frozen=True, slots=True)
class Told:
    """A receipt as a device got it."""

    voter: int
    paper: int
    at_s: float
    status: int
    body: bytes


class Device:
    """One sealed vote and whoever wants it counted."""

    def __init__(self, world: World, voter: int, paper: int, *, asks_first: bool) -> None:
        self.world = world
        self.voter = voter
        self.paper = paper
        self.name = f"voter{voter}.{paper}"
        self.asks_first = asks_first
        self.finished = False
        self.refused = 0
        """The status of a final refusal."""

        self.sent = 0
        self._try = 0

    @property
    def roll(self) -> Roll:
        """Whose vote it is."""
        return self.world.voters[self.voter].roll

    @property
    def kept(self) -> Paper:
        """What it sends."""
        return self.roll.papers[self.paper]

    def go(self) -> None:
        """Send, to whichever edge."""
        if self.finished:
            return
        world = self.world
        self._try += 1
        self.sent += 1
        kind = "access" if self.asks_first else "vote"
        body = self.roll.access if kind == "access" else self.kept.body
        edge = world.edges[int(world.kernel.random.random() * len(world.edges))]
        number, weather = self._try, world.network.weather
        world.kernel.after(PATIENCE_S, self._again, number)
        if weather.lose_request and world.kernel.random.random() < weather.lose_request:
            return

        def back(status: int, answer: bytes) -> None:
            if weather.lose_answer and world.kernel.random.random() < weather.lose_answer:
                return
            world.kernel.after(world.network.delay_s(), self._answered, number, kind, status, answer)

        world.kernel.after(world.network.delay_s(), edge.request, kind, body, back)

    def _answered(self, number: int, kind: str, status: int, body: bytes) -> None:
        if self.finished:
            return
        world = self.world
        if kind == "vote" and status in {200, 201}:
            # A late answer to an earlier try is as good.
            self.finished = True
            world.kernel.tell(self.name, "has a receipt", status, orjson.loads(body)["reference"])
            world.told.append(Told(self.voter, self.paper, world.kernel.now_s, status, body))
            return
        if number != self._try:
            return
        if kind == "access":
            self.asks_first = status in {LOST, 503}
            self._later(number)
        elif status == 403 or (status == 409 and orjson.loads(body)["state"] == "closed"):
            self.finished = True
            self.refused = status
            if status == 409:
                world.witness.told_closed(world.voters[self.voter].shard)
            world.kernel.tell(self.name, "is refused", status)
        elif status in {LOST, 409, 503}:
            self._later(number)
        else:
            world.kernel.bugs.append(f"{self.name} was answered {status} {body!r}")
            self.finished = True

    def _later(self, number: int) -> None:
        low, high = PAUSE_S
        random = self.world.kernel.random.random()
        self.world.kernel.after(low + (high - low) * random, self._again, number)

    def _again(self, number: int) -> None:
        if number == self._try and not self.finished:
            self.go()
