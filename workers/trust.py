"""After every start of the queue: has it lost what was stored? Only a worker's word reopens the edges.

Each primary is judged by itself, by the shards it holds: a replica that takes its primary's place is another
server with a run of its own, and is judged before a vote goes to it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from ballot import handoff
from runtime import logs
from runtime.lifecycle import Retry
from workers.entry import order
from workers.metrics import WorkerMetrics
from workers.queue import Queue
from workers.store import Kept, Mark, Store

if TYPE_CHECKING:
    from runtime.nodes import Primary

_log = logs.get("trust")

EPOCH_LOOKS: Final = 5
"""How often the voter database is asked again whether it agrees with the queue: at each fifth look."""

AGAIN_LOOKS: Final = 10
"""How often marks are compared again with a queue that is trusted: at each tenth look."""

AGAIN_MARKS: Final = 1_000
"""So many at a time, and the next ballots at the next: a worker also has to see when a recovery begins."""

RECOVERING: Final = (
    "the queue is being recovered, or was restored and is not recovered yet; intake stays closed "
    "until `ballot recover` has ended"
)

Slots = tuple[tuple[int, int], ...]


class Trust:
    """Compares each new run of a primary with the stored marks, and gives or refuses its trust mark.

    A run that nobody has vouched for must also have what keeps codes and times: the window on record, and no
    fewer revoked codes and released votes. The number of the last recovery is every run's to have, whoever
    vouched for it: nobody but recovery writes it, and an older worker does not look at it.

    It is compared again when it holds other slots than before, when its mark was lost while it runs on, and
    now and then as long as it runs: what is found to be behind is trusted no more.
    While the queue is being recovered, or is one from before a recovery, nothing is vouched for.
    """

    def __init__(self, *, queue: Queue, store: Store, metrics: WorkerMetrics) -> None:
        self._queue = queue
        self._store = store
        self._metrics = metrics
        self._judged: dict[str, Slots] = {}
        self._refused: dict[str, list[str]] = {}
        self._silent = 0
        self._away = ""
        self._looks = 0
        self._compared = ""

    async def check(self) -> bool:
        """Judge every primary's run that was not judged; a refused one is judged again.

        False while a primary does not answer: who takes its place is to be judged soon.
        """
        runs, silent = await self._queue.runs()
        trusted = await self._queue.trusted()
        if await self._queue.recovering():
            await self._stay_away(trusted, RECOVERING)
        wanting = {
            run_id: primary
            for run_id, primary in runs.items()
            if run_id not in trusted or self._judged.get(run_id) != primary.slots
        }
        if silent != self._silent:
            _log.warning("primaries_silent", primaries=silent)
            self._silent = silent
        await self._same_epoch(trusted, certain=bool(wanting))
        self._away = ""
        if wanting or silent:
            self._metrics.trusted.set(0)
        refused = False
        if wanting:
            marks = await self._store.marks()
            kept = await self._store.kept()
            for run_id, primary in wanting.items():
                known = run_id in trusted
                wanted = [_number_alone(each.ballot, each.shard, each.epoch) for each in kept if each.epoch]
                refused |= not await self._judge(
                    run_id, primary, marks, wanted if known else kept, trusted=known
                )
        elif self._looks % AGAIN_LOOKS == 0:
            refused = await self._fell_behind(runs)
        if not silent:
            await self._forget(trusted - runs.keys(), runs)
        if refused:
            self._metrics.trusted.set(0)
            raise Retry("the queue has lost what was stored; intake stays closed until `ballot recover`")
        if not silent:
            self._metrics.trusted.set(1)
        return not silent

    async def _fell_behind(self, runs: Mapping[str, "Primary"]) -> bool:
        """Compare what is trusted again: whether any primary no longer knows what was stored meanwhile.

        A voter database that is away changes nothing. Some ballots at a time; all of them come in turn.
        """
        try:
            marks = self._next_ballots(await self._store.marks())
            epochs = await self._store.gate_epochs()
        except Retry:
            return False
        shards = {(each.ballot, each.shard) for each in marks if each.ballot in epochs}
        kept = [_number_alone(ballot, shard, epochs[ballot]) for ballot, shard in sorted(shards)]
        refused = False
        for run_id, primary in runs.items():
            refused |= not await self._judge(run_id, primary, marks, kept, trusted=True)
        self._compared = max((each.ballot for each in marks), key=self._turn, default="")
        return refused

    def _turn(self, ballot: str) -> tuple[bool, str]:
        """Ballots come in turn by name, after the last one of those that were compared before."""
        return ballot <= self._compared, ballot

    def _next_ballots(self, marks: Sequence[Mark]) -> list[Mark]:
        """The marks of as many whole ballots as are compared at a time, after those of the last time.

        Which is theirs until they were compared: a primary that is silent meanwhile leaves none of them out.
        """
        of: dict[str, list[Mark]] = {}
        for mark in marks:
            of.setdefault(mark.ballot, []).append(mark)
        chosen: list[Mark] = []
        for name in sorted(of, key=self._turn):
            if chosen and len(chosen) + len(of[name]) > AGAIN_MARKS:
                break
            chosen += of[name]
        return chosen

    async def _same_epoch(self, trusted: set[str], *, certain: bool) -> None:
        """Stay away from a queue that is from before a recovery, or was emptied since.

        The queue first: recovery raises the voter database's number first. While nothing is to be judged, a
        voter database that is away changes nothing.
        """
        self._looks += 1
        if not certain and self._looks % EPOCH_LOOKS:
            return
        there = await self._queue.epoch()
        try:
            wanted = await self._store.epoch(there)
        except Retry:
            if certain:
                raise
            return
        if there != wanted:
            await self._stay_away(
                trusted,
                f"the queue is not as the last recovery left it (epoch {there}, the voter database has "
                f"{wanted}); intake stays closed until `ballot recover`",
                lost=True,
            )

    async def _stay_away(self, trusted: set[str], why: str, *, lost: bool = False) -> NoReturn:
        """Vouch for nothing, and take back what was said; `lost`: only a person can help, so tell them."""
        self._metrics.trusted.set(0)
        await self._queue.distrust(trusted)
        if self._away != why:
            (_log.alarm if lost else _log.warning)("trust_withheld", run_ids=sorted(trusted), why=why)
            for run_id in (await self._queue.runs())[0] if lost else ():
                await self._store.event(None, "trust_refused", run_id=run_id, faults=[why])
            self._away = why
        raise Retry(why)

    async def _judge(
        self, run_id: str, primary: "Primary", marks: Sequence[Mark], kept: Sequence[Kept], *, trusted: bool
    ) -> bool:
        """Compare one run with what is known of the shards it holds, and say whether it is trusted."""
        faults = [*await self._faults(primary, marks), *await self._forgotten(primary, kept)]
        if faults:
            for fault in faults:
                _log.alarm("trust_refused", run_id=run_id, fault=fault, needed="ballot recover")
            if trusted:
                await self._queue.distrust([run_id])
            if self._refused.get(run_id) != faults:
                await self._store.event(None, "trust_refused", run_id=run_id, faults=faults)
                self._refused[run_id] = faults
            return False
        runs, _ = await self._queue.runs()
        now = runs.get(run_id)
        if now is None or now.slots != primary.slots or await self._queue.recovering():
            raise Retry("the queue started again, slots moved, or a recovery began while it was compared")
        if not trusted:
            await self._queue.trust(run_id)
            _log.info("trust_given", run_id=run_id)
            await self._store.event(None, "trust_given", run_id=run_id)
        self._judged[run_id] = primary.slots
        self._refused.pop(run_id, None)
        return True

    async def _forget(self, gone: set[str], runs: Mapping[str, "Primary"]) -> None:
        """Take back the marks of runs that have ended."""
        if gone:
            await self._queue.distrust(gone)
            _log.info("trust_ended", run_ids=sorted(gone))
        for known in (self._judged, self._refused):
            for run_id in known.keys() - runs.keys():
                known.pop(run_id)

    async def _faults(self, primary: "Primary", marks: Sequence[Mark]) -> list[str]:
        """What the voter database has seen and this primary no longer knows of, in plain words.

        A ballot's stored votes are counted as a whole, so all its shards are asked what they have accepted,
        wherever they are, if this primary holds one of them.
        """
        faults = []
        here = [(mark, handoff.votes_key(mark.ballot, mark.shard)) for mark in marks]
        here = [(mark, stream) for mark, stream in here if primary.holds(stream)]
        concerned = {mark.ballot for mark, _ in here}
        extents = await self._queue.extents([*{stream: None for _, stream in here}])
        for mark, stream in here:
            where = f"ballot {mark.ballot} shard {mark.shard}"
            last_id, added = extents[stream]
            if order(last_id) < order(mark.entry):
                faults.append(f"{where}: the stream ends at {last_id}, {mark.side} had come to {mark.entry}")
            if added < mark.entries:
                faults.append(
                    f"{where}: the stream knows {added} entries, {mark.side} has seen {mark.entries}"
                )
        accepted: dict[str, int] = {}
        stored = [mark for mark in marks if mark.side == "stored" and mark.ballot in concerned]
        counts = await self._queue.accepted([(mark.ballot, mark.shard) for mark in stored])
        for (ballot, _), count in counts.items():
            accepted[ballot] = accepted.get(ballot, 0) + count
        electronic = {mark.ballot: mark.electronic for mark in stored}
        faults.extend(
            f"ballot {ballot}: the gate accepted {count} votes, {electronic[ballot]} are stored"
            for ballot, count in accepted.items()
            if count < electronic[ballot]
        )
        return faults

    async def _forgotten(self, primary: "Primary", kept: Sequence[Kept]) -> list[str]:
        """What is on record and this primary's gates no longer know: an older copy would take votes by it.

        A shard that was never armed takes none, and one that has closed stays so.
        """
        faults = []
        here = {
            (each.ballot, each.shard): each
            for each in kept
            if primary.holds(handoff.votes_key(each.ballot, each.shard))
        }
        for shard, gate in (await self._queue.kept(here)).items():
            each = here[shard]
            if gate is None:
                continue
            where = f"ballot {each.ballot} shard {each.shard}: the gate"
            if each.epoch and gate.epoch < each.epoch:
                faults.append(f"{where} is from before a recovery ({gate.epoch}, {each.epoch} is on record)")
            if gate.revoked is not None and gate.revoked < each.revoked:
                faults.append(f"{where} has revoked {gate.revoked} codes, {each.revoked} are on record")
            if gate.released < each.released:
                faults.append(f"{where} has released {gate.released} votes, {each.released} are on record")
            window = (gate.opens_us, gate.closes_us)
            if each.opens_us is not None and not gate.closed and window != (each.opens_us, each.closes_us):
                faults.append(
                    f"{where} opens and closes at {gate.opens_us} and {gate.closes_us} us, on record are "
                    f"{each.opens_us} and {each.closes_us}"
                )
        return faults


def _number_alone(ballot: str, shard: int, epoch: int) -> Kept:
    """What a gate must have that somebody has vouched for: the rest may be at the gate before the record."""
    return Kept(ballot, shard, None, None, -1, -1, epoch)
