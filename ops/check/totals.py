"""The terms of promise 12, each counted on the side that answers for it; the arithmetic is `ballot.books`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ballot.books import Books

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.check.queue_side import ShardState
    from ops.check.scratch import Scratch

#: Entries that came after the shard described itself are in none of the books, and neither are their marks.
WAITING = """
    FROM entries e WHERE e.kind = 'vote' AND NOT e.late
     AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.reference = e.reference)
     AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.shard = e.shard AND q.entry = e.entry)
"""

#: Codes that were issued; a credential that never was is a finding, and in no book.
IS_USED = """
    EXISTS (SELECT 1 FROM votes v WHERE v.digest = g.digest)
    OR EXISTS (SELECT 1 FROM used_unstored u WHERE u.digest = g.digest)
"""

VOTED = """
    SELECT count(*) FROM marks WHERE method = 'electronic'
     AND reference NOT IN (SELECT reference FROM entries WHERE late AND reference IS NOT NULL)
"""


def books(tables: Scratch, states: Sequence[ShardState]) -> Books:
    """Count every term: `accepted` and `released` are the gate's own counters, the rest are rows."""
    return Books(
        entitled=tables.count("SELECT count(*) FROM electorate"),
        issued=tables.count("SELECT count(*) FROM register"),
        used=tables.count(f"SELECT count(*) FROM register g INDEXED BY register_by_kept WHERE {IS_USED}"),  # noqa: S608  # constants
        unused=_credentials(tables, "c"),
        revoked=_credentials(tables, "r"),
        accepted=sum(state.accepted for state in states),
        unacknowledged=tables.count(f"SELECT count(*) {WAITING}"),  # constants of this module
        stored=tables.count("SELECT count(*) FROM votes"),
        quarantined=tables.count("SELECT count(*) FROM held_votes"),
        released=sum(state.released for state in states),
        voted_electronic=tables.count(VOTED),
        returned_other=tables.count("SELECT count(*) FROM returned WHERE counted"),
    )


def _credentials(tables: Scratch, flag: str) -> int:
    return tables.count(
        "SELECT count(*) FROM credentials c INDEXED BY credentials_by_kept"  # noqa: S608  # constants
        f" CROSS JOIN register g ON g.kept = c.kept WHERE c.flag = '{flag}' AND NOT ({IS_USED})"
    )
