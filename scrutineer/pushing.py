"""What follows once codes are in the register: who was sent one, in the user database, and then the gate.

It may stop anywhere: the register knows every code, and `finish_pending` does the rest from there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from runtime.progress import Bar, bar
from scrutineer.ballots import StoredBallot
from scrutineer.gate import CALL_ROWS_MAX
from scrutineer.roll import Step, no_step
from scrutineer.roots import RootJournal, SignedRoot
from scrutineer.session import Desk
from scrutineer.spool import Drawn
from scrutineer.voters import chunks

#: Calls under way at once; between them the gate takes votes of other ballots, after a few milliseconds.
#: Replicas are waited for once a batch for each of them, not once a call.
CALLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Known:
    """A batch that is in the register: all its codes, and those of them that are not revoked since."""

    root: SignedRoot
    issued: Sequence[Drawn]
    current: Sequence[Drawn]


async def push(
    desk: Desk,
    stored: StoredBallot,
    batches: AsyncIterator[Known],
    *,
    count: int,
    journal: RootJournal,
    step: Step,
    dispatched: frozenset[int] = frozenset(),
) -> None:
    """Enter each batch as dispatched, unless it is among those, and then tell the gate.

    While the gate takes in one batch, the user database takes in the next.
    """
    before: Known | None = None
    with bar(length=count, label="gate") as progress:
        async for batch in batches:
            work: list[Coroutine[Any, Any, None]] = []
            if batch.root.batch not in dispatched:
                work.append(_dispatched(desk, stored, batch, step))
            if before is not None:
                work.append(_to_gate(desk, stored, before, journal=journal, progress=progress, step=step))
            await _all(work)
            before = batch
        if before is not None:
            await _to_gate(desk, stored, before, journal=journal, progress=progress, step=step)


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side until all have ended; the first failure is raised then, and nothing runs on."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _dispatched(desk: Desk, stored: StoredBallot, batch: Known, step: Step) -> None:
    # Another command, if our lock was lost with its connection, may have entered it: all of it or nothing.
    with contextlib.suppress(asyncpg.UniqueViolationError):
        await desk.people.copy_records_to_table(
            "dispatches",
            schema_name="people",
            columns=("ballot", "uin", "channel", "batch"),
            records=((stored.id, uin, channel, batch.root.batch) for _, uin, _, channel in batch.issued),
        )
    step("dispatches")


async def _to_gate(
    desk: Desk,
    stored: StoredBallot,
    batch: Known,
    *,
    journal: RootJournal,
    progress: Bar,
    step: Step,
) -> None:
    gate = stored.gate(desk)
    by_shard: dict[int, list[tuple[bytes, bytes, str]]] = {}
    for digest, uin, shard, channel in batch.current:
        by_shard.setdefault(shard, []).append((digest, uin, channel))
    blocks = [
        (shard, rows)
        for shard, entries in sorted(by_shard.items())
        for rows in chunks(entries, CALL_ROWS_MAX)
    ]

    def done(rows: int) -> None:
        progress.update(rows)
        step("gate")

    await _all([gate.issue_all(blocks[first::CALLS_AT_ONCE], done) for first in range(CALLS_AT_ONCE)])
    journal.push_done(batch.root.batch)
    await desk.event(stored.id, "credential.dispatched", batch=batch.root.batch, count=len(batch.issued))


async def finish_pending(desk: Desk, stored: StoredBallot) -> None:
    """Finish or give up what an interrupted command left; every changing command on codes begins with it."""
    journal = RootJournal(desk.home, stored.id)
    pending = [root for root in journal.live() if root.batch not in journal.pushed]
    if not pending:
        return
    rows = await desk.votes.fetch(
        "SELECT batch FROM ballot.register_roots WHERE ballot = $1 AND batch = ANY($2)",
        stored.id,
        [root.batch for root in pending],
    )
    entered = {row["batch"] for row in rows}
    issued: list[SignedRoot] = []
    for root in pending:
        if root.batch not in entered:
            journal.abandon(root.batch)
        elif root.kind == "issue":
            issued.append(root)
        else:
            # A revocation is at the gate before it is in the register.
            journal.push_done(root.batch)
    if not issued:
        return
    rows = await desk.people.fetch(
        "SELECT DISTINCT batch FROM people.dispatches WHERE ballot = $1 AND batch = ANY($2)",
        stored.id,
        [root.batch for root in issued],
    )
    await push(
        desk,
        stored,
        _from_register(desk, stored, issued),
        count=sum(root.leaves for root in issued),
        journal=journal,
        step=no_step,
        dispatched=frozenset(row["batch"] for row in rows),
    )


async def _from_register(
    desk: Desk, stored: StoredBallot, roots: Sequence[SignedRoot]
) -> AsyncIterator[Known]:
    for root in roots:
        rows = await desk.votes.fetch(
            """SELECT credential_digest, uin, shard, channel,
                      EXISTS (SELECT FROM ballot.revocations v WHERE v.ballot = r.ballot
                                 AND v.credential_digest = r.credential_digest) AS revoked
                 FROM ballot.register r WHERE ballot = $1 AND batch = $2 ORDER BY position""",
            stored.id,
            root.batch,
        )
        issued: list[Drawn] = [(digest, uin, shard, channel) for digest, uin, shard, channel, _ in rows]
        revoked = {row["credential_digest"] for row in rows if row["revoked"]}
        yield Known(root, issued, [one for one in issued if one[0] not in revoked])
