"""What gate and record say differently of a voter: listed in the report, in bounds, and never overwritten.

A vote in quarantine, or one that waits, whose voter's mark names another vote is what an attacker or a
damaged copy looks like. It is in order only where that other vote is in the books: stored, released, or
waiting too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ballot import gate_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from ops.recovery.report import BallotReport
    from ops.recovery.streams import Waiting

CONFLICTS_MAX: Final = 1_000
"""Named in the report; more would say no more."""

KNOWN: Final = """
SELECT v.reference FROM ballot.votes v WHERE v.ballot = $1 AND v.reference = ANY ($2)
UNION SELECT r.reference FROM ballot.releases r WHERE r.ballot = $1 AND r.reference = ANY ($2)
"""
RETURNED: Final = "SELECT uin FROM ballot.returns WHERE ballot = $1 AND counted AND uin = ANY ($2)"


def note(report: BallotReport, conflict: str) -> None:
    """Add a conflict to the report, within its bound."""
    if len(report.conflicts) < CONFLICTS_MAX:
        report.conflicts.append(conflict)
    else:
        report.conflicts_more += 1


@dataclass(frozen=True, slots=True)
class _Suspect:
    shard: int
    reference: str
    uin: bytes
    by: str
    other: str | None


@dataclass(slots=True)
class Suspects:
    """Held and waiting votes whose voters' marks name another vote, until it is known what waits."""

    _found: list[_Suspect] = field(default_factory=list)
    _more: int = 0

    def add(self, shard: int, reference: bytes, uin: bytes, mark: bytes) -> None:
        """Keep one, with the mark that its voter has."""
        if len(self._found) >= CONFLICTS_MAX:
            self._more += 1
            return
        has = gate_layout.Mark.from_value(mark)
        self._found.append(_Suspect(shard, gate_layout.reference_text(reference), uin, has.by, has.reference))

    async def judge(
        self, database: asyncpg.Connection, ballot: str, waiting: Sequence[Waiting], report: BallotReport
    ) -> None:
        """Name those whose other vote is not in the books."""
        if not self._found:
            return
        others = [each.other for each in self._found if each.other]
        known = {row["reference"] for row in await database.fetch(KNOWN, ballot, others)}
        known |= {entry.reference for left in waiting for entry in left.entries if entry.vote}
        uins = [each.uin for each in self._found if not each.other]
        papers = {bytes(row["uin"]) for row in await database.fetch(RETURNED, ballot, uins)}
        papers |= {entry.uin for left in waiting for entry in left.entries if entry.won}
        for each in self._found:
            if each.other not in known if each.other else each.uin not in papers:
                note(
                    report,
                    f"shard {each.shard}: {each.reference} is held or waits; its voter's mark is "
                    f"{each.other or each.by}, which is neither stored, released nor waiting",
                )
        report.conflicts_more += self._more

    @staticmethod
    def note(report: BallotReport, conflict: str) -> None:
        """Add what was found elsewhere."""
        note(report, conflict)
