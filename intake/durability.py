"""What must hold of a primary before a vote is sent to it, so that what it accepts is not lost.

1. It writes every change to disk before it answers, also while it rewrites its file, and evicts nothing.
2. It is a primary. At level `disk` no replica could take its place; at level `replicated` it has exactly as
   many replicas as are waited for, so that none could take its place without what was accepted.
3. It knows the gate's functions, and has memory for what they write.
4. A worker has compared it with the voter database since it started, or since it was last a replica: it holds
   all that we ever answered for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ballot import handoff
from intake.gate import CAST, Unready
from intake.wire import Command

DURABLE: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
"""What the queue must be set to before a single vote is taken, setting by setting."""

REPLICATION: Final[Command] = ("INFO", "replication")
QUESTIONS: Final[tuple[Command, ...]] = (
    ("CONFIG", "GET", *DURABLE),
    ("INFO", "server"),
    REPLICATION,
    ("INFO", "persistence"),
    ("INFO", "memory"),
    ("FUNCTION", "LIST", "LIBRARYNAME", handoff.GATE_LIBRARY),
)
"""What a primary is asked, for `Facts.of`."""

OUT_OF_MEMORY: Final = "out_of_memory"
OUT_OF_MEMORY_TEXT: Final = "The queue's maxmemory is reached: set it higher, then look what fills it."

WAIT_MIN_MS: Final = 10
"""Replicas have at least so long, even for a vote whose own time is over: a wait of 0 would be forever."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a primary says about itself."""

    settings: dict[str, str]
    server: dict[str, str]
    replication: dict[str, str]
    persistence: dict[str, str]
    memory: dict[str, str]
    functions: list[object]

    @classmethod
    def of(cls, answers: Sequence[Any]) -> "Facts":
        """What the answers to QUESTIONS say; Unready when one is an error."""
        for answer in answers:
            if isinstance(answer, Exception):
                raise Unready("unreachable", f"The queue did not answer a check: {type(answer).__name__}.")
        settings, server, replication, persistence, memory, libraries = answers
        pairs = zip(settings[::2], settings[1::2], strict=True)
        return cls(
            {name.decode(): value.decode() for name, value in pairs},
            information(server),
            information(replication),
            information(persistence),
            information(memory),
            _flattened(libraries),
        )

    @property
    def run(self) -> str:
        """The name of the server's run: another one after every start, and when it took another's data."""
        return handoff.run_name(self.server.get("run_id", ""), self.replication.get("master_replid", ""))


