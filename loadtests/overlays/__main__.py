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

RUNS: dict[str, Callable[[Work], Awaitable[dict[str, Any]]]] = {
    "botnet": botnet.run,
    "cap": cap.run,
    "fault": fault.run,
    "guessing": guessing.run,
    "handshakes": handshakes.run,
    "reissue": reissue.run,
    "reloaders": reloaders.run,
    "replay": replay.run,
}


async def main(name: str) -> None:
    """Run the overlay `name` to its end."""
    await serve(Work(name, read_context()), RUNS[name])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RUNS:  # noqa: PLR2004  # the module and one name
        sys.exit(f"Name one overlay: {', '.join(RUNS)}; its context is a line of JSON on stdin.")
    asyncio.run(main(sys.argv[1]))
