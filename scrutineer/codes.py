"""`ballot codes`.

One working code a voter, in exactly one dispatch file, and nowhere else in readable form.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import click

from ballot.turns import Turns
from scrutineer import ballots, dispatch, issuing, pushing, reissuing, voters
from scrutineer.ballots import StoredBallot
from scrutineer.dispatch import DispatchFile
from scrutineer.files import outs_of, read_bounded, refuse_existing
from scrutineer.making import Recipient
from scrutineer.reissuing import Reissued
from scrutineer.roll import Step, no_step
from scrutineer.roots import RootJournal
from scrutineer.session import Desk, changing, run_desk

#: A list of members to reissue to; a longer one is a new roll.
MEMBERS_MAX = 100_000
#: A hundred thousand member ids of 64 characters, four bytes each at most.
MEMBERS_BYTES_MAX = 32 * 1024 * 1024

OUT = click.Path(dir_okay=False, path_type=Path)
TO = click.option(
    "--to",
    "keyfile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Seal the file to the dispatch house's public key in this file (HPKE, the suite of the votes).",
)


@click.group()
def codes() -> None:
    """Issue access codes to voters, or replace lost ones."""


@codes.command("issue")
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Dispatch file to write (CSV, mode 0600), never overwritten; of several ballots, their directory.",
)
@TO
def issue_(ballots: tuple[str, ...], out: Path, keyfile: Path | None) -> None:
    """Give every voter of BALLOT who never had one an access code, in one file for the dispatch house.

    The file is the only place where codes exist: member_id,channel,destination,code,link. Running it again
    finishes what a crash left undone and writes only the voters that are missing. Several ballots become
    DIRECTORY/BALLOT.csv each.
    """
    to = dispatch.read_key(keyfile) if keyfile else None
    turns = Turns(ballots, click.ClickException)
    outs = outs_of(turns.names, out, ending=".csv")
    run_desk(lambda desk: _issue_each(desk, turns, outs, to), people=True)
    turns.end()


async def _issue_each(desk: Desk, turns: Turns, outs: Mapping[str, Path], to: bytes | None) -> None:
    fingerprint = ""
    for ballot, out in outs.items():
        with turns.of(ballot):
            if issued := await issue_all(desk, ballot, out, to=to):
                fingerprint = desk.key.key_id
                click.echo(f"{issued:,} codes issued in {out}")
                continue
            click.echo(
                f"every voter of {ballot} has been issued a code; no file is written; their codes are in"
            )
            for path in RootJournal(desk.home, ballot).live_files():
                click.echo(f"  {path}")
    if fingerprint:
        click.echo(
            f"for the letter: key fingerprint {grouped(fingerprint)}, which the voter's page shows as well"
        )


async def issue_all(
    desk: Desk, ballot: str, out: Path, *, to: bytes | None = None, step: Step = no_step
) -> int:
    """Issue to every voter without a code; gives how many that were."""
    stored = await _with_codes(desk, ballot)
    async with changing(desk, ballot):
        await pushing.finish_pending(desk, stored)
        journal = RootJournal(desk.home, ballot)
        missing = await _codeless(desk, stored)
        if missing:
            issuing.refuse_leftover(journal, out)
        issuing.tell_abandoned(journal)
        if not missing:
            return 0
        refuse_existing(out)
        series = issuing.series_of(desk.home, stored)
        recipients = _recipients(desk, stored)
        with DispatchFile(out, ballot=ballot, to=to) as file:
            return await issuing.issue(
                desk, stored, recipients, file, series=series, count=missing, cause="issued", step=step
            )


async def _with_codes(desk: Desk, ballot: str) -> StoredBallot:
    stored = await ballots.load(desk, ballot)
    if not stored.electronic:
        raise click.ClickException(f"ballot {ballot!r} has no electronic voting, so it has no codes")
    return stored


async def _codeless(desk: Desk, stored: StoredBallot) -> int:
    people = await desk.people.fetchval("SELECT count(*) FROM people.voters WHERE ballot = $1", stored.id)
    entitled = await desk.votes.fetchval(
        "SELECT count(*) FROM ballot.electorate WHERE ballot = $1", stored.id
    )
    if not people:
        raise click.ClickException(f"ballot {stored.id!r} has no roll yet; `ballot roll import` reads one")
    if people != entitled:
        raise click.ClickException("the roll import did not finish; run it again with the same file")
    holders = await desk.votes.fetchval(
        "SELECT count(DISTINCT uin) FROM ballot.register WHERE ballot = $1", stored.id
    )
    return int(entitled - holders)


async def _recipients(desk: Desk, stored: StoredBallot) -> AsyncIterator[Sequence[Recipient]]:
    """Give the voters who never had a code, in blocks, in order of UIN, which is random."""
    some = await desk.votes.fetchval(
        "SELECT EXISTS (SELECT FROM ballot.register WHERE ballot = $1)", stored.id
    )
    async for block in voters.sealed(desk.people, stored.id):
        holders = await reissuing.shards_of(desk, stored, [uin for uin, _ in block]) if some else {}
        yield [(uin, details, None) for uin, details in block if uin not in holders]


@codes.command("reissue")
@click.argument("ballot")
@click.argument("member_ids", metavar="[MEMBER_ID]...", nargs=-1)
@click.option(
    "--members",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one member id a line.",
)
@click.option(
    "--out", type=OUT, required=True, help="Dispatch file to write (CSV, mode 0600); never overwritten."
)
@TO
def reissue_(
    ballot: str, member_ids: tuple[str, ...], members: Path | None, out: Path, keyfile: Path | None
) -> None:
    """Give members new codes; all their earlier codes stop working at once.

    Refuses everything if one of them is not on the roll or has voted. A voter whose only recorded vote was
    quarantined as bad_signature or unreadable is released and may vote again.
    """
    wanted = list(dict.fromkeys([*member_ids, *(_read_members(members) if members else [])]))
    if not wanted:
        raise click.ClickException("name at least one member id, or a file of them with --members")
    to = dispatch.read_key(keyfile) if keyfile else None
    done = run_desk(lambda desk: reissue_some(desk, ballot, wanted, out, to=to), people=True)
    if done.codes:
        click.echo(f"{done.codes:,} codes reissued in {out}")
    if done.voted_meanwhile:
        raise click.ClickException(
            "these voted while their code was being replaced and get none: "
            + reissuing.listed(done.voted_meanwhile)
        )


async def reissue_some(
    desk: Desk, ballot: str, members: list[str], out: Path, *, to: bytes | None = None, step: Step = no_step
) -> Reissued:
    """Replace the codes of `members`, whole or not at all."""
    stored = await _with_codes(desk, ballot)
    async with changing(desk, ballot):
        states = await stored.gate(desk).states()
        if states and all(state.closed for state in states):
            raise click.ClickException(f"ballot {ballot!r} is closed; a new code could not be used")
        return await reissuing.reissue(desk, stored, members, out, to=to, step=step)


def grouped(fingerprint: str) -> str:
    """A key id as the voter's page shows it, so that a voter can compare it with the letter."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))


def _read_members(file: Path) -> list[str]:
    try:
        text = read_bounded(file, bytes_max=MEMBERS_BYTES_MAX).decode("utf-8-sig")
        lines = [line.strip() for line in text.splitlines()]
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8") from None
    found = [line for line in lines if line]
    if found and found[0] == "member_id":
        found = found[1:]
    if len(found) > MEMBERS_MAX:
        raise click.ClickException(f"{file} names more than {MEMBERS_MAX:,} members")
    return found
