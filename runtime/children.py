"""Pools of child processes for work that would hold up the loop; they end with us however we end."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def pool(
    processes: int, *, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return a pool of `processes` children, each of which first calls `initializer(*initargs)`.

    Nothing of ours is in a command line or in the environment: arguments and results go through pipes.
    """
    # spawn: a forked child would hold our connections open and share their bytes.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(initializer, *initargs)
    )


def _begin(initializer: Callable[..., None] | None, *initargs: Any) -> None:
    """Ignore Ctrl-C, which is the parent's to handle, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, name="parent-watch", daemon=True).start()
    if initializer is not None:
        initializer(*initargs)
