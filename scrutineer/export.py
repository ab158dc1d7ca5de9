"""`ballot export`: from a closed, drained, balanced ballot; checked again, nameless, in random order."""

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click

from ballot import document as documents
from ballot import export_file, signed
from ballot.encoding import Malformed, canonical_json
from ballot.suite import SignatureInvalid
from ballot.turns import Turns
from runtime.progress import bar
from scrutineer import ballots, bookkeeping, electorate, references
from scrutineer.ballots import Armed, StoredBallot
from scrutineer.bookkeeping import Account
from scrutineer.closing import backlog
from scrutineer.files import disk_errors, open_new, outs_of, refuse_existing, sync_directory
from scrutineer.register_check import check_register
from scrutineer.reverify import Examiner, StoredVote, examine_all
from scrutineer.session import Desk, changing, run_desk
from scrutineer.shuffle import Shuffler
from scrutineer.voters import FETCH_ROWS

FAULTS_SHOWN_MAX = 10


@click.command()
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Export file to write (mode 0600), never overwritten; of several ballots, the directory for them.",
)
def export(ballots: tuple[str, ...], out: Path) -> None:
    """Write the sealed votes of BALLOT, without identifiers and shuffled, in one signed file for the tally.

    Refuses until the ballot is closed, every accepted vote is stored and the books balance. Every vote's
    signature and the issue register are checked again. Several ballots become DIRECTORY/BALLOT.export each;
    those that can be exported are, whatever comes of the others.
    """
    turns = Turns(ballots, click.ClickException)
    outs = outs_of(turns.names, out, ending=export_file.SUFFIX)
    run_desk(lambda desk: _export_each(desk, turns, outs))
    turns.end()


async def _export_each(desk: Desk, turns: Turns, outs: Mapping[str, Path]) -> None:
    for ballot, out in outs.items():
        with turns.of(ballot):
            manifest = await export_votes(desk, ballot, out)
            click.echo(f"{manifest['votes']:,} votes exported to {out}")
            click.echo(f"votes_sha256  {manifest['votes_sha256']}")


async def export_votes(desk: Desk, ballot: str, out: Path) -> dict[str, Any]:
    """Write an export and give its signed manifest.

    (1) closed on every shard, and drained; (2) the books balance; (3) register, electorate and document are
    what the desk signed; (4) every vote is examined again while it is scattered; (5) shuffled, signed,
    written whole, logged.
    """
    refuse_existing(out)
    stored = await ballots.load(desk, ballot)
    armed = await ballots.armed(desk, ballot)
    if armed is None:
        raise click.ClickException(f"ballot {ballot!r} was never opened")
    async with changing(desk, ballot, "export"):
        # Steps 1 and 2.
        await _closed_and_drained(desk, stored)
        account = await _balanced(desk, stored)
        # Step 3.
        faults = [fault.text for fault in await check_register(desk, stored)]
        if faults:
            await _refuse(desk, ballot, "the issue register is not what the desk signed", faults)
        faults = await electorate.faults(desk, stored)
        if faults:
            await _refuse(desk, ballot, "the electorate is not what the desk signed", faults)
        await _check_document(desk, stored, armed)
        await _note_copies(desk, ballot)
        # Steps 4 and 5.
        with disk_errors(out, note="; no file is left"), Shuffler(out.parent) as shuffler:
            await _examine(desk, stored, shuffler, count=account.books.stored)
            return await _write(desk, stored, armed, account, shuffler=shuffler, out=out)


async def _closed_and_drained(desk: Desk, stored: StoredBallot) -> None:
    """Step 1. The backlog is read last: nothing but returns enters the stream of a closed shard."""
    gate = stored.gate(desk)
    states = await gate.states()
    still = [state.shard for state in states if not state.closed]
    if still or not states:
        raise click.ClickException(f"ballot {stored.id!r} is still open; it is exported once it has closed")
    for state in states:
        latched, _ = await gate.latch(state.shard)
        if not latched:
            raise click.ClickException(
                f"shard {state.shard} of {stored.id!r} is open again: the queue's clock was set back; see "
                f"that it is right, then run `ballot close {stored.id}` again"
            )
    waiting = sum([(await backlog(desk, stored, shard)).entries for shard in range(stored.shards)])
    if waiting:
        raise click.ClickException(
            f"{waiting:,} entries of {stored.id!r} are not stored yet; "
            f"`ballot close {stored.id}` waits for them"
        )


async def _balanced(desk: Desk, stored: StoredBallot) -> Account:
    """Step 2: a difference of one stops here, with the votes it is about as far as they can be named."""
    account = await bookkeeping.account(desk, stored)
    wrong = {name: value for name, value in account.differences().items() if value}
    books = account.books
    if not stored.electronic and (books.accepted or books.stored):
        told = [f"{books.accepted:,} electronic votes were accepted and {books.stored:,} are stored"]
        await _refuse(desk, stored.id, "this ballot has no electronic voting", told)
    unmatched = await references.faults(desk, stored)
    if wrong:
        told = [f"{name}: a difference of {value:,}" for name, value in wrong.items()]
        await _refuse(desk, stored.id, "the books do not balance", told + unmatched)
    if unmatched:
        await _refuse(desk, stored.id, "the votes are not those that the gate accepted", unmatched)
    return account


