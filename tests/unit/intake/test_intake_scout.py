"""What is believed of a Cluster: the newest map, and after a while an older one when nobody has a newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intake.scout import BEHIND_MAX, Scout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intake.routing import Address
    from intake.wire import Command

SEED: Address = ("seed", 1)


class TalkingScout(Scout):
    """A scout whose one node says what the test says."""

    def __init__(self) -> None:
        def connect(_host: str, _port: int) -> Any:
            raise AssertionError("nothing connects here")

        super().__init__(connect, [SEED], tls=False)
        self.epoch = 7
        self.host = b"old"

    async def _ask(self, _address: Address, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:
            return [[b"run"]]
        node = [b"port", 1, b"endpoint", self.host, b"role", b"master", b"health", b"online"]
        info = f"cluster_state:ok\r\ncluster_current_epoch:{self.epoch}\r\n".encode()
        return [info, [[b"slots", [0, 16_383], b"nodes", [node]]]]

    async def hosts(self, looks: int) -> list[str]:
        """The host that owns slots, look by look."""
        found = []
        for _ in range(looks):
            await self.look()
            assert self.map is not None
            found.append(next(iter(self.map.deciding))[0])
        return found


async def test_an_older_map_is_taken_only_when_nobody_has_a_newer() -> None:
    """A Cluster that was built anew counts from the beginning: found after some looks, not at once."""
    scout = TalkingScout()
    assert await scout.hosts(1) == ["old"]

    scout.epoch, scout.host = 3, b"new"
    assert await scout.hosts(BEHIND_MAX + 1) == ["old"] * (BEHIND_MAX - 1) + ["new"] * 2


async def test_looks_that_find_our_map_begin_the_count_again() -> None:
    """A node that is only behind for a while changes nothing."""
    scout = TalkingScout()
    await scout.hosts(1)
    for _ in range(3):
        scout.epoch, scout.host = 3, b"behind"
        assert await scout.hosts(BEHIND_MAX - 1) == ["old"] * (BEHIND_MAX - 1)
        scout.epoch, scout.host = 7, b"old"
        assert await scout.hosts(1) == ["old"]
