"""A primary that does not answer costs the trimmer one wait in a round, and none of the others its turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff
from ops.trim_bounds import Mark
from ops.trimming import Trimmer
from runtime.addresses import ValkeyAddress
from runtime.lifecycle import Stop
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = 30
ENTRY = "1-1"


class Primary:
    """One that answers, or fails; it keeps which keys it was asked for."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent
        self.asked: list[str] = []
        self.stop: Stop | None = None

    async def exists(self, _key: str) -> int:
        """No recovery."""
        return 0

    async def xinfo_groups(self, key: str) -> list[dict[str, Any]]:
        """No reader yet."""
        self._noted(key)
        return []

    async def xinfo_stream(self, key: str) -> dict[str, bytes]:
        """Where it ends."""
        self._noted(key)
        return {"last-generated-id": ENTRY.encode()}

    def _noted(self, key: str) -> None:
        self.asked.append(key)
        if self.stop is not None:
            self.stop.request()
        if self.silent:
            raise TimeoutError


class Nodes:
    """Shards by turns on the one that answers and on the silent one."""

    def __init__(self) -> None:
        self.good, self.bad = Primary(silent=False), Primary(silent=True)
        self.forgotten = 0

    async def holder(self, key: str) -> Primary:
        """Who has the key."""
        odd = {handoff.votes_key("b", shard) for shard in range(1, SHARDS, 2)}
        return self.bad if key in odd else self.good

    def forget(self) -> None:
        """Somebody failed."""
        self.forgotten += 1

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.fixture
def nodes() -> Nodes:
    """Two primaries."""
    return Nodes()


@pytest.fixture
def trimmer(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trimmer:
    """One with backups, of which none is verified yet."""
    servers: Any = SimpleNamespace(valkey=ValkeyAddress("127.0.0.1", 1))
    made = Trimmer(servers, note=tmp_path / "note", clock=ManualClock())

    async def marks() -> list[Mark]:
        return [Mark("b", shard, side, ENTRY) for shard in range(SHARDS) for side in ("stored", "turnout")]

    async def asked(_query: str) -> list[Any]:
        return []

    for name, value in (("_nodes", nodes), ("_marks", marks), ("_asked", asked)):
        monkeypatch.setattr(made, name, value)
    note: dict[tuple[str, int], str] = {}
    monkeypatch.setattr(made, "_backed_up", lambda: note)
    return made


async def test_a_silent_primary_is_asked_once_in_a_round(trimmer: Trimmer, nodes: Nodes) -> None:
    """Its other streams are left out, who holds them is asked again, and the next round tries it again."""
    for number in (1, 2):
        done = await trimmer.round()
        assert [each.shard for each in done] == [*range(0, SHARDS, 2)]
        assert len(nodes.bad.asked) == number
        assert nodes.forgotten == number
    assert len(nodes.good.asked) == 2 * SHARDS


async def test_who_is_asked_to_stop_ends_within_a_round(trimmer: Trimmer, nodes: Nodes) -> None:
    """After the stream that it is at, not after those of all ballots there ever were."""
    stop = Stop()
    nodes.good.stop = stop
    assert await trimmer.run(stop) == 0
    assert nodes.good.asked == [handoff.votes_key("b", 0)]
