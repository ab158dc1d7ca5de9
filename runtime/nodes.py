"""The primaries of the queue, each on connections of its own, for whoever must know which one answers.

One standalone server is the only primary and holds every key. In a Cluster a key's primary is looked up in
what any node says of the slots; who meets a failure says `forget`, and the next look-up asks again. Nothing
is sent twice and no redirection is followed: both are the caller's decision.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as QueueConnectionError
from redis.exceptions import RedisError

from runtime import valkey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from runtime.servers import Servers

ASK_S = 1.0
"""A node that does not say by then who holds what is passed over."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Primary:
    """A server that takes writes, and the ranges of slots that are its own (both ends included)."""

    place: Place
    client: Redis
    slots: tuple[tuple[int, int], ...]

    def holds(self, key: str) -> bool:
        """Whether the key is its own."""
        slot = key_slot(key.encode())
        return any(low <= slot <= high for low, high in self.slots)


class Nodes:
    """The primaries as of the last look, and a client for each."""

    def __init__(self, servers: Servers, user: str, *, timeout_s: float = 5.0) -> None:
        self._servers = servers
        self._user = user
        self._timeout_s = timeout_s
        self._address = servers.valkey
        self._clients: dict[Place, Redis] = {}
        self._primaries: tuple[Primary, ...] = ()
        self._asking = asyncio.Lock()

    @property
    def cluster(self) -> bool:
        """Whether keys of different slots must not stand in one command."""
        return self._address.cluster

    async def holder(self, key: str) -> Redis:
        """The client of the primary that holds `key`."""
        for primary in await self.primaries():
            if primary.holds(key):
                return primary.client
        self.forget()
        raise QueueConnectionError("no primary holds this slot of the Cluster")

    async def primaries(self, *, anew: bool = False) -> tuple[Primary, ...]:
        """Every primary, those without a slot too; `anew`: as of now, not as of the last look."""
        found = self._primaries
        if found and not anew:
            return found
        async with self._asking:
            if self._primaries is found:  # nobody else has looked while we waited
                self._primaries = await self._look()
            return self._primaries

    def forget(self) -> None:
        """Somebody has met a failure: the next look-up asks the Cluster again."""
        if self._address.cluster:
            self._primaries = ()

    async def aclose(self) -> None:
        """End all connections."""
        clients, self._clients, self._primaries = self._clients, {}, ()
        for client in clients.values():
            await client.aclose()

    async def _look(self) -> tuple[Primary, ...]:
        if not self._address.cluster:
            place = (self._address.host, self._address.port)
            return (Primary(place, self._client(place), ((0, REDIS_CLUSTER_HASH_SLOTS - 1),)),)
        known, others = [*self._clients], [*{*self._address.seeds} - self._clients.keys()]
        for places in (known, others):
            random.shuffle(places)
        failure: Exception | None = None
        for place in (*known, *others):
            try:
                async with asyncio.timeout(ASK_S):
                    nodes = described(await self._client(place).cluster("NODES"), place)
                break
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
        else:
            raise QueueConnectionError("no node of the Cluster says who holds what") from failure
        # A primary that has failed stays the holder of its slots until they are another's.
        holders = [each for each, node in nodes.items() if node.primary and (node.slots or not node.failed)]
        found = tuple(Primary(each, self._client(each), nodes[each].slots) for each in holders)
        for gone in self._clients.keys() - {primary.place for primary in found}:
            await self._clients.pop(gone).aclose()
        return found

    def _client(self, place: Place) -> Redis:
        if place not in self._clients:
            self._clients[place] = valkey.pooled(self._servers, self._user, *place, timeout_s=self._timeout_s)
        return self._clients[place]


@dataclass(frozen=True, slots=True)
class Described:
    """A node as another one, or it itself, describes it."""

    primary: bool
    failed: bool
    slots: tuple[tuple[int, int], ...]


def described(nodes: Mapping[str, Mapping[str, Any]], asked: Place) -> dict[Place, Described]:
    """Read an answer to CLUSTER NODES that `asked` gave; nodes that are only about to join are left out."""
    found = {}
    for where, node in nodes.items():
        flags = node["flags"].split(",")
        if "handshake" in flags or "noaddr" in flags:
            continue
        host, _, port = where.rpartition(":")
        slots = tuple((int(each[0]), int(each[-1])) for each in node["slots"])
        place = (host.strip("[]") or asked[0], int(port))
        found[place] = Described("master" in flags, "fail" in flags, slots)
    return found