async def _check_document(desk: Desk, stored: StoredBallot, armed: Armed) -> None:
    """Step 3: the tally counts by this document, so the copy of `voterdb` must be the one that was signed."""
    try:
        document = documents.verify(armed.document, armed.document_signature, desk.key.public)
        same = document.definition.canonical == stored.definition.canonical
    except (SignatureInvalid, Malformed):
        same = False
    if not same:
        told = "the voter database has another document, signature or definition than the desk's own"
        await _refuse(desk, stored.id, "the ballot document is not what the desk signed", [told])


async def _refuse(desk: Desk, ballot: str, reason: str, faults: list[str]) -> None:
    await desk.event(ballot, "anomaly.raised", act="export refused", reason=reason, faults=len(faults))
    shown = faults[:FAULTS_SHOWN_MAX]
    if len(faults) > FAULTS_SHOWN_MAX:
        shown.append(f"and {len(faults) - FAULTS_SHOWN_MAX:,} more")
    raise click.ClickException("\n".join([f"no export: {reason}", *shown]))


async def _note_copies(desk: Desk, ballot: str) -> None:
    """Equal sealed bytes under two credentials: both stay in, because the copy does not open (DESIGN 6).

    Someone should know.
    """
    rows = await desk.votes.fetch(
        """SELECT array_agg(reference ORDER BY accepted_us) AS references_ FROM ballot.votes
            WHERE ballot = $1 GROUP BY sealed_sha256 HAVING count(*) > 1""",
        ballot,
    )
    for row in rows:
        references = list(row["references_"])
        await desk.event(
            ballot, "security.attack_suspected", classification="copied vote", references=references
        )
        click.echo(
            f"alarm: votes {', '.join(references)} have the same sealed bytes; a copy will not open", err=True
        )


async def _examine(desk: Desk, stored: StoredBallot, shuffler: Shuffler, *, count: int) -> None:
    """Step 4."""
    definition = stored.definition
    examiner = Examiner(stored.id, definition.sha256, desk.home.secret("credential-digest"))
    faults: list[str] = []
    with bar(length=count, label="votes") as progress:
        async with desk.votes.transaction(readonly=True):
            async for lines, wrong in examine_all(examiner, _votes(desk, stored.id)):
                for line in lines:
                    shuffler.add(line)
                faults += wrong
                progress.update(len(lines) + len(wrong))
    if faults:
        await _refuse(desk, stored.id, "stored votes fail their checks", faults)
    if shuffler.lines != count:
        await _refuse(
            desk,
            stored.id,
            "the votes changed while they were read",
            [f"{shuffler.lines:,} of {count:,} read"],
        )


async def _votes(desk: Desk, ballot: str) -> AsyncIterator[StoredVote]:
    statement = """
        SELECT v.reference, v.uin, v.accepted_us, v.credential_digest, v.credential, v.nonce, v.sealed,
               v.signature, v.sealed_sha256, r.uin AS registered_uin, x.revoked_us
          FROM ballot.votes v
          LEFT JOIN ballot.register r ON r.ballot = v.ballot AND r.credential_digest = v.credential_digest
          LEFT JOIN ballot.revocations x ON x.ballot = v.ballot AND x.credential_digest = v.credential_digest
         WHERE v.ballot = $1"""
    async for row in desk.votes.cursor(statement, ballot, prefetch=FETCH_ROWS):
        yield StoredVote(**dict(row))


async def _write(
    desk: Desk, stored: StoredBallot, armed: Armed, account: Account, *, shuffler: Shuffler, out: Path
) -> dict[str, Any]:
    """Step 5: whole under its own name or not at all."""
    exported_us, _ = await desk.now()
    manifest = export_file.build_manifest(
        ballot=stored.id,
        document=armed.document,
        document_signature=armed.document_signature,
        definition_sha256=stored.definition.sha256,
        entitled=account.books.entitled,
        votes=shuffler.lines,
        votes_sha256=shuffler.shuffle(),
        books=account.books,
        by_method=account.by_method,
        quarantined=account.quarantined,
        exported_us=exported_us,
    )
    whole = signed.sign_object(manifest, label=signed.EXPORT_LABEL, key=desk.key)
    line = canonical_json(whole) + b"\n"
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with open_new(partial) as file:
            file.write(line)
            shuffler.copy_to(file)
            file.flush()
            os.fsync(file.fileno())
        await desk.event(
            stored.id,
            "votes.exported",
            votes=whole["votes"],
            votes_sha256=whole["votes_sha256"],
            manifest_sha256=hashlib.sha256(line).hexdigest(),
            by_method=account.by_method,
        )
        # link, not rename: a file that appeared under this name meanwhile is not replaced.
        try:
            os.link(partial, out)
        except FileExistsError:
            refuse_existing(out)
            raise
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(out.parent)
    return whole
