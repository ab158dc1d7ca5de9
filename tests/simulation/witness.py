"""Sees every command of a queue server, and says when a promise is broken that no end state would show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ballot import gate_layout, handoff
from tests.simulation.material import BALLOT
from tests.simulation.streams import ZERO

if TYPE_CHECKING:
    from tests.simulation.queue_server import QueueServer
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Accepted:
    """One acceptance as the gate answered it."""

    at_s: float
    server: str
    shard: int
    reference: str
    accepted_us: int
    number: int


class Witness:
    """What was accepted and acknowledged, and what was wrong with it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.problems: list[str] = []
        self.accepted: list[Accepted] = []
        self.declared: set[str] = set()
        """References that an older copy of the queue, put in place by somebody, lacks."""

        self.closed_s: dict[int, float] = {}
        """When somebody was first answered that a shard is closed."""

        self.lost: set[str] | None = None
        """Those that a recovery has named as lost, once there was one."""

        self.older_s = -1.0
        """When somebody last put an older copy of the queue in place, and it was used."""

        self._must_stay_closed: list[str] = []
        self._missing: set[str] = set()
        self._accepted_before = 0

    def saw(self, server: QueueServer, command: list[bytes], reply: Any) -> None:
        """A command was done."""
        name = command[0].upper()
        if name == b"FCALL":
            if command[1] == b"ballot_cast" and type(reply) is list:
                self._cast(server, command, reply)
        elif name == b"XACK":
            self._acknowledged(command)

    def marked(self) -> set[str]:
        """The references of all voters that the gate has marked."""
        found = set()
        for shard in range(self.world.plan.shards):
            voted: Any = self.world.primary.model.data.get(handoff.voted_key(BALLOT, shard).encode(), {})
            found |= {gate_layout.Mark.from_value(value).reference for value in voted.values()}
        return found

    def replaced(self) -> list[str]:
        """An older copy is in place of the queue's data: what it lacks and the voter database knows of."""
        before = {each.reference for each in self.accepted}
        self.world.primary.model.restart("0" * 40)
        missing = before - self.marked()
        self._missing, self._accepted_before = missing, len(self.accepted)
        self._must_stay_closed = sorted(missing & self._known())
        if not self._must_stay_closed:
            self.declared |= missing
            self.older_s = self.world.kernel.now_s
            self.closed_s.clear()
        return self._must_stay_closed

    def _known(self) -> set[str]:
        """What is stored, and all of a shard where storing or turnout had come beyond its stream's end."""
        ends = {
            shard: stream.last if (stream := self.world.stream(shard)) else ZERO
            for shard in range(self.world.plan.shards)
        }
        behind = {shard for (shard, _), mark in self.world.database.marks().items() if mark > ends[shard]}
        of_those = {each.reference for each in self.accepted if each.shard in behind}
        return of_those | {vote.reference for vote in self.world.database.votes()}

    def recovering(self) -> None:
        """An older copy is in place of the queue's data, and is recovered before anybody may use it."""
        self.world.primary.model.restart("0" * 40)
        self._must_stay_closed = ["what is being recovered"]

    def recovered(self) -> list[str]:
        """The gate is as it can be: what it lacks and is not stored, which nobody may store any more."""
        known = self.marked() | {vote.reference for vote in self.world.database.votes()}
        self.lost = {each.reference for each in self.accepted} - known
        self.declared |= self.lost
        self.older_s = self.world.kernel.now_s
        self._must_stay_closed = []
        return sorted(self.lost)

    def stored_since(self) -> list[str]:
        """What it lacks and a worker still had, stored or counted since: it must have stayed closed.

        Where it took votes in between, only `ballot recover` helps, which nobody plays here.
        """
        late = self._missing & self._known()
        if not late or len(self.accepted) > self._accepted_before:
            return []
        self.declared -= self._missing
        self._must_stay_closed = sorted(late)
        return self._must_stay_closed

    def put_back(self) -> None:
        """The newest data is back."""
        self._must_stay_closed = []

    def told_closed(self, shard: int) -> None:
        """A voter was answered that the ballot is closed."""
        self.closed_s.setdefault(shard, self.world.kernel.now_s)

    def _cast(self, server: QueueServer, command: list[bytes], reply: list[Any]) -> None:
        kernel, model = self.world.kernel, server.model
        shard = next(
            shard
            for shard in range(self.world.plan.shards)
            if command[3] == handoff.gate_key(BALLOT, shard).encode()
        )
        for row in reply[3:]:
            if row[0] != b"accepted":
                kernel.tell(server.name, "decides", shard, row[0].decode(), row[1].decode())
                continue
            number = int(row[4]) if len(row) > 4 else 0
            each = Accepted(kernel.now_s, server.name, shard, row[1].decode(), int(row[2]), number)
            self.accepted.append(each)
            kernel.tell(server.name, "accepts", shard, each.reference, each.accepted_us, number)
            trusted: Any = model.data.get(handoff.TRUST_KEY.encode(), {})
            run = handoff.run_name(model.run_id, model.replication_id)
            if run.encode() not in trusted:
                self.problems.append(f"{each.reference} was accepted by a queue that no worker vouched for")
            if self._must_stay_closed:
                self.problems.append(
                    f"{each.reference} was accepted by a queue that lacks {self._must_stay_closed[0]}, stored"
                )
            if shard in self.closed_s:
                self.problems.append(
                    f"{each.reference} was accepted in shard {shard} after a voter was told it is closed"
                )

    def _acknowledged(self, command: list[bytes]) -> None:
        shards = {handoff.votes_key(BALLOT, s).encode(): s for s in range(self.world.plan.shards)}
        shard = shards.get(command[1])
        if shard is None:
            return
        for entry in command[3:]:
            self.world.kernel.tell("worker", "acknowledges", shard, entry.decode())
            if not self.world.database.was_committed(shard, entry.decode()):
                self.problems.append(
                    f"entry {entry.decode()} of shard {shard} was acknowledged before it was committed"
                )
