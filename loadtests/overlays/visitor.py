"""Somebody new at the door once a second: a new connection, one request, and how long it took.

`python -m loadtests.overlays.visitor URL PATH [CA]` prints a line of JSON a visit until its stdin ends. A
flood's own process is far too busy to tell how long anything takes; `waited_ms` is how long this one waited
for a processor in the meantime.
"""

import json
import select
import sys
import time
from pathlib import Path
from typing import Final

from loadtests.voting.door import HttpDoor

EVERY_SECONDS: Final = 1.0
VISITS_MAX: Final = 100_000
ANSWER_SECONDS_MAX: Final = 15.0
SCHEDSTAT: Final = Path("/proc/self/schedstat")


def waited() -> int:
    """For how many nanoseconds this process has been kept waiting for a processor, as Linux says; else 0."""
    try:
        return int(SCHEDSTAT.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def main(url: str, path: str, ca: Path | None) -> None:
    """Visit, tell, rest; the end of stdin is the end of it."""
    for _ in range(VISITS_MAX):
        began, waited_ns = time.monotonic(), waited()
        door = HttpDoor(url, seconds=ANSWER_SECONDS_MAX, ca=ca)
        status = door.send("GET", path).status
        door.close()
        took = time.monotonic() - began
        told = {"status": status, "ms": round(1000 * took, 1), "waited_ms": (waited() - waited_ns) / 1e6}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        ended, _, _ = select.select([sys.stdin], [], [], max(0.0, EVERY_SECONDS - took))
        if ended:
            return


if __name__ == "__main__":
    where, what, *authorities = sys.argv[1:]
    main(where, what, Path(authorities[0]) if authorities else None)
