"""What goes wrong in a seed when its plan says so; and the end of it, from which all must come right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.queue_server import QueueServer, Replication

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.edges import Edge
    from tests.simulation.plan import Fault, Kind
    from tests.simulation.storers import Storer
    from tests.simulation.world import World

COUNT_WAIT_S: Final = 1.0
"""A fault that waits for a message happens by then all the same."""

STEP_US: Final = 5_000_000
"""Clocks are set forward or back by so much at most."""

CALM_S: Final = 0.2
"""So long after the end of the last fault the weather is good and everything runs."""

OLDER_S: Final = 1.5
"""For so long somebody leaves an older copy in place of the queue's data."""


HELD_S: Final = 0.5
"""For so long, and a little, a worker's batch may be on its way while the queue is recovered."""

LATER_S: Final = 0.5
"""A backup of the database is as old at least when it is restored: what a dead worker had is stored then."""

AFTER_S: Final = 0.4
"""So long at most after a worker's death a backup is made: what it had is not stored, what came later is."""

LAX_S: Final = 0.5
"""For so long, and more, a queue runs without its fsync."""

LONGER_S: Final[dict[Kind, float]] = {
    "older_queue": OLDER_S + 0.3,
    "older_database": AFTER_S + LATER_S,
    "lax_queue": LAX_S,
}
"""By how much a fault takes longer than it says."""


