"""Who is entitled to vote, signed by the desk when a ballot opens and kept outside both databases.

Whoever may change the voter database can add an elector to it, but cannot sign one.
"""

import hashlib
from dataclasses import dataclass

import asyncpg
import click

from ballot.signed import verify_object
from ballot.suite import SignatureInvalid
from scrutineer.ballots import StoredBallot
from scrutineer.roots import ELECTORATE_LABEL, RootJournal
from scrutineer.session import Desk
from scrutineer.voters import FETCH_ROWS

#: Both in order of UIN, which is an order of bytes in every cluster.
ENTITLED = "SELECT uin FROM ballot.electorate WHERE ballot = $1 ORDER BY uin"
PEOPLE = "SELECT uin FROM people.voters WHERE ballot = $1 ORDER BY uin"


@dataclass(frozen=True, slots=True)
class Electors:
    """How many, and the SHA-256 of all UINs joined in ascending order."""

    count: int
    sha256: str


async def electors(connection: asyncpg.Connection, statement: str, ballot: str) -> Electors:
    """Read and digest the UINs that `statement` gives, a block at a time."""
    digest, count = hashlib.sha256(), 0
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor(statement, ballot)
        while rows := await cursor.fetch(FETCH_ROWS):
            digest.update(b"".join(bytes(row["uin"]) for row in rows))
            count += len(rows)
    return Electors(count, digest.hexdigest())


async def sign(desk: Desk, stored: StoredBallot) -> None:
    """Sign the electorate into the desk's journal, if it is the roll's; a probe's grows and has no result."""
    if stored.probe:
        return
    found = await electors(desk.votes, ENTITLED, stored.id)
    if found != await electors(desk.people, PEOPLE, stored.id):
        raise click.ClickException(
            f"ballot {stored.id!r} is not opened: the voter database entitles others than those on the roll"
        )
    journal = RootJournal(desk.home, stored.id)
    held = journal.electorate
    if held is None or Electors(held["count"], held["sha256"]) != found:
        journal.sign_electorate(count=found.count, sha256=found.sha256, key=desk.key)


async def faults(desk: Desk, stored: StoredBallot) -> list[str]:
    """Say in what the electorate is not the one that was signed."""
    if stored.probe:
        return []
    held = RootJournal(desk.home, stored.id).electorate
    if held is None:
        return ["the desk's journal has no signed electorate"]
    try:
        verify_object(held, label=ELECTORATE_LABEL, public=desk.key.public)
    except SignatureInvalid:
        return ["the line of the electorate is not signed by the desk's key"]
    if held["ballot"] != stored.id:
        return ["the line of the electorate is another ballot's"]
    return _compared(await electors(desk.votes, ENTITLED, stored.id), held["count"], held["sha256"])


def _compared(found: Electors, count: int, sha256: str) -> list[str]:
    if found.count != count:
        return [f"the desk signed an electorate of {count:,} voters; the voter database has {found.count:,}"]
    if found.sha256 != sha256:
        return [f"the electorate has {found.count:,} voters as the desk signed, but not the same ones"]
    return []
