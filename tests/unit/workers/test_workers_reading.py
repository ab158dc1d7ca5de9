"""What a worker is given next: nothing new of a shard before what is left of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runtime.lifecycle import Retry
from tests.manual_clock import ManualClock
from workers.link import Link
from workers.queue import Given
from workers.reading import SHARD_ENTRIES_MIN, ConsumerSettings, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COUNT = SHARD_ENTRIES_MIN
STREAMS = ["a", "b"]


class Queue:
    """Two shards on a primary each, with all their entries given to nobody yet."""

    def __init__(self) -> None:
        self.entries = {stream: [f"{number}-0" for number in range(1, 6 * COUNT)] for stream in STREAMS}
        self.own: dict[str, list[str]] = {stream: [] for stream in STREAMS}
        self.away: set[str] = set()

    async def read_own(self, after: Mapping[str, str], _name: str, *, count: int) -> Given:
        """What was given and not acknowledged."""
        later = {
            stream: [i for i in self.own[stream] if _order(i) > _order(at)] for stream, at in after.items()
        }
        return self._given(later, count)

    async def claim_stale(self, streams: Iterable[str], _name: str, *, idle_ms: int, count: int) -> Given:
        """Nobody else has left anything."""
        return self._given({stream: [] for stream in streams}, min(count, idle_ms))

    async def read_new(
        self, streams: Iterable[str], _name: str, *, count: int, block_ms: int | None
    ) -> Given:
        """What nobody was given; a primary that is away gives it and is not heard."""
        new = {stream: self.entries[stream][:count] for stream in streams}
        for stream, entries in new.items():
            self.own[stream] += entries
            self.entries[stream] = self.entries[stream][count:]
        assert block_ms is None or block_ms > 0
        return self._given(new, count)

    def acknowledge(self, given: Given) -> list[str]:
        """Handle what was given; its places, in their order."""
        for stream, entries in given.items():
            self.own[stream] = [i for i in self.own[stream] if i not in dict(entries)]
        return [f"{stream} {i}" for stream, entries in given.items() for i, _ in entries]

    def _given(self, found: dict[str, list[str]], count: int) -> Given:
        if found and found.keys() <= self.away:
            raise Retry("away")
        given = Given()
        for stream in found.keys() - self.away:
            if found[stream]:
                given[stream] = [(i, {}) for i in found[stream][:count]]
        given.unheard = frozenset(found.keys() & self.away)
        return given


def _order(entry_id: str) -> int:
    return int(entry_id.split("-", maxsplit=1)[0])


@pytest.fixture
def queue() -> Queue:
    """Both primaries answer."""
    return Queue()


@pytest.fixture
def reading(queue: Queue) -> Reading:
    """A worker's reading of that queue."""
    parts: Any = (queue, SimpleNamespace(held=0))
    settings = ConsumerSettings(batch_entries=COUNT)
    return Reading(prefix="w", queue=parts[0], guard=parts[1], clock=ManualClock(), settings=settings)


async def test_all_that_is_left_comes_before_anything_new(queue: Queue, reading: Reading) -> None:
    """More than one read's worth is left by a failure: it is given in its order, and then the new."""
    await reading.first(STREAMS)
    for _ in range(2):
        await reading.further(STREAMS)

    given = await reading.first(STREAMS)
    places = queue.acknowledge(given)
    for _ in range(4):
        places += queue.acknowledge(await reading.further(STREAMS))
    reading.end()

    for stream in STREAMS:
        numbers = [_order(place.split()[1]) for place in places if place.startswith(stream)]
        assert numbers == [*range(1, len(numbers) + 1)]
        assert len(numbers) > 3 * COUNT


async def test_what_stays_on_purpose_is_passed_over(queue: Queue, reading: Reading) -> None:
    """After a failure the held entries are given once more, a page at a time, and then come new ones."""
    await reading.first(STREAMS)
    await reading.further(STREAMS)
    held = {stream: [*entries] for stream, entries in queue.own.items()}

    again = [await reading.first(STREAMS), await reading.further(STREAMS)]
    new = await reading.further(STREAMS)
    reading.end()

    for stream in STREAMS:
        assert [i for each in again for i, _ in each[stream]] == held[stream]
        assert not {i for i, _ in new[stream]} & {*held[stream]}


async def test_what_an_unheard_primary_gave_is_asked_for_next(queue: Queue, reading: Reading) -> None:
    """While one is away the other's entries go on; once back, its lost answer comes before what is new."""
    queue.acknowledge(await reading.first(STREAMS))
    reading.end()
    queue.away = {"b"}
    for _ in range(3):
        assert queue.acknowledge(await reading.first(STREAMS)) != []
        reading.end()
    queue.away = set()

    given = await reading.first(STREAMS)
    assert given.keys() == {"b"}
    assert [i for i, _ in given["b"]] == [f"{number}-0" for number in range(COUNT + 1, 2 * COUNT + 1)]
    assert len(queue.own["b"]) == COUNT


async def test_a_queue_that_is_away_as_a_whole_is_a_failure(queue: Queue, reading: Reading) -> None:
    """With no primary left the round fails, and what it may have given is asked for afterwards."""
    queue.away = {*STREAMS}
    for _ in range(2):
        with pytest.raises(Retry):
            await reading.first(STREAMS)
    queue.away = set()
    assert [i for i, _ in (await reading.first(STREAMS))["a"]] == [i for i, _ in (await _own(queue))["a"]]


async def _own(queue: Queue) -> Given:
    return await queue.read_own(dict.fromkeys(STREAMS, "0-0"), "w", count=COUNT)


async def test_primaries_are_asked_apart() -> None:
    """One that fails is told by its keys; when all fail, that is raised."""

    class Nodes:
        """A key's primary is its first letter."""

        async def holder(self, key: str) -> str:
            """The primary."""
            return key[0]

        def forget(self) -> None:
            """Nothing is kept."""

    nodes: Any = Nodes()
    link = Link(nodes)

    async def work(primary: str, keys: list[str]) -> list[str]:
        if primary in away:
            raise OSError
        return keys

    away = {"b"}
    assert await link.across(["a1", "b1", "a2", "b2"], work) == (["a1", "a2"], frozenset(["b1", "b2"]))
    away = {"a", "b"}
    with pytest.raises(Retry):
        await link.across(["a1", "b1"], work)
