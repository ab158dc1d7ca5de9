"""Votes are opened on every core; the private key is in the tally's processes' memory and nowhere else.

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
from tally.count import Count, open_and_count
from tally.custody import OpeningSeed
from tally.opening import OpeningKey
from tally.sealed_export import Chunk, Reread

CHUNK_VOTES = 1_024  # about 80 ms of work: enough to make little of handing it over
# One being opened, the others told of: memory does not grow with the votes.
CHUNKS_PER_PROCESS = 3

CHUNKS_HERE = 2  # a process takes as long to start: the tally opens so few itself, and it has the key anyway

# (key, definition) of this worker process, set once by `_start` and read by `_count`.
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


def _count(chunk: Chunk | Reread) -> Count:
    """Take apart, open and count one chunk in a worker."""
    key, definition = _held[0]
    return open_and_count(chunk.votes(), definition=definition, key=key)


def counts(
    chunks: Iterable[Chunk], *, definition: Definition, seed: OpeningSeed, processes: int
) -> Iterator[tuple[int, Count]]:
    """Yield (number of votes, their count) for each chunk as it is done, in no particular order.

    Reads `chunks` only as fast as they are opened: at most CHUNKS_PER_PROCESS chunks a process are in memory.
    With no `processes` they are opened in this one.
    """
    if not processes:
        key = seed.key()
        for chunk in chunks:
            yield len(chunk), open_and_count(chunk.votes(), definition=definition, key=key)
        return
    unread = iter(chunks)
    under_way: dict[Future[Count], int] = {}
    with ProcessPoolExecutor(
        max_workers=processes,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(seed, definition.canonical),
    ) as pool:
        try:
            while True:
                for chunk in islice(unread, processes * CHUNKS_PER_PROCESS - len(under_way)):
                    under_way[pool.submit(_count, chunk.to_send())] = len(chunk)
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield under_way.pop(future), future.result()
        finally:
            for future in under_way:
                future.cancel()