@dataclass(frozen=True, slots=True)
class Durability:
    """The level of a deployment: on so many replicas' disks besides the primary's own; 0 is level `disk`."""

    replicas: int = 0

    def require(self, facts: Facts, *, known_run: str) -> None:
        """Raise Unready unless 1 to 3 hold now; `known_run` was seen durable before."""
        _require_written(facts, known_run)
        self._require_replicas(facts.replication)
        if CAST.encode() not in facts.functions:
            raise Unready(
                "no_functions", "The queue does not hold the gate's functions: load ops/valkey/gate.lua."
            )
        _require_memory(facts.memory)

    def _require_replicas(self, replication: dict[str, str]) -> None:
        if replication.get("role") != "master":
            raise Unready("replica", "The queue is a replica: votes go to its primary.")
        connected = int(replication.get("connected_slaves", "0"))
        if connected > self.replicas:
            raise Unready("has_replicas", self._too_many(connected))
        states = [value for name, value in replication.items() if _is_replica(name)]
        online = sum("state=online" in value for value in states)
        if online < self.replicas:
            raise Unready(
                "replicas_missing",
                f"The queue has {online} replicas in step, but votes must reach {self.replicas}: connect the "
                "missing ones, or set BALLOT_REPLICAS to how many could take the primary's place.",
            )

    def _too_many(self, connected: int) -> str:
        if self.replicas == 0:
            return (
                "The queue has replicas, but votes wait for its own disk only: one that took its place would "
                "lack some. Disconnect them, or set BALLOT_DURABILITY=replicated and "
                f"BALLOT_REPLICAS={connected}."
            )
        return (
            f"The queue has {connected} replicas, but votes wait for {self.replicas}: one that took its "
            f"place would lack some. Set BALLOT_REPLICAS={connected}, or disconnect the others."
        )

    def waits(self, seconds: float) -> tuple[Command, Command, Command]:
        """The commands that wait until what this connection wrote is on all the disks it must be on.

        First until the replicas have taken it in, then until it is on disk. A replica that reads a vote and
        the question how far its disk is at once answers before its sync, and then says no more for a second;
        but it answers the first wait after that sync, so that the second finds it done. Then who they were:
        any replica counts, and one that came since the last check could stand in for one that is stuck.
        """
        half_ms = max(round(seconds * 500), WAIT_MIN_MS)
        return ("WAIT", self.replicas, half_ms), ("WAITAOF", 1, self.replicas, half_ms), REPLICATION

    def kept(self, answers: Sequence[Any]) -> bool:
        """Whether the answers to `waits` say that all is there; Unready when more could have said so.

        What the second returns may be less than was asked.
        """
        _, acknowledged, replication = answers
        for answer in (acknowledged, replication):
            if isinstance(answer, Exception):
                raise answer
        connected = int(information(replication).get("connected_slaves", "0"))
        if connected > self.replicas:
            raise Unready("has_replicas", self._too_many(connected))
        on_disk, on_replicas = acknowledged
        return bool(on_disk >= 1 and on_replicas >= self.replicas)


def require_trust(run: str, trusted: Collection[str]) -> None:
    """Raise Unready unless a worker vouched for this run of the server."""
    if run not in trusted:
        raise Unready(
            "not_trusted",
            "No worker has compared the queue with the voter database since it started, or was last a "
            "replica: start one. If one runs, its log says why it does not vouch for the queue; one that has "
            "lost votes is mended by `ballot recover`.",
        )


def _require_written(facts: Facts, known_run: str) -> None:
    """The settings are right, and what they ask for is what happens.

    The first rewrite after the file was switched on ends in the file; until then nothing is in it that a
    restart would read. It looks like any other rewrite, so a rewrite is only believed to be another one
    in a run of the queue that was seen durable without.
    """
    wrong = [f"{name} {value}" for name, value in DURABLE.items() if facts.settings.get(name) != value]
    if wrong:
        raise Unready("not_durable", "The queue must be set to: " + ", ".join(wrong) + ".")
    found = facts.persistence
    if found.get("aof_enabled") != "1" or found.get("aof_last_write_status") != "ok":
        raise Unready("not_durable", "The queue's last write to its append-only file failed.")
    under_way = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
    if facts.run != known_run and any(found.get(name) == "1" for name in under_way):
        raise Unready("rewriting", "The queue is still writing its append-only file: wait until it has.")


def _require_memory(memory: dict[str, str]) -> None:
    """Under its bound, counted as the server itself does when it refuses to write."""
    used, uncounted, bound = (
        int(memory.get(name, "0")) for name in ("used_memory", "mem_not_counted_for_evict", "maxmemory")
    )
    if 0 < bound < used - uncounted:
        raise Unready(OUT_OF_MEMORY, OUT_OF_MEMORY_TEXT)


def information(answer: bytes) -> dict[str, str]:
    """The fields of an INFO answer."""
    pairs = (line.partition(":") for line in answer.decode().splitlines())
    return {name: value.strip() for name, separator, value in pairs if separator}


def _is_replica(field: str) -> bool:
    return field.startswith("slave") and field.removeprefix("slave").isdecimal()


def _flattened(value: object) -> list[object]:
    if isinstance(value, list):
        return [inner for item in value for inner in _flattened(item)]
    return [value]
