"""Makes codes known in the one order that survives a crash anywhere: file, root, register, gate.

A code in a file that the register does not know is worthless paper; a code the register knows is always in
a file. So a rerun never leaves a voter with two working codes, or with none that was dispatched.
"""

import csv
import hashlib
import os
import secrets
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from ballot import receipt, register
from ballot.code import Code
from ballot.handoff import CHANNEL_BYTES, CHANNELS
from ballot.suite import keyed_digest
from runtime.environment import Environment
from runtime.home import Home
from runtime.progress import bar
from scrutineer.ballots import StoredBallot
from scrutineer.dispatch import DispatchFile
from scrutineer.files import disk_errors
from scrutineer.gate import CALL_ROWS_MAX
from scrutineer.roll import Step, no_step
from scrutineer.roots import RootJournal, SignedRoot
from scrutineer.session import Desk
from scrutineer.voters import Person, chunks

#: Codes under one signed root: a leaf and its hash for each are held in memory at once.
BATCH_CODES_MAX = 20_000
DISPATCH_COLUMNS = ("member_id", "channel", "destination", "code", "link")
#: A code is right for its voter's shard once in S draws; after 10,000 something else is wrong.
DRAWS_MAX = 10_000

_RECORD = struct.Struct(">32s16sBc")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is kept of a drawn code: never the code, never the credential."""

    digest: bytes
    uin: bytes
    shard: int
    channel: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """A voter who is to get a code; `shard` is None until a first code decides it."""

    person: Person
    shard: int | None = None


class Spool:
    """Drawn codes' digests in a nameless temporary file, so that a million of them take no memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with disk_errors(directory):
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # closed by close
        self.count = 0

    def add(self, drawn: Drawn) -> None:
        """Keep one."""
        record = _RECORD.pack(drawn.digest, drawn.uin, drawn.shard, CHANNEL_BYTES[drawn.channel])
        with disk_errors(self._directory):
            self._file.write(record)
        self.count += 1

    def batches(self) -> Iterator[list[Drawn]]:
        """Give all in order, at most `BATCH_CODES_MAX` at a time."""
        with disk_errors(self._directory):
            self._file.seek(0)
        while block := self._file.read(_RECORD.size * BATCH_CODES_MAX):
            yield [
                Drawn(digest, uin, shard, CHANNELS[byte])
                for digest, uin, shard, byte in _RECORD.iter_unpack(block)
            ]

    def close(self) -> None:
        """Let the file go, and what a full disk did not take of it."""
        with suppress(OSError):
            self._file.close()


class Drawer:
    """Draws codes for one ballot."""

    def __init__(self, home: Home, stored: StoredBallot) -> None:
        self._stored = stored
        self._key = home.secret("credential-digest")
        env = Environment(os.environ)
        address = env.url("BALLOT_PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/")
        env.done()
        self._link = f"{address}/b/{stored.id}#"

    def draw(self, recipient: Recipient) -> tuple[Drawn, tuple[str, ...]]:
        """Draw a code that falls in the voter's shard.

        Gives what is kept and the row for the dispatch house.
        """
        person = recipient.person
        channel, destination = person.channel()
        for _ in range(DRAWS_MAX):
            code = Code.draw(secrets.token_bytes)
            credential = code.credential(self._stored.id)
            digest = keyed_digest(self._key, hashlib.sha256(credential).digest())
            shard = receipt.shard_of_digest(digest, self._stored.shards)
            if recipient.shard in {None, shard}:
                text = code.text()
                row = (person.member_id, channel, destination, text, self._link + text)
                return Drawn(digest, person.uin, shard, "probe" if self._stored.probe else channel), row
        raise AssertionError("no code of ten thousand fell in the voter's shard")


async def issue(
    desk: Desk,
    stored: StoredBallot,
    recipients: AsyncIterator[Recipient],
    file: DispatchFile,
    *,
    drawer: Drawer,
    count: int,
    cause: str,
    step: Step = no_step,
) -> int:
    """Give each recipient a code, in a dispatch file that is there already; gives how many.

    The order, and why each step may be the last before a crash:

    (1) the dispatch file, synced: its codes mean nothing yet, and it goes if anything fails; (2) the desk's
    signed roots: marked abandoned if the register never learns of them; (3) the register, all of the file
    in one transaction: from here the codes are issued, and every desk command first finishes what follows;
    (4) who was sent what, in the user database; (5) the gate.
    """
    journal = RootJournal(desk.home, stored.id)
    spool = Spool(desk.home.desk)
    try:
        # Step 1.
        journal.drawing(file.out)
        await _write_file(desk, recipients, file, drawer=drawer, count=count, spool=spool)
        step("file")
        # Steps 2 and 3.
        roots = await _register(desk, stored, spool, file=file, journal=journal, cause=cause, step=step)
        # Steps 4 and 5.
        for root in roots:
            await _finish(desk, stored, root, journal=journal, step=step)
    finally:
        spool.close()
    return spool.count


