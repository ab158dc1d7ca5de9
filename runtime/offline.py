"""The home's servers while its queue is away on purpose: the databases run, and nobody starts the queue.

For whoever replaces the queue's data. The start lock is held throughout, so no command and no supervisor
starts anything meanwhile; edges answer 503. Whoever dies in here drops the lock, and the ordinary start finds
what is there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtime import locks, starting
from runtime.addresses import CLUSTERS
from runtime.embedded import Embedded
from runtime.postgres_server import PostgresServer
from runtime.processes import in_directory
from runtime.servers import Servers
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.home import Home

QUEUE = "valkey"


@contextmanager
def without_queue(home: Home) -> Iterator[Servers]:
    """Stop the home's queue and hold it stopped while the block runs; the databases are there to be used."""
    hold = _Offline(home)
    with hold.held():
        yield Servers(home, _embedded=hold)


class _Offline(Embedded):
    """A user of the databases alone."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, supervise=False)
        self._queue = ValkeyServer(home)
        self._servers = tuple(PostgresServer(home, cluster) for cluster in CLUSTERS)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the start lock and a user's share; who is the only user stops the databases at the end."""
        why = f"The queue is stopped while it is recovered or restored, by process {self._pid}"
        with self._start_lock(why):
            self._users = locks.opened(self._home.run / "users.lock")
            alone = locks.try_alone(self._users)
            locks.share(self._users)
            try:
                self._stop_queue()
                if alone:
                    self._adopt()
                self._start_missing()
                self._bring_up_to_date()
                yield
            finally:
                self._drop()

    def _stop_queue(self) -> None:
        process = self._records.processes().get(QUEUE)
        if process is not None:
            starting.stop(self._queue, process)
            self._records.set_process(QUEUE, None)
        for unrecorded in in_directory(self._queue.data, executable=self._queue.executable):
            starting.stop(self._queue, unrecorded)  # its starter was killed before it wrote the record
