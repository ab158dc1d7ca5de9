"""The voter database on the simulated network: each statement takes its time there and back, or is cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.database_model import Connection, DatabaseModel
from tests.simulation.material import BALLOT
from tests.simulation.streams import Id, read_id

if TYPE_CHECKING:
    from tests.simulation.database_tables import Held, Table, Vote
    from tests.simulation.kernel import Loop
    from tests.simulation.world import World

NAME: Final = "voterdb"
LOCK_S: Final = 0.001
"""How often a statement that waits for another transaction looks again."""

LATE_COMMIT: Final = 0.5
"""How likely a commit that was on its way when its worker died still arrives."""


class Database:
    """The server, what it holds, and what it ever held."""

    name = NAME

    def __init__(self, world: World) -> None:
        self.world = world
        self.model = DatabaseModel()
        self._ever: set[tuple[int, str]] = set()

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.model.up

    def set_up(self) -> None:
        """Write the register."""
        for voter in self.world.voters:
            self.model.issue(BALLOT, voter.roll.digest, voter.roll.uin, voter.shard)

    def kill(self) -> None:
        """End as by SIGKILL."""
        self.world.kernel.tell(NAME, "is killed")
        self.model.crash()

    def start(self) -> None:
        """Start with what was committed."""
        if not self.model.up:
            self.world.kernel.tell(NAME, "starts")
            self.model.restart()

    def copy(self) -> dict[str, Table]:
        """A backup."""
        return self.model.copy()

    def restore(self, copy: dict[str, Table]) -> None:
        """Put a backup in place; it is started later."""
        self._ever |= self._entries()
        self.model.restore(copy)
        self.model.crash()
        self.world.kernel.tell(NAME, "is restored to", len(copy["votes"]), "votes")

    def votes(self) -> list[Vote]:
        """What is stored."""
        return [*self.committed("votes").values()]

    def held(self) -> list[Held]:
        """What is in quarantine."""
        return [*self.committed("quarantine").values()]

    def attempts(self) -> list[Any]:
        """What is logged of tries."""
        return [*self.committed("attempts").values()]

    def events(self) -> list[Any]:
        """The log of events, in order."""
        return [*self.committed("events").values()]

    def turnout(self, side: str) -> int:
        """The turnout as accepted or as stored."""
        return sum(votes for (_, _, _, of), votes in self.committed("turnout").items() if of == side)

    def marks(self) -> dict[tuple[int, str], Id]:
        """How far storing and turnout have come, by shard and side."""
        return _marks(self.committed("marks"))

    def copied_marks(self, copy: dict[str, Table]) -> dict[tuple[int, str], Id]:
        """The same of a backup."""
        return _marks(copy["marks"])

    def was_committed(self, shard: int, entry: str) -> bool:
        """Whether an entry was ever stored or set aside, for all that anybody could know."""
        return (shard, entry) in self._ever or (shard, entry) in self._entries()

    def _entries(self) -> set[tuple[int, str]]:
        stored = {(vote.shard, vote.entry) for vote in self.votes()}
        return stored | {(shard, entry) for _, shard, entry in self.committed("quarantine")}

    def committed(self, name: str) -> Table:
        """A table as everybody sees it."""
        tables = self.model.tables
        if tables.journal:
            with tables.committed():
                return dict(tables[name])
        return tables[name]


def _marks(table: Table) -> dict[tuple[int, str], Id]:
    return {(shard, side): read_id(entry.encode()) for (_, shard, side), (entry, _) in table.items()}


async def connect(world: World, loop: Loop) -> Connection:
    """What `runtime.postgres.connect` gives."""
    hops = Hops(world, loop)
    await hops.pause("send")
    hops.connection = world.database.model.connect(hops.pause)
    loop.connections[hops] = None
    await hops.pause("answer")
    return hops.connection


class Hops:
    """The way of one connection's statements."""

    def __init__(self, world: World, loop: Loop) -> None:
        self.world = world
        self.loop = loop
        self.connection: Connection | None = None
        self._hop = ""

    async def pause(self, hop: str) -> None:
        """Wait as long as this hop takes; OSError cuts the connection."""
        self._hop = hop
        if hop == "locked":
            await asyncio.sleep(LOCK_S)
            return
        kernel, network = self.world.kernel, self.world.network
        weather, there = network.weather, hop.endswith("send")
        network.watch(self.loop.name if there else NAME)
        lose = weather.lose_request if there else weather.lose_answer
        if lose and kernel.random.random() < lose:
            kernel.tell(self.loop.name, "lost" if there else "did not hear", "a statement")
            raise ConnectionResetError(NAME)
        await asyncio.sleep(network.delay_s())
        while held_s := network.held_s(self.loop.name, NAME):  # noqa: ASYNC110  # simulated time
            await asyncio.sleep(held_s - kernel.now_s)
        self._hop = ""

    def close(self) -> None:
        """The process at this end is dead; a commit that was on its way may still arrive."""
        self.loop.connections.pop(self, None)
        connection = self.connection
        if connection is None or connection.is_closed():
            return
        if self._hop == "commit send" and self.world.kernel.random.random() < LATE_COMMIT:
            self.world.database.model.finish(connection, commit=True)
        connection.terminate()
