"""Doing one fault, and waiting until the part is back: a deed is a method of its name.

Each returns the instant from which votes must be accepted again: the death of a part that others stand in
for, else the moment at which it was there again.
"""

import resource
import signal
import time
from collections.abc import Callable

from loadtests.faults import hands, servers, spoil
from loadtests.faults.clock import SteppedClock
from loadtests.faults.draw import Fault
from loadtests.faults.ground import EDGE_PROCESSES, Ground
from loadtests.faults.kinds import DATABASE_CHILD, EDGE, EDGE_CHILD, VALKEY, VOTERDB
from loadtests.staging.stage import StageFault

BACK_SECONDS_MAX = 60.0
DEATH_SECONDS_MAX = 15.0
LOOK_SECONDS = 0.01
ALONE = frozenset({EDGE, VALKEY})
"""Without these no vote is accepted, so that time is measured from their return."""

MANY, FEW = 0.66, 0.34
SLOW_SECONDS = (0.05, 0.45)
DATABASE_FILE_BYTES = 8_192
JUNK_BYTES = 900
STEP_SECONDS = 20.0


def now_us() -> int:
    """This instant, on the clock that the voters' files use."""
    return time.time_ns() // 1000


def until(holds: Callable[[], bool], *, seconds: float, what: str) -> int:
    """Return the instant at which `holds()`; looks a hundred times a second."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StageFault(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(LOOK_SECONDS)
    return now_us()


class Deeds:
    """Everything that can be done to `ground`; junk goes to the ballot `beside`."""

    def __init__(self, ground: Ground, *, beside: str, clock: SteppedClock | None) -> None:
        self._ground = ground
        self._beside = beside
        self._clock = clock
        self.junk_entries = 0
        self.away_seconds: float | None = None

    def do(self, fault: Fault) -> int:
        """Do it, undo it, and return the instant from which votes must be accepted again."""
        deed: Callable[[Fault], int] = getattr(self, fault.kind.deed)
        return deed(fault)

    def kill(self, fault: Fault) -> int:
        """SIGKILL of all parts at once."""
        victims = {part: self._one(part, fault) for part in fault.kind.parts}
        orphans = [pid for part in ALONE & victims.keys() for pid in self._ground.family(part)]
        died = now_us()
        hands.send([*victims.values()], signal.SIGKILL)
        back = self._back(victims, died)
        # What a killed edge leaves behind answers what it has begun; that is no return.
        gone = self._gone(orphans, "the children of what was killed")
        return max(back, gone) if orphans else back

    def restart(self, fault: Fault) -> int:
        """Asked to end as an operator would ask; the supervisor starts it again."""
        (part,) = fault.kind.parts
        victim = self._one(part, fault)
        asked = now_us()
        hands.send([victim], signal.SIGINT if part == VOTERDB else signal.SIGTERM)
        return self._back({part: victim}, asked)

    def replace(self, _fault: Fault) -> int:
        """New edge processes, one after the other."""
        before = set(self._ground.pids(EDGE_CHILD))
        asked = now_us()
        hands.send(self._ground.pids(EDGE), signal.SIGHUP)
        until(
            lambda: (
                (now := set(self._ground.pids(EDGE_CHILD))) != set()
                and not now & before
                and len(now) == len(before)
            ),
            seconds=BACK_SECONDS_MAX,
            what="other edge processes",
        )
        return asked

    def freeze(self, fault: Fault) -> int:
        """SIGSTOP, and SIGCONT later; of a cluster all its processes."""
        (part,) = fault.kind.parts
        frozen = self._ground.family(part) if part == VOTERDB else [self._one(part, fault)]
        self._ground.freezer.freeze(frozen)
        time.sleep(fault.lasts_s)
        self._ground.freezer.thaw()
        return now_us()

    def reset(self, fault: Fault) -> int:
        """A third, two thirds or all of the connections."""
        (link,) = fault.kind.parts
        share = 1.0 if fault.share > MANY else MANY if fault.share > FEW else FEW
        asked = now_us()
        self._ground.relays.reset(link, share=share, choice=fault.choice)
        return asked

    def slow(self, fault: Fault) -> int:
        """Latency, both ways."""
        (link,) = fault.kind.parts
        least, most = SLOW_SECONDS
        self._ground.relays.slow(link, least + fault.share * (most - least))
        return self._calm_after(fault)

    def hold(self, fault: Fault) -> int:
        """Nothing passes for a while."""
        (link,) = fault.kind.parts
        self._ground.relays.hold(link)
        return self._calm_after(fault)

    def swallow(self, fault: Fault) -> int:
        """Answers are lost, half the times what is asked as well."""
        (link,) = fault.kind.parts
        self._ground.relays.swallow(link, both=fault.share < 0.5)  # noqa: PLR2004  # half the times
        return self._calm_after(fault)

    def _calm_after(self, fault: Fault) -> int:
        time.sleep(fault.lasts_s)
        self._ground.relays.calm()
        return now_us()

    def limit(self, fault: Fault) -> int:
        """No file may grow: every write fails, as on a disk that is full or broken."""
        (part,) = fault.kind.parts
        family = self._ground.family(part)
        most = spoil.append_only(self._ground.data).stat().st_size if part == VALKEY else DATABASE_FILE_BYTES
        spoil.limit_files(family, most)
        if part == VALKEY:  # it ends itself rather than confirm what is not on disk
            self._gone(family, "the queue, which cannot write,")
            return self._back({part: family[0]}, now_us())
        time.sleep(fault.lasts_s)
        spoil.limit_files([*family, *self._ground.family(part)], resource.RLIM_INFINITY)
        self._serves(part)
        return now_us()

    def full(self, fault: Fault) -> int:
        """No room for another byte, for queue and clusters alike."""
        with spoil.full(self._ground.data):
            time.sleep(fault.lasts_s)
        self._serves(VOTERDB)
        return self._serves(VALKEY)

    def torn(self, _fault: Fault) -> int:
        """The queue is killed in the middle of writing a command that nobody was told of."""
        ground = self._ground
        (victim,) = ground.pids(VALKEY)
        ground.freezer.freeze([ground.servers_pid])  # so that it is not started before the tail is torn
        hands.send([victim], signal.SIGKILL)
        self._gone([victim], "the queue")
        spoil.tear(spoil.append_only(ground.data))
        ground.freezer.thaw()
        return self._back({VALKEY: victim}, now_us())

    def away(self, fault: Fault) -> int:
        """The voter database is stopped, and nobody starts it for a while."""
        ground = self._ground
        (victim,) = ground.pids(VOTERDB)
        family = ground.family(VOTERDB)
        ground.freezer.freeze([ground.servers_pid])
        hands.send([victim], signal.SIGINT)
        until(
            lambda: not any(map(hands.alive, family)),
            seconds=DEATH_SECONDS_MAX,
            what="the cluster to be gone",
        )
        stopped = now_us()
        time.sleep(fault.lasts_s if self.away_seconds is None else self.away_seconds)
        ground.freezer.thaw()
        self._back({VOTERDB: victim}, stopped)
        return stopped

    def junk(self, fault: Fault) -> int:
        """An entry that nobody can read."""
        asked = now_us()
        junk = (f"{fault.choice:.17f}".encode() * JUNK_BYTES)[:JUNK_BYTES]
        password = self._ground.servers_home / "secrets" / "valkey-admin.password"
        _, port = self._ground.address(VALKEY)
        told = servers.add_junk(port, password_file=password, ballot=self._beside, junk=junk)
        if told.startswith("not added"):
            raise StageFault(f"The junk entry was {told}.")
        self.junk_entries += 1
        return asked

    def step(self, fault: Fault) -> int:
        """The clock of everything that runs here jumps, forwards or back; the voters' does not."""
        if self._clock is None:
            raise StageFault("There is no clock to step: libfaketime is not installed.")
        self._clock.set((2 * fault.share - 1) * STEP_SECONDS)
        return now_us()

    def _one(self, part: str, fault: Fault) -> int:
        """A process of the part, drawn when there are several; waits until there is one."""
        until(lambda: bool(self._ground.pids(part)), seconds=BACK_SECONDS_MAX, what=f"a {part} to break")
        found = self._ground.pids(part)
        return found[int(fault.choice * len(found))]

    def _back(self, victims: dict[str, int], since: int) -> int:
        """Wait until others do the work of the victims; from when on votes must be accepted."""
        back = since
        for part, victim in victims.items():
            if part not in {VALKEY, VOTERDB, DATABASE_CHILD}:
                self._another(part, victim)
            else:
                self._gone([victim], part)
            there = self._serves(part)
            if part in ALONE:
                back = max(back, there)
        return back

    def _another(self, part: str, victim: int) -> int:
        """Wait until somebody else is in the victim's place."""
        wanted = EDGE_PROCESSES if part == EDGE_CHILD else 1
        return until(
            lambda: victim not in (now := self._ground.pids(part)) and len(now) >= wanted,
            seconds=BACK_SECONDS_MAX,
            what=f"another {part}",
        )

    def _gone(self, pids: list[int], what: str) -> int:
        return until(
            lambda: not any(map(hands.alive, pids)), seconds=DEATH_SECONDS_MAX, what=f"{what} to be gone"
        )

    def _serves(self, part: str) -> int:
        return until(
            lambda: self._ground.serves(part), seconds=BACK_SECONDS_MAX, what=f"{part} to answer again"
        )
