"""`ballot returns`: who came back by post or at the workplace.

The gate decides which return of a voter counts.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from ballot.encoding import Malformed, format_time, parse_time
from runtime.progress import bar
from scrutineer import ballots, reissuing, voters
from scrutineer.ballots import StoredBallot
from scrutineer.files import read_bounded
from scrutineer.gate import CALL_ROWS_MAX
from scrutineer.roll_file import RollFaults
from scrutineer.session import Desk, changing, run_desk
from scrutineer.voters import PeopleKeys, chunks

COLUMNS = ["member_id", "received_at"]
#: Bytes of a returns file: a million lines of member id and time.
FILE_BYTES_MAX = 128 * 1024 * 1024
LOSERS_SHOWN_MAX = 20
#: Where the voters of a ballot without electronic voting are marked: they have no code that would decide it.
CODELESS_SHARD = 0


@dataclass(frozen=True, slots=True)
class Return:
    """One line of the file."""

    line: int
    member_id: str
    received_us: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the gate made of a file: counts, and each return that lost to an earlier one."""

    counts: Counter[str]
    lost: list[tuple[int, str, str]]


@click.command()
@click.argument("ballot")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--method", type=click.Choice(["postal", "workplace"]), required=True, help="How these voters returned."
)
def returns(ballot: str, file: Path, method: str) -> None:
    """Mark voters of BALLOT who returned by another method, as FILE says: CSV, member_id,received_at.

    The first return recorded for a voter counts. The others are kept, not counted, and listed. Running it
    again with the same file changes nothing.
    """
    outcome = run_desk(lambda desk: record(desk, ballot, file, method), people=True)
    counts = outcome.counts
    click.echo(
        f"{counts['recorded']:,} recorded, {counts['repeated']:,} recorded before, "
        f"{counts['lost']:,} not counted"
    )
    for line, member_id, by in outcome.lost[:LOSERS_SHOWN_MAX]:
        click.echo(f"line {line}: {member_id} has voted already ({by}); this return does not count", err=True)
    if len(outcome.lost) > LOSERS_SHOWN_MAX:
        click.echo(
            f"and {len(outcome.lost) - LOSERS_SHOWN_MAX:,} more; all are in the log of events", err=True
        )


async def record(desk: Desk, ballot: str, file: Path, method: str) -> Outcome:
    """Judge the whole file, then mark its voters at the gate.

    A rerun finds them marked and changes nothing.
    """
    stored = await ballots.load(desk, ballot)
    if method not in stored.definition.methods:
        raise click.ClickException(f"ballot {ballot!r} does not take {method} returns")
    armed = await ballots.armed(desk, ballot)
    states = await stored.gate(desk).states()
    if armed is None or not states:
        raise click.ClickException(f"ballot {ballot!r} was never opened")
    now_us, _ = await desk.now()
    try:
        rows = parse(file, latest_us=min(now_us, max(state.closes_us for state in states)))
    except RollFaults as faults:
        raise click.ClickException(f"nothing is recorded from {file}:\n{faults}") from None
    async with changing(desk, ballot, "returns"):
        return await _mark(desk, stored, rows, method)