class Faults:
    """Carries out the faults of a plan."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel = world.kernel
        self.ended = False
        self._to_come = len(world.plan.faults)
        self._over_s = 0.0
        self._waiting: dict[str, list[tuple[int, Callable[[], None]]]] = {}
        world.network.watch = self._sent

    def begin(self) -> float:
        """Plan everything; the time by which the last fault is over."""
        calm_s = 0.0
        for fault in self.world.plan.faults:
            self.kernel.at(fault.at_s, self._arm, fault)
            wait_s = COUNT_WAIT_S if fault.count else 0.0
            calm_s = max(calm_s, fault.at_s + wait_s + _lasts_s(fault))
        if not self._to_come:
            self.kernel.after(CALM_S, self._end)
        return calm_s + CALM_S

    def _begun(self, fault: Fault) -> None:
        """A fault happens; once all have, it is known when the last is over."""
        self._to_come -= 1
        self._over_s = max(self._over_s, self.kernel.now_s + _lasts_s(fault))
        if not self._to_come:
            self.kernel.at(self._over_s + CALM_S, self._end)

    def _end(self) -> None:
        """Good weather and every process running, from now on."""
        world = self.world
        world.network.weather.clear()
        if world.replication is not None:
            world.replication.held_until_s = 0.0
        self.ended = True
        for process in world.processes:
            process.start()
        self.kernel.tell("-", "all faults are over")
        world.calm()

    def _arm(self, fault: Fault) -> None:
        """Let it happen now, or after so many more messages of whom it is about."""
        happen: Callable[[], None] = {
            "edge": lambda: self._kill(fault, self.world.edges),
            "worker": lambda: self._kill(fault, self.world.storers),
            "queue": lambda: self._kill_queue(fault),
            "database": lambda: self._kill_database(fault),
            "network": lambda: self._bad_network(fault),
            "partition": lambda: self._partition(fault),
            "clock": lambda: self._set_clock(fault),
            "older_queue": lambda: self._older_queue(fault),
            "older_database": lambda: self._older_database(fault),
            "lax_queue": lambda: self._lax_queue(fault),
            "failover": lambda: self._fail_over(fault),
            "replica_held": lambda: self._hold_replica(fault),
        }[fault.kind]
        if not fault.count:
            self._begun(fault)
            happen()
            return
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done = True
                self._begun(fault)
                happen()

        who = self._name(fault)
        self._waiting.setdefault(who, []).append((fault.count, once))
        self.kernel.after(COUNT_WAIT_S, once)

    def _name(self, fault: Fault) -> str:
        """Whose messages are counted."""
        world = self.world
        if fault.kind == "edge":
            return world.edges[fault.number % len(world.edges)].name
        if fault.kind == "worker":
            return world.storers[fault.number % len(world.storers)].name
        return world.database.name if fault.kind == "database" else world.primary.name

    def _sent(self, name: str) -> None:
        waiting = self._waiting.get(name)
        if not waiting:
            return
        left = []
        for count, happen in waiting:
            if count > 1:
                left.append((count - 1, happen))
            else:
                # Just before or after the message arrives, and never inside whoever sends it.
                self.kernel.after(self.kernel.random.random() * 0.000_5, happen)
        self._waiting[name] = left

    def _kill(self, fault: Fault, processes: list[Edge] | list[Storer]) -> None:
        process = processes[fault.number % len(processes)]
        process.kill()
        self.kernel.after(fault.for_s, process.start)

    def _kill_queue(self, fault: Fault) -> None:
        server = self.world.primary
        if not server.model.up:
            return
        self._crash(server)
        self.kernel.after(fault.for_s, self._start_queue, server)

    def _crash(self, server: QueueServer) -> None:
        """Of what was not synced, any part from the beginning may be on disk."""
        model, random = server.model, self.kernel.random
        server.kill(keep=random.randint(model.durable, model.position))

    def _start_queue(self, server: QueueServer) -> None:
        if not server.model.up and server is self.world.primary:
            server.start()
            if self.world.replica is not None and self.world.replication is not None:
                self._follow(server, self.world.replica)

    def _kill_database(self, fault: Fault) -> None:
        if self.world.database.up:
            self.world.database.kill()
            self.kernel.after(fault.for_s, self.world.database.start)

    def _bad_network(self, fault: Fault) -> None:
        weather = self.world.network.weather
        self.kernel.tell("-", "bad network", f"{fault.share:.3f} for {fault.for_s:.3f} s")
        which = fault.number % 4
        if which == 0:
            weather.slow = 1 + 300 * fault.share
        elif which == 1:
            weather.lose_request = 0.3 * fault.share
        elif which == 2:
            weather.lose_answer = 0.3 * fault.share
        else:
            weather.lose_request = weather.lose_answer = 0.1 * fault.share
            weather.slow = weather.slow_disk = 1 + 50 * fault.share
        self.kernel.after(fault.for_s, weather.clear)

    def _partition(self, fault: Fault) -> None:
        world = self.world
        ends = [each.name for each in world.processes]
        one = ends[fault.number % len(ends)]
        other = "voterdb" if one.startswith("worker") and fault.share < 0.5 else "queue"
        self.kernel.tell("-", "nothing between", one, "and", other, f"for {fault.for_s:.3f} s")
        world.network.weather.held_until_s[one, other] = self.kernel.now_s + fault.for_s

    def _set_clock(self, fault: Fault) -> None:
        server = self.world.primary
        server.ahead_us += round((fault.share * 2 - 1) * STEP_US)
        self.kernel.tell(server.name, "its clock is off by", server.ahead_us)

    def _older_queue(self, fault: Fault) -> None:
        """A copy of the queue is made now; later somebody puts it in place of the data, and regrets it."""
        server = self.world.primary
        older = server.model.copy(durable=True)
        self.kernel.tell(server.name, "a copy is made at", older.position)

        def recover() -> None:
            """And somebody runs `ballot recover` on it, while a worker may still have what it lacks."""
            if server.model.up:
                self._crash(server)
            server.model.restore(older)
            self.world.witness.recovering()
            server.start()
            self.world.operator.recover()

        def replace() -> None:
            if server.model.up:
                self._crash(server)
            newest = server.model.copy()
            server.model.restore(older)
            missed = self.world.witness.replaced()
            server.start()
            if missed:
                self.kernel.tell(server.name, "an older copy lacks what is known:", *missed)
                self.kernel.after(OLDER_S, put_back, newest)
            else:
                self.kernel.after(OLDER_S, look_again, newest)

        def look_again(newest: object) -> None:
            if missed := self.world.witness.stored_since():
                self.kernel.tell(server.name, "an older copy lacks what was known since:", *missed)
                put_back(newest)

        def put_back(newest: object) -> None:
            server.kill()
            server.model.restore(newest)  # type: ignore[arg-type]  # as it was taken above
            self.world.witness.put_back()
            server.start()

        wait_s = fault.for_s * (0.2 + fault.share)
        self.kernel.after(wait_s, recover if fault.number % 2 else replace)
        if fault.number % 4 == 1:
            worker = self.world.storers[fault.number // 4 % len(self.world.storers)].name
            until_s = self.kernel.now_s + wait_s + HELD_S * (0.2 + fault.share)
            self.world.network.weather.held_until_s[worker, self.world.database.name] = until_s

    def _older_database(self, fault: Fault) -> None:
        """A backup of the database is made now, or when a worker has just died, and later restored."""
        if fault.number % 2:
            self._kill(fault, self.world.storers)
            self.kernel.after(AFTER_S * (0.5 + fault.share / 2), self._copy_database, fault)
        else:
            self._copy_database(fault)

    def _copy_database(self, fault: Fault) -> None:
        database = self.world.database
        older = database.copy()
        self.kernel.tell(database.name, "a copy is made")
        self.world.trimmer.cover(database.copied_marks(older))

        def replace() -> None:
            database.kill()
            database.restore(older)
            self.kernel.after(0.1 * fault.share, database.start)

        self.kernel.after(LATER_S + fault.for_s, replace)

    def _lax_queue(self, fault: Fault) -> None:
        """The queue runs with a setting under which it loses what it has answered for, and then does."""
        server = self.world.primary
        self._crash(server)
        server.model.settings["appendfsync"] = "everysec"
        server.start()

        def put_right() -> None:
            server.kill()
            server.model.settings["appendfsync"] = "always"
            server.start()

        self.kernel.after(LAX_S + fault.for_s, put_right)

    def _fail_over(self, fault: Fault) -> None:
        """The primary dies and its replica takes its place, with what it has."""
        world, old = self.world, self.world.primary
        new = world.replica
        if new is None or world.replication is None or not new.model.up:
            return
        world.replication.end()
        if old.model.up:
            self._crash(old)

        def promote() -> None:
            new.promote()
            world.primary, world.replica = new, old
            world.network.servers["queue"] = new
            self.kernel.after(fault.for_s, rejoin)

        def rejoin() -> None:
            if world.primary is new and world.replica is old:
                if not old.model.up:
                    old.start()
                self._follow(new, old)

        self.kernel.after(0.2 * fault.share, promote)

    def _follow(self, primary: QueueServer, replica: QueueServer) -> None:
        if self.world.replication is not None:
            self.world.replication.end()
        self.world.replication = Replication(self.world, primary, replica)

    def _hold_replica(self, fault: Fault) -> None:
        if self.world.replication is not None:
            self.world.replication.held_until_s = self.kernel.now_s + fault.for_s


def _lasts_s(fault: Fault) -> float:
    """How long it takes from when it happens, at most."""
    return fault.for_s + LONGER_S.get(fault.kind, 0.0) + 0.2
