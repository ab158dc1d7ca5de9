"""Every reason not to open a ballot, the first that holds."""

import click

from ballot import document as documents
from ballot.encoding import format_time
from scrutineer import ballots, room
from scrutineer.ballots import StoredBallot
from scrutineer.session import Desk


async def ready(desk: Desk, stored: StoredBallot) -> documents.BallotDocument:
    """Give the document that may be signed and published, or say why the ballot cannot open yet."""
    held = await _keys(desk, stored)
    _refuse_ranked(stored)
    await _voters(desk, stored)
    now_us, _ = await desk.now()
    if stored.definition.closes_us <= now_us:
        raise click.ClickException(
            f"ballot {stored.id!r} would have closed at {format_time(stored.definition.closes_us)}"
        )
    await room.require(desk, stored)
    return documents.build(stored.definition, public_key=held.public_key, result_key=held.result_key)


async def _keys(desk: Desk, stored: StoredBallot) -> ballots.BallotKeys:
    held = await ballots.keys(desk, stored.id)
    if held is None:
        raise click.ClickException(
            f"ballot {stored.id!r} has no keys; the key holders make them with `ballot keys create`"
        )
    if not held.rehearsals:
        raise click.ClickException(
            f"the key holders of {stored.id!r} have not rehearsed; `ballot keys test` does it"
        )
    return held


def _refuse_ranked(stored: StoredBallot) -> None:
    """Votes that nobody can count are not taken."""
    ranked = [question.id for question in stored.definition.questions if question.form == "ranked"]
    if ranked:
        raise click.ClickException(
            f"ballot {stored.id!r} is not opened: question {ranked[0]} is ranked, and ranked counting is not "
            "yet built"
        )


async def _voters(desk: Desk, stored: StoredBallot) -> None:
    """A roll, whole in both databases, and a code for each voter if votes are cast online."""
    row = await desk.votes.fetchrow(
        """SELECT (SELECT count(*) FROM ballot.electorate WHERE ballot = $1) AS entitled,
                  (SELECT count(DISTINCT uin) FROM ballot.register WHERE ballot = $1) AS holders""",
        stored.id,
    )
    entitled, holders = row["entitled"], row["holders"]
    people = await desk.people.fetchval("SELECT count(*) FROM people.voters WHERE ballot = $1", stored.id)
    if not people:
        raise click.ClickException(f"ballot {stored.id!r} has no roll; `ballot roll import` reads one")
    if people != entitled:
        raise click.ClickException("the roll import did not finish; run it again with the same file")
    if stored.electronic and holders != entitled:
        raise click.ClickException(
            f"{entitled - holders:,} of {entitled:,} voters have no code yet; "
            "`ballot codes issue` gives them one"
        )
