"""`python -m tests.fuzz.run --minutes 10`: the HTTP surface under fuzz against real servers, then a table.

Rounds of raw sockets and of schemathesis take turns until the time is over, each with its own seed; voters go
on voting meanwhile. The exit code is 0 only if nothing broke a rule; what did is printed with its seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.home import Home
from runtime.servers import servers
from tests.conftest import environment_for
from tests.fuzz.documented import Documented, check
from tests.fuzz.ground import VOTE_EVERY_S, Ground, ground
from tests.fuzz.raw import Tally, fuzz

if TYPE_CHECKING:
    from collections import Counter

RAW_EXAMPLES: Final = 500
DOCUMENTED_EXAMPLES: Final = 20
DOCUMENTED_SECONDS: Final = 30
WARM_EXAMPLES: Final = 300
BALLOT: Final = "t-fuzz"


@dataclass(slots=True)
class Campaign:
    """What one run did and found."""

    raw: Tally = field(default_factory=Tally)
    documented: Documented = field(default_factory=Documented)
    faults: list[str] = field(default_factory=list)

    def run(self, ground: Ground, *, seconds: float, seeded: int) -> None:
        """Take turns until the time is over; raise nothing."""
        until = time.monotonic() + seconds
        draws = random.Random(seeded)
        while time.monotonic() < until and not self.faults:
            seed = draws.randrange(2**32)
            try:
                fuzz(ground, self.raw, examples=RAW_EXAMPLES, seeded=seed)
                left = min(DOCUMENTED_SECONDS, int(until - time.monotonic()))
                if left > 0:
                    check(ground, self.documented, examples=DOCUMENTED_EXAMPLES, seconds=left, seeded=seed)
            except AssertionError as error:
                self.faults.append(f"seed {seed}: {error} {getattr(error, '__notes__', '')}")
            self.faults += [f"seed {seed}: {failure}" for failure in self.documented.failures]

    def table(self, ground: Ground, before: tuple[int, int], after: tuple[int, int]) -> str:
        """Return what to print."""
        votes = ground.voters.seconds
        rows = [
            ("raw connections", f"{self.raw.connections:,}", _by_status(self.raw.statuses)),
            ("  slowest", f"{self.raw.slowest_s:.3f} s", "from the first byte to the edge's close"),
            ("documented requests", f"{self.documented.requests:,}", _by_status(self.documented.statuses)),
            ("  slowest", f"{self.documented.slowest_s:.3f} s", ""),
            ("votes meanwhile", f"{len(votes):,}", _by_status(ground.voters.statuses)),
            ("  slowest", f"{max(votes, default=0):.3f} s", ""),
            ("edge's memory", f"{after[0] / 2**20:.1f} MB", f"{before[0] / 2**20:.1f} MB before"),
            ("edge's descriptors", f"{after[1]}", f"{before[1]} before"),
            ("faults", f"{len(self.faults)}", ""),
        ]
        return "\n".join(f"{name:22}{value:>12}  {more}".rstrip() for name, value, more in rows)


def _by_status(statuses: Counter[int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))


def _state(ground: Ground) -> tuple[int, int]:
    return ground.resident_bytes(), ground.descriptors()


def main() -> int:
    """Run for so many minutes."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="Another run's, to repeat it.")
    arguments = parser.parse_args()
    seeded = random.randrange(2**32) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seeded}\n")
    seconds = 60 * arguments.minutes
    campaign = Campaign()
    with tempfile.TemporaryDirectory(prefix="ballot-fuzz-") as folder:
        env = environment_for(Path(folder) / "home")
        votes = int(seconds / VOTE_EVERY_S * 1.5) + 200
        home = Home.from_environment(env)
        with servers(home, env) as found, ground(found, env, BALLOT, votes=votes) as prepared:
            fuzz(prepared, Tally(), examples=WARM_EXAMPLES, seeded=seeded)
            before = _state(prepared)
            try:
                with prepared.unharmed(), prepared.voting():
                    campaign.run(prepared, seconds=seconds, seeded=seeded)
            except AssertionError as error:
                campaign.faults.append(str(error))
            sys.stdout.write(campaign.table(prepared, before, _state(prepared)) + "\n")
    for fault in campaign.faults:
        sys.stdout.write(f"\n{fault}\n")
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    sys.exit(main())
