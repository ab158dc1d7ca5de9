"""A line a second of how the deployment does: queue, storing, outcomes, probe and every process's use."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.conduct import exposition
from loadtests.conduct.exposition import Reading
from loadtests.conduct.kin import Kin
from loadtests.staging.aside import Aside
from loadtests.voting.door import HttpDoor

OK = 200
ANSWER_SECONDS_MAX = 2.0
LOOK_EVERY = 5
"""So many seconds between two searches for processes that are new."""

LINES_MAX = 400_000
"""More than four days; a run that is longer goes on without samples."""

OFFSETS = {"edges": 0, "workers": 1, "monitor": 2}
LAG = "ballot_store_lag_seconds"
Readings = Mapping[str, Reading]


class Sampler(Aside):
    """A thread for as long as the block lasts; it watches this process and all that it started."""

    def __init__(self, metrics_port: int, out: Path) -> None:
        self._ports = {name: metrics_port + offset for name, offset in OFFSETS.items()}
        self._out = out
        self._kin = Kin(os.getpid())
        self._lag: dict[float, float] = {}
        super().__init__("sampler")

    def _work(self) -> None:
        with self._out.open("a", encoding="utf-8", buffering=1) as lines:
            for number in range(LINES_MAX):
                if number % LOOK_EVERY == 0:
                    self._kin.look()
                lines.write(json.dumps(self.sample()) + "\n")
                # On the second, whatever the last sample took.
                if self._stop.wait(1.0 - time.time() % 1.0):
                    return

    def sample(self) -> dict[str, Any]:
        """The state now; what nobody says is null."""
        at_us = time.time_ns() // 1000
        readings = {name: _ask(port) for name, port in self._ports.items()}
        lag = readings["workers"].buckets(LAG)
        told = flattened(readings) | {
            "at_us": at_us,
            "store_lag_p99_s": exposition.quantile(self._lag, lag, 0.99),
            "processes": self._kin.use(),
        }
        self._lag = lag or self._lag
        return told


def flattened(readings: Readings) -> dict[str, Any]:
    """The numbers of one instant that a run keeps, from what each port says; the turnout is watched apart."""
    edges, workers, monitor = readings["edges"], readings["workers"], readings["monitor"]
    outcomes = {
        name: int(count) for name, count in edges.by("ballot_intake_votes_total", "outcome").items() if count
    }
    probe = monitor.sum("ballot_probe_up")
    return {
        "queue_depth": _whole(workers.sum("ballot_queue_depth")),
        "queue_oldest_s": workers.most("ballot_queue_oldest_seconds"),
        "accepted": outcomes.get("accepted", 0) if edges.values else None,
        "stored": _whole(workers.sum("ballot_stored_votes_total")),
        "quarantined": _whole(workers.sum("ballot_quarantined_total")),
        "outcomes": outcomes,
        "inflight": _whole(edges.sum("ballot_intake_inflight")),
        "probe_up": None if probe is None else bool(probe),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _ask(port: int) -> Reading:
    """What a metrics port says now; nothing when nobody is there."""
    door = HttpDoor(f"http://127.0.0.1:{port}", seconds=ANSWER_SECONDS_MAX)
    answer = door.send("GET", "/metrics")
    door.close()
    if answer.status != OK:
        return Reading()
    return exposition.read(answer.body.decode("utf-8", errors="replace"))
