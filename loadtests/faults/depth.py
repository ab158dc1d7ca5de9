"""How far storing lags behind accepting, read twice a second from the worker's metrics."""

import re
import time

from loadtests.staging.aside import Aside
from loadtests.voting.door import HttpDoor

LOOK_SECONDS = 0.5
ANSWER_SECONDS_MAX = 2.0
DEPTH = re.compile(rb'(?m)^ballot_queue_depth\{shard="\d+"\} ([0-9.e+]+)$')
OK = 200


class Depth(Aside):
    """A watch in a thread, for as long as the block lasts; `seen` has instants and entries that waited."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__("depth")
        self.seen: list[tuple[int, int]] = []

    def _work(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            waiting = self.now()
            if waiting is not None:
                self.seen.append((time.time_ns() // 1000, waiting))

    def now(self) -> int | None:
        """The entries that wait now; None when no worker says so."""
        door = HttpDoor(self._url, seconds=ANSWER_SECONDS_MAX)
        answer = door.send("GET", "/metrics")
        door.close()
        found = DEPTH.findall(answer.body)
        return int(sum(map(float, found))) if answer.status == OK and found else None

    def most(self, from_us: int) -> int:
        """The most that waited since then."""
        return max((waiting for at_us, waiting in self.seen if at_us >= from_us), default=0)