async def _write_file(
    desk: Desk,
    recipients: AsyncIterator[Recipient],
    file: DispatchFile,
    *,
    drawer: Drawer,
    count: int,
    spool: Spool,
) -> None:
    with file.rows() as rows, bar(length=count, label="codes") as progress:
        writer = csv.writer(rows, lineterminator="\r\n")
        writer.writerow(DISPATCH_COLUMNS)
        # The recipients come from a cursor, and a cursor lives in a transaction.
        async with desk.people.transaction(readonly=True):
            async for recipient in recipients:
                drawn, row = drawer.draw(recipient)
                writer.writerow(row)
                spool.add(drawn)
                progress.update(1)


async def _register(
    desk: Desk,
    stored: StoredBallot,
    spool: Spool,
    *,
    file: DispatchFile,
    journal: RootJournal,
    cause: str,
    step: Step,
) -> list[SignedRoot]:
    """Steps 2 and 3: sign each batch, then enter all of them in one transaction."""
    issued_us = time.time_ns() // 1_000
    roots: list[SignedRoot] = []
    batch = journal.batch_last
    for drawn in spool.batches():
        leaves = [
            register.issue_leaf(stored.id, one.digest, one.uin, one.channel, issued_us, one.shard)
            for one in drawn
        ]
        roots.append(journal.sign(batch, "issue", leaves, desk.key))
        batch += 1
    step("signed")
    channels: dict[str, int] = {}
    with bar(length=spool.count, label="register") as progress:
        async with desk.votes.transaction():
            for root, drawn in zip(roots, spool.batches(), strict=True):
                await desk.votes.copy_records_to_table(
                    "register",
                    schema_name="ballot",
                    columns=[
                        "ballot",
                        "credential_digest",
                        "uin",
                        "shard",
                        "channel",
                        "batch",
                        "position",
                        "issued_us",
                    ],
                    records=(
                        (
                            stored.id,
                            one.digest,
                            one.uin,
                            one.shard,
                            one.channel,
                            root.batch,
                            position,
                            issued_us,
                        )
                        for position, one in enumerate(drawn)
                    ),
                )
                await enter_root(desk, stored.id, root)
                for one in drawn:
                    channels[one.channel] = channels.get(one.channel, 0) + 1
                progress.update(len(drawn))
            kind = "credential.generated" if cause == "issued" else "credential.reissued"
            batches = [root.batch for root in roots]
            await desk.event(stored.id, kind, count=spool.count, channels=channels, batches=batches)
            # The commit comes next, and a connection that breaks during it leaves open whether it was done.
            file.keep()
    step("register")
    return roots


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


async def finish_pending(desk: Desk, stored: StoredBallot) -> None:
    """Finish or give up what an interrupted command left; every changing command on codes begins with it."""
    journal = RootJournal(desk.home, stored.id)
    for root in journal.live():
        if root.batch in journal.pushed:
            continue
        entered = await desk.votes.fetchval(
            "SELECT EXISTS (SELECT FROM ballot.register_roots WHERE ballot = $1 AND batch = $2)",
            stored.id,
            root.batch,
        )
        if not entered:
            journal.abandon(root.batch)
        elif root.kind == "issue":
            await _finish(desk, stored, root, journal=journal, step=no_step)
        else:
            # A revocation is at the gate before it is in the register.
            journal.push_done(root.batch)


async def _finish(
    desk: Desk, stored: StoredBallot, root: SignedRoot, *, journal: RootJournal, step: Step
) -> None:
    """Steps 4 and 5 for a batch that is in the register."""
    rows = await desk.votes.fetch(
        """SELECT credential_digest, uin, shard, channel,
                  EXISTS (SELECT FROM ballot.revocations v WHERE v.ballot = r.ballot
                             AND v.credential_digest = r.credential_digest) AS revoked
             FROM ballot.register r WHERE ballot = $1 AND batch = $2 ORDER BY position""",
        stored.id,
        root.batch,
    )
    # Step 4.
    async with desk.people.transaction():
        known = await desk.people.fetchval(
            "SELECT EXISTS (SELECT FROM people.dispatches WHERE ballot = $1 AND batch = $2)",
            stored.id,
            root.batch,
        )
        if not known:
            await desk.people.copy_records_to_table(
                "dispatches",
                schema_name="people",
                columns=["ballot", "uin", "channel", "batch"],
                records=[(stored.id, row["uin"], row["channel"], root.batch) for row in rows],
            )
    step("dispatches")
    # Step 5.
    gate = stored.gate(desk)
    by_shard: dict[int, list[tuple[bytes, bytes, str]]] = {}
    for row in rows:
        if not row["revoked"]:
            entry = (bytes(row["credential_digest"]), bytes(row["uin"]), row["channel"])
            by_shard.setdefault(row["shard"], []).append(entry)
    with bar(length=len(rows), label="gate") as progress:
        for shard, entries in sorted(by_shard.items()):
            for block in chunks(entries, CALL_ROWS_MAX):
                await gate.issue(shard, block)
                progress.update(len(block))
                step("gate")
    journal.push_done(root.batch)
    await desk.event(stored.id, "credential.dispatched", batch=root.batch, count=len(rows))


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
