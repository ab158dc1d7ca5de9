"""`ballot roll import`: the whole roll or nothing; people in one cluster, UINs in the other, unlinked."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ballot.turns import Turns
from runtime.progress import Bar, bar
from scrutineer import ballots, roll_file, voters
from scrutineer.files import refuse_irregular
from scrutineer.session import Desk, changing, run_desk
from scrutineer.voters import PeopleKeys

UIN_BYTES = 16
NONCE_BYTES = 12
ELECTORATE_ROWS = 5_000

#: Called with the name of each finished step; a test's may raise there.
Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """Do nothing between steps, as in every real run."""


@click.group()
def roll() -> None:
    """Import the electorate of a ballot."""


@roll.command("import")
@click.argument("pairs", metavar="BALLOT FILE...", nargs=-1, required=True)
def import_(pairs: tuple[str, ...]) -> None:
    """Import voters of BALLOT from FILE: UTF-8 CSV with member_id,name,email,mobile,address.

    Every fault is listed with its line, and nothing is imported unless there is none. Running it again with
    the same file finishes what a crash left undone. Any number of ballots may be named, each with its file.
    """
    if len(pairs) % 2:
        raise click.UsageError("Missing argument 'FILE': each ballot is named with its file.")
    files = {ballot: Path(file) for ballot, file in zip(pairs[::2], pairs[1::2], strict=True)}
    if len(files) < len(pairs) // 2:
        raise click.UsageError("A ballot is named twice.")
    for file in files.values():
        if not file.exists():
            raise click.UsageError(f"Invalid value for 'FILE': File '{file}' does not exist.")
        if file.is_dir():
            raise click.UsageError(f"Invalid value for 'FILE': File '{file}' is a directory.")
    turns = Turns(tuple(files), click.ClickException)
    run_desk(lambda desk: _import_each(desk, turns, files), people=True)
    turns.end()


async def _import_each(desk: Desk, turns: Turns, files: Mapping[str, Path]) -> None:
    for ballot, file in files.items():
        with turns.of(ballot):
            added, total = await import_roll(desk, ballot, file)
            if added:
                click.echo(f"{added:,} voters imported; {total:,} are entitled to vote in {ballot}")
            else:
                click.echo(f"this roll was imported before: {total:,} are entitled to vote in {ballot}")


async def import_roll(desk: Desk, ballot: str, file: Path, *, step: Step = no_step) -> tuple[int, int]:
    """Import a roll and give (voters added now, all entitled).

    The order, each step safe to repeat: (1) read and judge the whole file; (2) people, in one transaction
    of the user database; (3) their UINs, in order of UIN, which is random, in one transaction of the voter
    database.
    """
    stored = await ballots.load(desk, ballot)
    async with changing(desk, ballot):
        if await ballots.armed(desk, ballot) is not None and not stored.probe:
            raise click.ClickException(f"ballot {ballot!r} has been opened; its roll is fixed")
        refuse_irregular(file)
        digest = roll_file.file_sha256(file)
        known = await desk.people.fetchval(
            "SELECT count(*) FROM people.voters WHERE ballot = $1 AND roll_sha256 = $2", ballot, digest
        )
        if not known:
            # Step 1.
            checked = await _check(desk, ballot, file)
            # Step 2.
            await _import_people(desk, ballot, file, checked)
        step("people")
        # Step 3.
        return await _import_electorate(desk, ballot, digest)


async def _check(desk: Desk, ballot: str, file: Path) -> roll_file.Checked:
    seen = roll_file.Seen()
    keys = PeopleKeys.from_home(desk.home)
    async with desk.people.transaction(readonly=True):
        async for person in voters.everyone(desk.people, ballot, keys):
            earlier = roll_file.Voter(0, person.member_id, "", person.email, person.mobile, person.address)
            for kind, value in roll_file.unique_keys(earlier):
                seen.add(kind, value)
    try:
        return roll_file.check(file, seen=seen)
    except roll_file.RollFaults as faults:
        raise click.ClickException(f"nothing is imported from {file}:\n{faults}") from None


async def _import_people(desk: Desk, ballot: str, file: Path, checked: roll_file.Checked) -> None:
    """Step 2. If the file is not the one that was checked, the COPY fails and the transaction is nothing."""
    keys = PeopleKeys.from_home(desk.home)
    with bar(length=checked.voters, label="people") as progress:
        try:
            async with desk.people.transaction():
                await desk.people.copy_records_to_table(
                    "voters",
                    schema_name="people",
                    columns=["ballot", "uin", "member", "sealed", "roll_sha256"],
                    records=_people_rows(ballot, file, checked, keys, progress),
                )
        except roll_file.RollFaults as faults:
            raise click.ClickException(f"nothing is imported from {file}:\n{faults}") from None


def _people_rows(
    ballot: str, file: Path, checked: roll_file.Checked, keys: PeopleKeys, progress: Bar
) -> Iterator[tuple[Any, ...]]:
    for voter in roll_file.read(file, checked):
        uin = secrets.token_bytes(UIN_BYTES)
        details = {column: getattr(voter, column) for column in roll_file.COLUMNS}
        sealed = keys.seal(ballot, uin, details, nonce=secrets.token_bytes(NONCE_BYTES))
        yield ballot, uin, keys.member_digest(ballot, voter.member_id), sealed, checked.sha256
        progress.update(1)


async def _import_electorate(desk: Desk, ballot: str, digest: bytes) -> tuple[int, int]:
    """Step 3: whoever is in the user database and not yet in the electorate."""
    total = await desk.people.fetchval("SELECT count(*) FROM people.voters WHERE ballot = $1", ballot)
    some = await desk.votes.fetchval(
        "SELECT EXISTS (SELECT FROM ballot.electorate WHERE ballot = $1)", ballot
    )
    added = 0
    with bar(length=total, label="UINs") as progress:
        async with desk.people.transaction(readonly=True), desk.votes.transaction():
            async for block in _blocks(voters.uins(desk.people, ballot)):
                there = await _entered(desk, ballot, block) if some else frozenset()
                missing = [(ballot, uin) for uin in block if uin not in there]
                if missing:
                    await desk.votes.copy_records_to_table(
                        "electorate", schema_name="ballot", columns=["ballot", "uin"], records=missing
                    )
                added += len(missing)
                progress.update(len(block))
            if added:
                await desk.event(ballot, "roll.received", file_sha256=digest.hex(), voters=added)
                await desk.event(ballot, "uin.generated", count=added)
    return added, total


async def _entered(desk: Desk, ballot: str, block: list[bytes]) -> frozenset[bytes]:
    rows = await desk.votes.fetch(
        "SELECT uin FROM ballot.electorate WHERE ballot = $1 AND uin = ANY($2)", ballot, block
    )
    return frozenset(row["uin"] for row in rows)


async def _blocks(items: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    block: list[bytes] = []
    async for item in items:
        block.append(item)
        if len(block) == ELECTORATE_ROWS:
            yield block
            block = []
    if block:
        yield block
