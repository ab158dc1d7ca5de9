"""Who tried and did not succeed: counted from the log of attempts, never named.

An attempt is in the log if it reached the gate with an issued code. A voter succeeded when a vote or a
counted return of theirs is stored; who tried and has neither is counted here, with why and when they last
tried. The margin between the leading two options says how much they could have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ballot import signed
from ballot.suite import SignatureInvalid
from ops.check.result import read_result
from runtime import progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from ops.availability.timeline import Outage

QUERIES_FILE = Path(__file__).with_name("attempts.sql")
HOUR_US = 3_600_000_000
EVER_US = (0, 1 << 62)
#: Whoever tried last so long before an outage, or in it, may have been kept from voting by it.
BEFORE_OUTAGE_US = 900_000_000

WHY = {
    "ready": "were told that their code is good, and no vote came",
    "revoked": "used only a code that had been replaced",
    "before": "tried only before it opened",
    "after": "tried only after it closed",
    "put_aside": "sent a vote that is in quarantine",
    "other": "were refused for another reason",
}
#: Those who could have voted at the time.
WHILE_OPEN = frozenset({"ready", "revoked", "put_aside", "other"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Attempts of one kind and outcome, in one hour (microseconds since 1970) or in all (None)."""

    hour_us: int | None
    kind: str
    outcome: str
    attempts: int
    codes: int


@dataclass(frozen=True, slots=True)
class Never:
    """Voters who tried and never succeeded, whose last attempt was in that hour, and why."""

    hour_us: int
    why: str
    voters: int
    codes: int
    attempts: int
    near_outage: int


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much the leading option of a question is before the next."""

    question: str
    leading: str
    next: str
    votes: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the log has of one ballot; with a result, the margins."""

    attempts: int
    codes: int
    outcomes: Sequence[Outcome]
    never: Sequence[Never]
    margins: Sequence[Margin] | None

    def voters(self, *why: str) -> int:
        """How many voters never succeeded, for these reasons; for any without a reason given."""
        return sum(each.voters for each in self.never if not why or each.why in why)

    @property
    def while_open(self) -> int:
        """How many never succeeded who tried while votes were taken."""
        return self.voters(*WHILE_OPEN)


@cache
def queries() -> Mapping[str, str]:
    """The queries of `attempts.sql` by name."""
    blocks = (block.partition("\n") for block in QUERIES_FILE.read_text("utf-8").split("\n\n"))
    return {
        header.removeprefix("-- query: "): query
        for header, _, query in blocks
        if header.startswith("-- query: ")
    }


async def read(
    connection: asyncpg.Connection,
    ballot: str,
    *,
    opens_us: int,
    outages: Sequence[Outage],
    between_us: tuple[int, int] = EVER_US,
    result: Path | None = None,
) -> Attempts:
    """Everything in the log between two moments, in one snapshot."""
    margins = None if result is None else await read_margins(connection, ballot, result)
    about = (ballot, *between_us)
    edges = [[each.from_us - BEFORE_OUTAGE_US for each in outages], [each.to_us for each in outages]]
    with progress.bar(length=len(queries()), label="counting the attempts") as bar:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            totals = await connection.fetchrow(queries()["totals"], *about)
            bar.update(1)
            outcomes = await connection.fetch(queries()["outcomes"], *about)
            bar.update(1)
            never = await connection.fetch(queries()["never"], *about, opens_us, *edges)
            bar.update(1)
    return Attempts(
        totals["attempts"],
        totals["codes"],
        [Outcome(_hour(row["hour"]), *tuple(row)[1:]) for row in outcomes],
        [Never(row["hour"] * HOUR_US, *tuple(row)[1:]) for row in never],
        margins,
    )


def _hour(hour: int | None) -> int | None:
    return None if hour is None else hour * HOUR_US


async def read_margins(connection: asyncpg.Connection, ballot: str, file: Path) -> list[Margin]:
    """The margins of the signed result in `file`, which must be this ballot's."""
    value = read_result(file)
    row = await connection.fetchrow(
        "SELECT definition_sha256, result_key FROM ballot.ballots JOIN ballot.ballot_keys USING (ballot)"
        " WHERE ballot = $1",
        ballot,
    )
    if row is None or value.get("definition_sha256") != row["definition_sha256"].hex():
        raise click.ClickException(f"{file} is the result of another ballot or definition")
    try:
        signed.verify_object(value, label=signed.RESULT_LABEL, public=bytes(row["result_key"]))
    except (SignatureInvalid, ValueError, TypeError) as error:
        raise click.ClickException(f"{file} is not signed by the result key on record") from error
    return margins(value)


def margins(result: Mapping[str, Any]) -> list[Margin]:
    """The margin of each question that has two options to compare."""
    found = []
    for question in result["questions"]:
        ranked = sorted(question["counts"].items(), key=lambda item: (-item[1], item[0]))
        if len(ranked) > 1:
            (leading, most), (following, fewer) = ranked[:2]
            found.append(Margin(str(question["id"]), leading, following, most - fewer))
    return found
