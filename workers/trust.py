"""After every start of the queue: has it lost what was stored? Only a worker's word reopens the edges."""

from collections.abc import Sequence

from ballot import handoff
from runtime import logs
from runtime.lifecycle import Retry
from workers.entry import order
from workers.metrics import WorkerMetrics
from workers.queue import Queue
from workers.store import Mark, Store

_log = logs.get("trust")


class Trust:
    """Compares each new run of the queue with the stored marks, once, and gives or refuses the trust mark.

    A mark that is lost while the queue runs on is given again, after another comparison.
    """

    def __init__(self, *, queue: Queue, store: Store, metrics: WorkerMetrics) -> None:
        self._queue = queue
        self._store = store
        self._metrics = metrics
        self._judged: str | None = None
        self._refused: tuple[str, list[str]] | None = None

    async def check(self) -> None:
        """Judge this run of the queue unless it was judged; a refused one is judged again."""
        run_id = await self._queue.run_id()
        if run_id == self._judged and await self._queue.trusted_run_id() == run_id:
            return
        self._metrics.trusted.set(0)
        faults = await self._faults(await self._store.marks())
        if faults:
            for fault in faults:
                _log.alarm("trust_refused", run_id=run_id, fault=fault)
            if self._refused != (run_id, faults):
                await self._store.event(None, "trust_refused", run_id=run_id, faults=faults)
                self._refused = (run_id, faults)
            raise Retry("the queue has lost what was stored; intake stays closed")
        if await self._queue.run_id() != run_id:
            raise Retry("the queue started again while it was compared")
        if await self._queue.trusted_run_id() != run_id:
            await self._queue.trust(run_id)
            _log.info("trust_given", run_id=run_id)
            await self._store.event(None, "trust_given", run_id=run_id)
        self._judged = run_id
        self._metrics.trusted.set(1)

    async def _faults(self, marks: Sequence[Mark]) -> list[str]:
        """What the voter database has seen and the queue no longer knows of, in plain words."""
        faults = []
        accepted: dict[str, int] = {}
        electronic = {mark.ballot: mark.electronic for mark in marks}
        for mark in marks:
            where = f"ballot {mark.ballot} shard {mark.shard}"
            last_id, added = await self._queue.extent(handoff.votes_key(mark.ballot, mark.shard))
            if order(last_id) < order(mark.entry):
                faults.append(f"{where}: the stream ends at {last_id}, {mark.side} had come to {mark.entry}")
            if added < mark.entries:
                faults.append(
                    f"{where}: the stream knows {added} entries, {mark.side} has seen {mark.entries}"
                )
            if mark.side == "stored":
                count = await self._queue.accepted(mark.ballot, mark.shard)
                accepted[mark.ballot] = accepted.get(mark.ballot, 0) + (count or 0)
        faults.extend(
            f"ballot {ballot}: the gate accepted {accepted[ballot]} votes, {stored} are stored"
            for ballot, stored in electronic.items()
            if ballot in accepted and accepted[ballot] < stored
        )
        return faults
