"""Replaces codes: every earlier code of a voter is dead at the gate before a new one is drawn."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ballot import register
from scrutineer import issuing, pushing, voters
from scrutineer.ballots import StoredBallot
from scrutineer.dispatch import DispatchFile
from scrutineer.files import refuse_existing
from scrutineer.gate import CALL_ROWS_MAX, Voted
from scrutineer.making import Recipient
from scrutineer.roll import Step, no_step
from scrutineer.roots import RootJournal
from scrutineer.session import Desk
from scrutineer.voters import PeopleKeys, Person, chunks

#: A quarantined vote for one of these reasons may be somebody else's doing (DESIGN 6), so its voter can be
#: released.
RELEASABLE = ("bad_signature", "unreadable")
MEMBERS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The quarantined entry that is a voter's only recorded vote."""

    shard: int
    entry: str
    uin: bytes
    reference: str


@dataclass(frozen=True, slots=True)
class Reissued:
    """What came of it: codes written, and members whose vote came in while their code was replaced."""

    codes: int
    voted_meanwhile: list[str]


def listed(members: Sequence[str]) -> str:
    """Name members in a sentence, at most twenty of them."""
    more = len(members) - MEMBERS_SHOWN_MAX
    return ", ".join(members[:MEMBERS_SHOWN_MAX]) + (f" and {more:,} more" if more > 0 else "")


async def reissue(
    desk: Desk,
    stored: StoredBallot,
    member_ids: Sequence[str],
    out: Path,
    *,
    to: bytes | None = None,
    step: Step = no_step,
) -> Reissued:
    """Give members new codes; the order, each step safe to repeat.

    (1) judge all members, refusing everything for one that is unknown, has no code or has voted; (2) make
    the file for the new codes, so that no code is revoked which cannot be replaced; (3) revoke at the gate,
    which gives the time; (4) enter the revocations with that time under a signed root; (5) look again who
    has voted: a vote accepted before (3) stands, and its voter gets no code; (6) release voters of
    quarantined votes; (7) issue.
    """
    await pushing.finish_pending(desk, stored)
    journal = RootJournal(desk.home, stored.id)
    issuing.refuse_leftover(journal, out)
    refuse_existing(out)
    issuing.tell_abandoned(journal)
    # Step 1.
    people = await _people(desk, stored, member_ids)
    shards = await _shards(desk, stored, people)
    voted, releasable = await _voted(desk, stored, shards)
    refused = [member for member, person in people.items() if person.uin in voted]
    if refused:
        raise click.ClickException(
            "no code is replaced, because these have voted (or their vote is still being stored): "
            + listed(refused)
        )
    # Step 2.
    series = issuing.series_of(desk.home, stored)
    all_revoked = False
    with DispatchFile(out, ballot=stored.id, to=to) as file:
        try:
            # Steps 3 and 4.
            revoked = await _revoke(desk, stored, shards)
            all_revoked = True
            step("revoked")
            await _enter_revocations(desk, stored, revoked)
            step("revocations")
            # Step 5.
            voted, releasable = await _voted(desk, stored, shards)
            # Step 6.
            for quarantined in releasable.values():
                await _release(desk, stored, quarantined)
            step("released")
            # Step 7.
            ready = {uin: shard for uin, shard in shards.items() if uin not in voted}
            count = 0
            if ready:
                count = await issuing.issue(
                    desk,
                    stored,
                    _recipients(desk, stored, ready),
                    file,
                    series=series,
                    count=len(ready),
                    cause="reissued",
                    step=step,
                )
        except BaseException:
            click.echo(f"this did not finish: {_next(file, stored.id, all_revoked=all_revoked)}", err=True)
            raise
    return Reissued(count, [member for member, person in people.items() if person.uin in voted])


def _next(file: DispatchFile, ballot: str, *, all_revoked: bool) -> str:
    if file.kept:
        return f"the new file holds the codes; `ballot codes issue {ballot}` completes them"
    told = "their old codes are revoked" if all_revoked else "some of their old codes may be revoked"
    return f"{told}; run this again"


async def _recipients(
    desk: Desk, stored: StoredBallot, shards: dict[bytes, int]
) -> AsyncIterator[Sequence[Recipient]]:
    for uins in chunks(sorted(shards), voters.FETCH_ROWS):
        rows = await voters.sealed_of(desk.people, stored.id, uins)
        yield [(uin, details, shards[uin]) for uin, details in rows]


async def _people(desk: Desk, stored: StoredBallot, member_ids: Sequence[str]) -> dict[str, Person]:
    keys = PeopleKeys.from_home(desk.home)
    people, unknown = await voters.find(desk.people, stored.id, keys, member_ids)
    if unknown:
        raise click.ClickException(
            f"no code is replaced, because these are not on the roll: {listed(unknown)}"
        )
    return people


async def _shards(desk: Desk, stored: StoredBallot, people: dict[str, Person]) -> dict[bytes, int]:
    """Give each voter's shard, as their first code decided it."""
    shards = await shards_of(desk, stored, [person.uin for person in people.values()])
    codeless = [member for member, person in people.items() if person.uin not in shards]
    if codeless:
        message = (
            "no code is replaced, because these have none yet (`ballot codes issue` gives one): "
            f"{listed(codeless)}"
        )
        raise click.ClickException(message)
    return shards


