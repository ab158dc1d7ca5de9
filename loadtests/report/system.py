"""How the deployment did under a run's votes, by the second: queue, storing, memory and CPU by process."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loadtests.report.axis import MICROSECONDS, Axis, Values, keep_last, keep_most
from loadtests.report.reading import RunDirectory, number, whole

FILE: Final = "samples.jsonl"
PROCESSES_MAX: Final = 24
GAP_SECONDS_MAX: Final = 30
"""CPU between two samples further apart than this is told in the sum, and drawn nowhere."""


def last_second(files: RunDirectory) -> tuple[float, float] | None:
    """When the first and the last sample were taken (Unix seconds); None without samples."""
    first = last = None
    for line in files.lines(FILE):
        at = number(line.get("at_us"))
        if at is not None:
            first, last = at if first is None else first, at
    return None if first is None or last is None else (first / MICROSECONDS, last / MICROSECONDS)


@dataclass(slots=True)
class Growth:
    """A counter that may begin again at 0 when its process does: what it has grown by in all."""

    total: float = 0.0
    last: float | None = None

    def take(self, value: float | None) -> float | None:
        """The next reading; what it grew by since the one before."""
        if value is None:
            return None
        grown = 0.0
        if self.last is not None:
            grown = value - self.last if value >= self.last else value
        self.last = value
        self.total += grown
        return grown


@dataclass(slots=True)
class Part:
    """One kind of process: CPU and memory by step, and over the whole of the axis."""

    cores: Values
    bytes_held: Values
    spent: Growth = field(default_factory=Growth)
    seen_s: float | None = None
    cores_most: float = 0.0
    bytes_most: float = 0.0

    def take(self, step: int, at_s: float, cpu_s: float | None, rss_bytes: float | None) -> None:
        """One sample of it."""
        keep_most(self.bytes_held, step, rss_bytes)
        self.bytes_most = max(self.bytes_most, rss_bytes or 0.0)
        if cpu_s is None:
            return
        # CPU only ever grows; less of it means that a process ended before it could be read once more.
        grown = self.spent.take(cpu_s if self.spent.last is None else max(cpu_s, self.spent.last))
        if self.seen_s is not None and grown is not None and 0 < at_s - self.seen_s <= GAP_SECONDS_MAX:
            used = round(grown / (at_s - self.seen_s), 4)
            keep_most(self.cores, step, used)
            self.cores_most = max(self.cores_most, used)
        self.seen_s = at_s


@dataclass(slots=True)
class System:
    """What the samples within the axis tell."""

    axis: Axis
    depth: Values
    oldest_s: Values
    lag_s: Values
    probe: Values
    parts: dict[str, Part] = field(default_factory=dict)
    accepted: Growth = field(default_factory=Growth)
    quarantined: float | None = None
    samples: int = 0

    def take(self, line: Mapping[str, Any]) -> None:
        """One sample."""
        step = self.axis.step_us(line.get("at_us"))
        if step is None:
            return
        self.samples += 1
        keep_most(self.depth, step, number(line.get("queue_depth")))
        keep_most(self.oldest_s, step, number(line.get("queue_oldest_s")))
        keep_most(self.lag_s, step, number(line.get("store_lag_p99_s")))
        self.accepted.take(number(line.get("accepted")))
        probe = line.get("probe_up")
        keep_last(self.probe, step, None if probe is None else float(bool(probe)))
        found = number(line.get("quarantined"))
        self.quarantined = self.quarantined if found is None else found
        self._take_processes(step, float(line["at_us"]) / MICROSECONDS, line.get("processes"))

    def _take_processes(self, step: int, at_s: float, rows: Any) -> None:
        used: dict[str, list[float | None]] = defaultdict(lambda: [None, None])
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                continue
            for place, key in enumerate(("cpu_s", "rss_bytes")):
                value = number(row.get(key))
                if value is not None:
                    used[row["name"]][place] = (used[row["name"]][place] or 0.0) + value
        for name, (cpu_s, rss_bytes) in used.items():
            if name not in self.parts and len(self.parts) >= PROCESSES_MAX:
                continue
            part = self.parts.setdefault(name, Part(self.axis.empty(), self.axis.empty()))
            part.take(step, at_s, cpu_s, rss_bytes)

    def processes(self, *, votes: int) -> list[dict[str, Any]]:
        """One row a kind of process, what used most CPU first; per vote only where votes were counted."""
        rows = [
            {
                "name": name,
                "cpu_s": round(part.spent.total, 2),
                "cpu_us_per_vote": round(part.spent.total * MICROSECONDS / votes, 1) if votes else None,
                "cores_most": round(part.cores_most, 3),
                "rss_bytes_most": whole(part.bytes_most),
            }
            for name, part in self.parts.items()
        ]
        return sorted(rows, key=lambda row: (-float(str(row["cpu_s"])), str(row["name"])))


def system(files: RunDirectory, axis: Axis) -> System:
    """The samples, on the axis."""
    read = System(axis, axis.empty(), axis.empty(), axis.empty(), axis.empty())
    for line in files.lines(FILE):
        read.take(line)
    return read
