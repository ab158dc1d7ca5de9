"""Makes codes known in the one order that survives a crash anywhere: file, root, register, gate.

A code in a file that the register does not know is worthless paper; a code the register knows is always in
a file. So a rerun never leaves a voter with two working codes, or with none that was dispatched.

The codes are made in `making.py`, on every core (`makers.py`); what follows the register is in `pushing.py`.
"""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from runtime.environment import Environment
from runtime.home import Home
from runtime.progress import bar
from scrutineer.ballots import StoredBallot
from scrutineer.dispatch import DispatchFile
from scrutineer.makers import Makers
from scrutineer.making import Made, Recipient, Series, heading
from scrutineer.pushing import Known, push
from scrutineer.roll import Step, no_step
from scrutineer.roots import RootJournal, SignedRoot
from scrutineer.session import Desk
from scrutineer.spool import Spool, unpack

REGISTER_COLUMNS = (
    "ballot",
    "credential_digest",
    "uin",
    "shard",
    "channel",
    "batch",
    "position",
    "issued_us",
)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """What is left to sign of a batch that is in the file and, uncommitted, in the register."""

    batch: int
    leaves: int
    root: bytes


def series_of(home: Home, stored: StoredBallot) -> Series:
    """Describe the codes of a ballot; the links in them are from BALLOT_PUBLIC_URL."""
    env = Environment(os.environ)
    address = env.url("BALLOT_PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/")
    env.done()
    return Series(home, stored.id, stored.shards, stored.probe, f"{address}/b/{stored.id}#")


async def issue(
    desk: Desk,
    stored: StoredBallot,
    recipients: AsyncIterator[Sequence[Recipient]],
    file: DispatchFile,
    *,
    series: Series,
    count: int,
    cause: str,
    step: Step = no_step,
) -> int:
    """Give each recipient a code, in a dispatch file that is there already; gives how many.

    The order, and why each step may be the last before a crash:

    (1) the dispatch file, synced: its codes mean nothing yet, and it goes if anything fails. While it is
    written the rows go to the register batch by batch, in one transaction that is not committed; (2) the
    desk's signed roots: marked abandoned if the register never learns of them; (3) the register's commit,
    all of the file at once: from here the codes are issued, and every desk command first finishes what
    follows; (4) who was sent what, in the user database; (5) the gate.
    """
    journal = RootJournal(desk.home, stored.id)
    spool = Spool(desk.home.desk)
    try:
        journal.drawing(file.out)
        async with desk.votes.transaction():
            # Step 1.
            drawing = _Drawing(desk, stored, journal.batch_last, journal, spool)
            unsigned = await drawing.draw(recipients, file, series=series, count=count, step=step)
            step("file")
            # Step 2.
            roots = [
                journal.sign_root(one.batch, "issue", one.leaves, one.root, desk.key) for one in unsigned
            ]
            step("signed")
            # Step 3.
            for root in roots:
                await enter_root(desk, stored.id, root)
            kind = "credential.generated" if cause == "issued" else "credential.reissued"
            issued = sum(root.leaves for root in roots)
            batches = [root.batch for root in roots]
            await desk.event(stored.id, kind, count=issued, channels=drawing.channels, batches=batches)
            # The commit comes next, and a connection that breaks during it leaves open whether it was done.
            file.keep()
        step("register")
        # Steps 4 and 5.
        await push(desk, stored, _known(roots, spool), count=issued, journal=journal, step=step)
    finally:
        spool.close()
    return issued


async def _known(roots: Sequence[SignedRoot], spool: Spool) -> AsyncIterator[Known]:
    for root, drawn in zip(roots, spool.batches(), strict=True):
        yield Known(root, drawn, drawn)


class _Drawing:
    """Step 1: every batch as it is made goes to the file, the register's open transaction and the spool."""

    def __init__(
        self, desk: Desk, stored: StoredBallot, first_batch: int, journal: RootJournal, spool: Spool
    ) -> None:
        self._desk = desk
        self._stored = stored
        self._batch = first_batch
        self._journal = journal
        self._spool = spool
        self._issued_us = time.time_ns() // 1_000
        self.channels: Counter[str] = Counter()

    async def draw(
        self,
        recipients: AsyncIterator[Sequence[Recipient]],
        file: DispatchFile,
        *,
        series: Series,
        count: int,
        step: Step,
    ) -> list[Unsigned]:
        """Give the batches in order; when this returns the file is on disk."""
        unsigned: list[Unsigned] = []
        with (
            Makers(series, count=count) as makers,
            file.rows() as rows,
            bar(length=count, label="codes") as progress,
        ):
            rows.write(heading())
            # The recipients come from a cursor, and a cursor lives in a transaction.
            async with self._desk.people.transaction(readonly=True):
                async for made in makers.made(recipients, issued_us=self._issued_us):
                    rows.write(made.rows)
                    await self._enter(self._batch, made)
                    self._journal.keep_leaves(self._batch, made.leaf_hashes)
                    self._spool.add(made.records)
                    unsigned.append(Unsigned(self._batch, made.count, made.root))
                    self._batch += 1
                    progress.update(made.count)
                    step("batch")
        return unsigned

    async def _enter(self, batch: int, made: Made) -> None:
        """Put a batch into the register's transaction."""
        drawn = unpack(made.records)
        self.channels.update([channel for _, _, _, channel in drawn])
        ballot, issued_us = self._stored.id, self._issued_us
        await self._desk.votes.copy_records_to_table(
            "register",
            schema_name="ballot",
            columns=REGISTER_COLUMNS,
            records=(
                (ballot, digest, uin, shard, channel, batch, position, issued_us)
                for position, (digest, uin, shard, channel) in enumerate(drawn)
            ),
        )


async def enter_root(desk: Desk, ballot: str, root: SignedRoot) -> None:
    """Put a signed root beside the rows it covers; part of the caller's transaction."""
    await desk.votes.execute(
        """INSERT INTO ballot.register_roots (ballot, batch, kind, leaves, root, signature)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        ballot,
        root.batch,
        root.kind,
        root.leaves,
        root.root,
        root.signature,
    )


def refuse_leftover(journal: RootJournal, out: Path) -> None:
    """Say what an output file that is in the way is, if an interrupted issue of this ballot left it."""
    if out.absolute() in journal.abandoned_files():
        message = (
            f"{out} is left from an issue that did not finish; its codes never worked: destroy it "
            "and run this again"
        )
        raise click.ClickException(message)


def tell_abandoned(journal: RootJournal) -> None:
    """Name the files that interrupted issues left; `finish_pending` comes before."""
    for path in journal.abandoned_files():
        click.echo(
            f"destroy {path}: it is left from an issue that did not finish, and its codes never worked",
            err=True,
        )
