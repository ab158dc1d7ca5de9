"""Somebody new at the door once a second: a new connection, one request, and how long it took.

`python -m loadtests.overlays.visitor URL PATH [CA]` prints a line of JSON a visit until its stdin ends. A
flood's own process is far too busy to tell how long anything takes.
"""

import json
import select
import sys
import time
from pathlib import Path
from typing import Final

from loadtests.door import HttpDoor

EVERY_SECONDS: Final = 1.0
VISITS_MAX: Final = 100_000
ANSWER_SECONDS_MAX: Final = 15.0


def main(url: str, path: str, ca: Path | None) -> None:
    """Visit, tell, rest; the end of stdin is the end of it."""
    for _ in range(VISITS_MAX):
        began = time.monotonic()
        door = HttpDoor(url, seconds=ANSWER_SECONDS_MAX, ca=ca)
        status = door.send("GET", path).status
        door.close()
        took = time.monotonic() - began
        sys.stdout.write(json.dumps({"status": status, "ms": round(1000 * took, 1)}) + "\n")
        sys.stdout.flush()
        ended, _, _ = select.select([sys.stdin], [], [], max(0.0, EVERY_SECONDS - took))
        if ended:
            return


if __name__ == "__main__":
    where, what, *authorities = sys.argv[1:]
    main(where, what, Path(authorities[0]) if authorities else None)
