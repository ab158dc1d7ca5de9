"""Asks a Cluster who holds which slots, and which runs of its servers the workers vouch for.

Any node may be asked for the map; the trust marks are where their key's slot is. A node that does not answer,
or that sees no working Cluster, is passed over for the next. What was learned last stays good until something
newer is learned: a primary that dies changes nothing for the shards of the others.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from intake.gate import Unready
from intake.node import TRUSTED
from intake.routing import TRUST_SLOT, Address, Map, parse
from intake.wire import Command, Wire

ASK_S: Final = 0.5
"""A node that takes longer is passed over: the others know as much."""

BEHIND_MAX: Final = 10
"""So many looks in a row find only older maps than ours: then we take one of them, for the Cluster may have
been built anew, and counts from the beginning. If it is only old, its servers send votes on, and a newer one
is taken as soon as a node that has it answers."""

MAP: Final[tuple[Command, ...]] = (("CLUSTER", "INFO"), ("CLUSTER", "SHARDS"))

ConnectTo = Callable[[str, int], Redis]


class Scout:
    """What is known of the Cluster around `seeds`."""

    def __init__(self, connect: ConnectTo, seeds: Sequence[Address], *, tls: bool) -> None:
        self._connect = connect
        self._seeds = tuple(seeds)
        self._tls = tls
        self._connections: dict[Address, Wire] = {}
        self._last: Address | None = None
        self.map: Map | None = None
        self.trusted: frozenset[str] = frozenset()
        self._behind = 0

    async def look(self) -> None:
        """Learn what is new; Unready when no node can tell."""
        found = await self._find_map()
        self._behind += 1
        if self.map is None or found.epoch >= self.map.epoch or self._behind >= BEHIND_MAX:
            self.map, self._behind = found, 0
        owner = self.map.owners[TRUST_SLOT]
        if owner is not None:
            marks = await self._ask(owner, [TRUSTED])
            if marks is not None and isinstance(marks[0], list):
                self.trusted = frozenset(run.decode() for run in marks[0])

    async def _find_map(self) -> Map:
        known = self.map.epoch if self.map is not None else 0
        behind: Map | None = None
        answered = False
        for address in list(self._candidates()):
            answers = await self._ask(address, MAP)
            if answers is None or any(isinstance(answer, Exception) for answer in answers):
                continue
            answered = True
            found = parse(answers[0], answers[1], asked=address, tls=self._tls)
            if found is not None and found.epoch >= known:
                self._last = address
                return found
            behind = behind or found
        if behind is not None:
            return behind
        if answered:
            raise Unready("cluster_down", "No node of the Cluster sees it working: look at CLUSTER INFO.")
        raise Unready("unreachable", "No node of the Cluster can be reached.")

    def _candidates(self) -> Iterator[Address]:
        """Every node we know of, the one that answered last before all."""
        known = sorted(self.map.primaries) if self.map is not None else []
        first = [] if self._last is None else [self._last]
        yield from dict.fromkeys([*first, *known, *self._seeds])

    async def _ask(self, address: Address, commands: Sequence[Command]) -> list[Any] | None:
        connection = self._connections.get(address)
        try:
            if connection is None or not connection.alive:
                if connection is not None:
                    await connection.drop()
                connection = Wire(lambda: self._connect(*address), timeout_s=ASK_S)
                self._connections[address] = connection
                await connection.open()
            return await connection.exchange(commands)
        except (Unready, RedisError, OSError, TimeoutError):
            gone = self._connections.pop(address, None)
            if gone is not None:
                await gone.drop()
            return None

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            await connection.drop()
        self._connections.clear()
