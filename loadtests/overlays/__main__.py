"""`python -m loadtests.overlays NAME`: one overlay in this process; its context is stdin's first line.

It prints a line of JSON a second, and what it did and got in all as the last one. It ends when its stdin
does.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from loadtests.overlays import botnet, cap, fault, guessing, handshakes, reissue, reloaders, replay
from loadtests.overlays.work import Work, read_context, serve

Run = Callable[[Work], Awaitable[dict[str, Any]]]
RUNS: dict[str, tuple[Run, frozenset[str]]] = {
    "botnet": (botnet.run, botnet.KNOBS),
    "cap": (cap.run, cap.KNOBS),
    "fault": (fault.run, fault.KNOBS),
    "guessing": (guessing.run, guessing.KNOBS),
    "handshakes": (handshakes.run, handshakes.KNOBS),
    "reissue": (reissue.run, reissue.KNOBS),
    "reloaders": (reloaders.run, reloaders.KNOBS),
    "replay": (replay.run, replay.KNOBS),
}


async def main(name: str) -> None:
    """Run the overlay `name` to its end."""
    run, knobs = RUNS[name]
    await serve(Work(name, read_context(), knobs=knobs), run)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RUNS:  # noqa: PLR2004  # the module and one name
        sys.exit(f"Name one overlay: {', '.join(RUNS)}; its context is a line of JSON on stdin.")
    asyncio.run(main(sys.argv[1]))