async def shards_of(desk: Desk, stored: StoredBallot, uins: Sequence[bytes]) -> dict[bytes, int]:
    """Give the shard of every voter who ever had a code."""
    rows = await desk.votes.fetch(
        "SELECT DISTINCT uin, shard FROM ballot.register WHERE ballot = $1 AND uin = ANY($2)",
        stored.id,
        list(uins),
    )
    return {bytes(row["uin"]): int(row["shard"]) for row in rows}


async def _voted(
    desk: Desk, stored: StoredBallot, shards: dict[bytes, int]
) -> tuple[dict[bytes, Voted], dict[bytes, Quarantined]]:
    """Tell voters who have voted from those whose only vote is quarantined for a releasable reason."""
    gate = stored.gate(desk)
    by_shard: dict[int, list[bytes]] = {}
    for uin, shard in shards.items():
        by_shard.setdefault(shard, []).append(uin)
    voted: dict[bytes, Voted] = {}
    for shard, uins in by_shard.items():
        for block in chunks(uins, CALL_ROWS_MAX):
            marks = await gate.voted(shard, block)
            voted.update((uin, mark) for uin, mark in zip(block, marks, strict=True) if mark is not None)
    references = [mark.reference for mark in voted.values() if mark.by == "e"]
    rows = await desk.votes.fetch(
        """SELECT shard, entry, uin, reference FROM ballot.quarantine q
            WHERE ballot = $1 AND reference = ANY($2) AND reason = ANY($3)
              AND NOT EXISTS (SELECT FROM ballot.votes v WHERE v.ballot = q.ballot AND v.uin = q.uin)""",
        stored.id,
        references,
        list(RELEASABLE),
    )
    releasable: dict[bytes, Quarantined] = {}
    for row in rows:
        uin = bytes(row["uin"])
        if uin in voted and voted[uin].reference == row["reference"]:
            releasable[uin] = Quarantined(row["shard"], row["entry"], uin, row["reference"])
            del voted[uin]
    return voted, releasable


async def _revoke(desk: Desk, stored: StoredBallot, shards: dict[bytes, int]) -> list[tuple[bytes, int]]:
    """Step 3; gives each revoked digest and when.

    A code revoked at the gate by a run that then died is revoked again, later, which harms nobody.
    """
    rows = await desk.votes.fetch(
        """SELECT credential_digest, uin FROM ballot.register r
            WHERE ballot = $1 AND uin = ANY($2)
              AND NOT EXISTS (SELECT FROM ballot.revocations v WHERE v.ballot = r.ballot
                                 AND v.credential_digest = r.credential_digest)
            ORDER BY batch, position""",
        stored.id,
        list(shards),
    )
    gate = stored.gate(desk)
    by_shard: dict[int, list[bytes]] = {}
    for row in rows:
        by_shard.setdefault(shards[bytes(row["uin"])], []).append(bytes(row["credential_digest"]))
    revoked: list[tuple[bytes, int]] = []
    for shard, digests in sorted(by_shard.items()):
        for block in chunks(digests, CALL_ROWS_MAX):
            revoked_us = await gate.revoke(shard, block)
            revoked += [(digest, revoked_us) for digest in block]
    return revoked


async def _enter_revocations(desk: Desk, stored: StoredBallot, revoked: list[tuple[bytes, int]]) -> None:
    """Step 4."""
    if not revoked:
        return
    journal = RootJournal(desk.home, stored.id)
    leaves = [register.revoke_leaf(stored.id, digest, revoked_us) for digest, revoked_us in revoked]
    root = journal.sign(journal.batch_last + 1, "revoke", leaves, desk.key)
    async with desk.votes.transaction():
        await desk.votes.copy_records_to_table(
            "revocations",
            schema_name="ballot",
            columns=["ballot", "credential_digest", "revoked_us", "batch", "position"],
            records=[
                (stored.id, digest, revoked_us, root.batch, position)
                for position, (digest, revoked_us) in enumerate(revoked)
            ],
        )
        await issuing.enter_root(desk, stored.id, root)
        await desk.event(
            stored.id, "credential.deactivated", count=len(revoked), cause="reissued", batch=root.batch
        )
    journal.push_done(root.batch)


async def _release(desk: Desk, stored: StoredBallot, quarantined: Quarantined) -> None:
    """Write the release down, then take the mark away: the next run finishes what dies in between."""
    async with desk.votes.transaction():
        added = await desk.votes.fetchval(
            """INSERT INTO ballot.releases (ballot, shard, entry, uin, reference) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT DO NOTHING RETURNING true""",
            stored.id,
            quarantined.shard,
            quarantined.entry,
            quarantined.uin,
            quarantined.reference,
        )
        if added:
            await desk.event(
                stored.id,
                "credential.reset",
                cause="quarantined",
                shard=quarantined.shard,
                entry=quarantined.entry,
            )
    await stored.gate(desk).release(quarantined.shard, quarantined.uin, quarantined.reference)