def parse(file: Path, *, latest_us: int) -> list[Return]:  # noqa: C901  # one branch a fault, all in one pass
    """Read the file whole or raise RollFaults for all lines; nobody returns later than `latest_us`."""
    try:
        lines = read_bounded(file, bytes_max=FILE_BYTES_MAX).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RollFaults([(error.object.count(b"\n", 0, error.start) + 1, "not UTF-8")]) from None
    faults: list[tuple[int, str]] = []
    found: list[Return] = []
    first_line: dict[str, int] = {}
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if sorted(name.strip() for name in header) != sorted(COLUMNS):
            raise RollFaults([(1, "the header must be member_id,received_at")])
        member_at = [name.strip() for name in header].index("member_id")
        for cells in reader:
            line = reader.line_num
            if not cells:
                continue
            if len(cells) != len(COLUMNS):
                faults.append((line, f"{len(cells)} fields where 2 are wanted"))
                continue
            member_id = cells[member_at].strip()
            if not member_id:
                faults.append((line, "member_id is empty"))
                continue
            if member_id in first_line:
                faults.append((line, f"the member is that of line {first_line[member_id]} too"))
                continue
            first_line[member_id] = line
            try:
                received_us = parse_time(cells[1 - member_at].strip())
            except Malformed as error:
                faults.append((line, f"received_at is not a time: {error}"))
                continue
            if received_us > latest_us:
                faults.append((line, "received_at is in the future or after the ballot closed"))
            found.append(Return(line, member_id, received_us))
    except csv.Error as error:
        faults.append((reader.line_num, f"not readable as CSV: {error}"))
    if not found and not faults:
        faults.append((1, "the file has no return"))
    if faults:
        raise RollFaults(faults)
    return found


async def _mark(desk: Desk, stored: StoredBallot, rows: list[Return], method: str) -> Outcome:
    keys = PeopleKeys.from_home(desk.home)
    people, unknown = await voters.find(desk.people, stored.id, keys, [row.member_id for row in rows])
    if unknown:
        raise click.ClickException(
            f"nothing is recorded, because these are not on the roll: {reissuing.listed(unknown)}"
        )
    shards = await _shards(desk, stored, [person.uin for person in people.values()])
    by_shard: dict[int, list[tuple[Return, bytes]]] = {}
    for row in rows:
        uin = people[row.member_id].uin
        if uin not in shards:
            raise click.ClickException(
                f"nothing is recorded, because the voter of line {row.line} has no code yet, and a voter's "
                "first code decides in which shard they are marked; issue the codes first"
            )
        by_shard.setdefault(shards[uin], []).append((row, uin))
    gate = stored.gate(desk)
    counts: Counter[str] = Counter()
    lost: list[tuple[int, str, str]] = []
    losers: dict[tuple[bytes, str], str] = {}
    with bar(length=len(rows), label="returns") as progress:
        for shard, entries in sorted(by_shard.items()):
            for block in chunks(entries, CALL_ROWS_MAX):
                replies = await gate.record_returns(
                    shard, [(uin, method, row.received_us) for row, uin in block]
                )
                for (row, uin), (outcome, by) in zip(block, replies, strict=True):
                    counts[outcome] += 1
                    if outcome == "lost":
                        lost.append((row.line, row.member_id, by))
                        losers[uin, format_time(row.received_us, decimals=6)] = by
                progress.update(len(block))
    await _write_events(desk, stored.id, method, counts, losers)
    return Outcome(counts, sorted(lost))


async def _shards(desk: Desk, stored: StoredBallot, uins: list[bytes]) -> dict[bytes, int]:
    """Give each voter's shard, as their first code decided it; without codes all are in the first."""
    if not stored.electronic:
        return dict.fromkeys(uins, CODELESS_SHARD)
    return await reissuing.shards_of(desk, stored, uins)


async def _write_events(
    desk: Desk, ballot: str, method: str, counts: Counter[str], losers: dict[tuple[bytes, str], str]
) -> None:
    """One event for the file, and one for each return that lost, once however often the file comes."""
    known = await desk.votes.fetch(
        """SELECT detail->>'uin' AS uin, detail->>'received_at' AS received_at FROM ballot.events
            WHERE ballot = $1 AND kind = 'return.not_counted' AND detail->>'method' = $2""",
        ballot,
        method,
    )
    told = {(row["uin"], row["received_at"]) for row in known}
    async with desk.votes.transaction():
        for (uin, received_at), by in losers.items():
            if (uin.hex(), received_at) not in told:
                await desk.event(
                    ballot,
                    "return.not_counted",
                    uin=uin.hex(),
                    method=method,
                    received_at=received_at,
                    counted=by,
                )
        await desk.event(ballot, "returns.recorded", method=method, **counts)
