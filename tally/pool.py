"""Votes are opened on every core; the private key is in these processes' memory and nowhere else.

The seed goes to each worker once, through the pipe it is started with: never in an argument, an environment
variable or a file. A worker dies with the process that started it, so no key outlives a killed tally.
"""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import connection, get_context, parent_process

from ballot.definition import Definition, from_canonical
from tally.count import Count, SealedVote, open_and_count
from tally.custody import OpeningSeed
from tally.opening import OpeningKey

CHUNK_VOTES = 256  # about 20 ms of work and 300 kB a message: neither pipe nor progress bar stutters
CHUNKS_PER_PROCESS = (
    3  # one being opened, one in the pipe, one being read: memory does not grow with the votes
)

# (key, definition) of this worker process, set once by `_start` and read by `_chunk`.
_held: list[tuple[OpeningKey, Definition]] = []


def _start(seed: OpeningSeed, definition: bytes) -> None:
    """Prepare a worker: rebuild the key, leave Ctrl-C to the parent, and die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _held.append((seed.key(), from_canonical(definition)))


def _die_with_parent() -> None:
    """Leave at once, without cleaning up, when the process that started this one has gone."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _chunk(votes: list[SealedVote]) -> Count:
    """Open and count one chunk in a worker."""
    key, definition = _held[0]
    return open_and_count(votes, definition=definition, key=key)


def counts(
    votes: Iterable[SealedVote], *, definition: Definition, seed: OpeningSeed, processes: int
) -> Iterator[tuple[int, Count]]:
    """Yield (number of votes, their count) for each chunk as it is done, in no particular order.

    Reads `votes` only as fast as they are opened: at most CHUNKS_PER_PROCESS chunks a process are in memory.
    """
    unread = iter(votes)
    under_way: dict[Future[Count], int] = {}
    with ProcessPoolExecutor(
        max_workers=processes,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(seed, definition.canonical),
    ) as pool:
        try:
            while True:
                while len(under_way) < processes * CHUNKS_PER_PROCESS:
                    chunk = list(islice(unread, CHUNK_VOTES))
                    if not chunk:
                        break
                    under_way[pool.submit(_chunk, chunk)] = len(chunk)
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield under_way.pop(future), future.result()
        finally:
            for future in under_way:
                future.cancel()
