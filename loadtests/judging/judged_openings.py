"""What must hold of many ballots that open at once: each in that second, none before it."""

from collections.abc import Iterator

from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.outside.openings import FILE
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import US

LATEST_S = 1.0
BALLOTS_LISTED = 20


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Nothing of a single ballot."""
    ballots = int(run.table("run.json").get("ballots", 1))
    if ballots < 2:  # noqa: PLR2004  # several
        return
    what, must = f"{ballots:,} ballots open in the same second", f"each within {LATEST_S:g} s of its opening"
    rows = run.rows(FILE)
    if len(rows) != ballots:
        yield not_recorded(what, must)
        return
    after_s = {
        str(row["ballot"]): (row["open_us"] - row["opens_us"]) / US
        for row in rows
        if row["open_us"] is not None
    }
    late = [row["ballot"] for row in rows if after_s.get(row["ballot"], LATEST_S + 1) > LATEST_S]
    found = f"{ballots - len(late):,} of them, the last after {max(after_s.values(), default=0):.2f} s"
    named = tuple(map(str, late[:BALLOTS_LISTED]))
    yield Judgement(what, must, found, ok=not late, weight=Weight.FAILS_ON_TIME, references=named)
    early = tuple(name for name, seconds in after_s.items() if seconds < 0)
    yield Judgement(
        "no ballot opens before its time", "none", f"{len(early):,} did", ok=not early, references=early
    )
    unseen = [row for row in rows if not row["not_open"]]
    yield Judgement(
        "somebody waited at every ballot when it opened",
        "each was asked before, and not open",
        f"so at {ballots - len(unseen):,} of {ballots:,}",
        ok=not unseen,
        weight=Weight.VOIDS,
    )
