"""One seed: processes, servers, voters and faults of a plan, run until all is stored or time is up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ballot import handoff
from ballot.receipt import shard_of_digest
from tests.simulation import desk, patches
from tests.simulation.database import Database
from tests.simulation.edges import Edge
from tests.simulation.faults import Faults
from tests.simulation.final_check import problems
from tests.simulation.kernel import START_US, Kernel
from tests.simulation.material import BALLOT, Roll, material
from tests.simulation.network import Network
from tests.simulation.queue_server import QueueServer, Replication
from tests.simulation.recovering import Operator
from tests.simulation.storers import Storer
from tests.simulation.trimming import Trimmer
from tests.simulation.voters import Device, Told
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    from tests.simulation.plan import Plan
    from tests.simulation.streams import Stream

EARLY_S: Final = 0.2
"""The desk begins to wait for a ballot's end so long before it, unless something goes wrong still."""

PEACE_S: Final = 60.0
"""After the last fault everything must be taken, stored and closed within so long."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A voter of this seed's ballot."""

    roll: Roll
    shard: int


@dataclass(slots=True)
class Verdict:
    """What came of a seed."""

    plan: Plan
    problems: list[str]
    digest: str
    simulated_s: float
    steps: int
    receipts: int
    lines: list[str] = field(repr=False)


class World:
    """Everything of one seed; processes find each other here."""

    def __init__(
        self,
        plan: Plan,
        *,
        gate_source: bytes | None = None,
        keep: bool = False,
        peace_s: float = PEACE_S,
    ) -> None:
        self.plan = plan
        self.peace_s = peace_s
        self.gate_source = gate_source
        self.kernel = Kernel(plan.seed, keep=keep)
        self.network = Network(self.kernel)
        rolls = material().voters[: plan.voters]
        self.voters = [Voter(roll, shard_of_digest(roll.digest, plan.shards)) for roll in rolls]
        self.told: list[Told] = []
        self.witness = Witness(self)
        self.primary = QueueServer(self, "valkey-a", self.witness.saw)
        self.replica: QueueServer | None = None
        self.replication: Replication | None = None
        self.network.servers["queue"] = self.primary
        self.database = Database(self)
        self.edges = [Edge(self, f"edge-{number}") for number in range(plan.edges)]
        self.storers = [Storer(self, f"worker-{number}") for number in range(plan.workers)]
        self.processes: list[Edge | Storer] = [*self.edges, *self.storers]
        self.devices = [
            Device(self, each.voter, each.paper, asks_first=each.asks_first) for each in plan.castings
        ]
        self.desk = desk.Desk(self)
        self.operator = Operator(self)
        self.trimmer = Trimmer(self)
        self.faults = Faults(self)

    def stream(self, shard: int) -> Stream | None:
        """The votes stream of a shard, to look at."""
        return self.primary.model.data.get(handoff.votes_key(BALLOT, shard).encode())  # type: ignore[return-value]  # the gate makes nothing else of that name

    def run(self) -> Verdict:
        """Run it, then check everything."""
        kernel, plan = self.kernel, self.plan
        patches.enter(self)
        desk.set_up(self)
        self.database.set_up()
        if plan.replicas:
            self.replica = QueueServer(self, "valkey-b", self.witness.saw)
            self.replication = Replication(self, self.primary, self.replica)
        for process in self.processes:
            kernel.after(kernel.random.random() * 0.05, process.start)
        for device, casting in zip(self.devices, plan.castings, strict=True):
            kernel.at(casting.at_s, device.go)
        calm_s = self.faults.begin()
        if plan.trims:
            self.trimmer.begin()
        if plan.close_at_s is not None:
            kernel.at(plan.close_at_s, self.desk.close)
        done = kernel.run(self._over, limit_s=calm_s + self.peace_s)
        found = [*kernel.bugs, *self.witness.problems]
        if not done:
            found.append(f"not over {self.peace_s:.0f} s after the last fault: {self.unfinished()}")
        found += problems(self)
        verdict = Verdict(
            plan,
            found,
            kernel.history.digest,
            kernel.now_s,
            kernel.steps,
            len(self.told),
            kernel.history.lines,
        )
        self._end()
        return verdict

    def calm(self) -> None:
        """All faults are over. A ballot that closes by itself is now waited for, or when it is about to."""
        if self.plan.close_at_s is None:
            closes_s = (self.plan.closes_us - START_US) / 1_000_000
            self.kernel.at(max(self.kernel.now_s, closes_s - EARLY_S), self.desk.close)

    def _over(self) -> bool:
        return self.faults.ended and not self.unfinished()

    def unfinished(self) -> str:
        """What is still to be done; nothing when all is over."""
        if self.operator.busy:
            return "the queue is being recovered"
        waiting = [device.name for device in self.devices if not device.finished]
        if waiting:
            return f"no answer for {', '.join(waiting)}"
        if not self.desk.done:
            return "the ballot is not closed and stored"
        unready = [edge.name for edge in self.edges if not edge.ready]
        if unready:
            return f"{', '.join(unready)} take no votes"
        return self._unstored()

    def _unstored(self) -> str:
        marks = self.database.marks()
        for shard in range(self.plan.shards):
            stream = self.stream(shard)
            if stream is None:
                continue
            group = stream.groups.get(handoff.GROUP.encode())
            if stream.added and (group is None or group.pending or group.last < stream.last):
                return f"shard {shard} is not stored"
            if stream.added and marks.get((shard, "turnout")) != stream.last:
                return f"shard {shard}'s turnout is not counted"
            tries = self.primary.model.data.get(handoff.attempts_key(BALLOT, shard).encode())
            if tries is not None and tries.ids:  # type: ignore[union-attr]  # a stream, as above
                return f"shard {shard}'s attempts are not stored"
        missing = self.witness.marked() - {vote.reference for vote in self.database.votes()}
        return f"{len(missing)} votes are acknowledged and not stored" if missing else ""

    def _end(self) -> None:
        for process in self.processes:
            if process.loop is not None:
                process.loop.kill()
        self.desk.end()
        self.operator.end()
