"""What must hold where the close was put off: in time, and who voted between the two closes is counted."""

from collections.abc import Iterator

from ballot.encoding import Malformed, parse_time
from loadtests.crowds.reckoning import AT_FIRST_ACCEPTED
from loadtests.judging.verdict import Judgement, Weight, not_recorded
from loadtests.lifetime.extension import FILE
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import US

PUT_OFF = "the close is put off while people vote"
BETWEEN = "votes are taken between the first close and the last"
AIMED = "votes aimed at the first close are taken: it had been put off"


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Nothing where it was not to be. Whoever was refused in between is among the outcomes of voters."""
    if not run.table("run.json").get("extends_s"):
        return
    told = run.table(FILE)
    yield from aimed(run)
    if "done_us" not in told:
        yield not_recorded(PUT_OFF, "before the first close")
        return
    left_s = (told["first_us"] - told["done_us"]) / US
    wrong = told.get("wrong")
    found = (
        str(wrong)
        if wrong
        else f"{left_s:,.1f} s before it, by {(told['last_us'] - told['first_us']) / US:,.0f} s"
    )
    yield Judgement(PUT_OFF, "before the first close", found, ok=left_s > 0 and not wrong)
    between = 0
    for line in run.lines("receipts.jsonl"):
        try:
            between += told["first_us"] <= parse_time(str(line.get("accepted_at", ""))) < told["last_us"]
        except Malformed:
            continue  # another judgement names it
    yield Judgement(
        BETWEEN, "at least 1", f"{between:,}", ok=between > 0, weight=Weight.FAILS if wrong else Weight.VOIDS
    )


def aimed(run: RunDirectory) -> Iterator[Judgement]:
    """Everybody who aimed at the first close holds a receipt; nothing where nobody did."""
    planned = int(run.table("run.json").get("at_first_close", 0))
    if not planned:
        return
    counts = run.table("summary.json").get("counts")
    if not isinstance(counts, dict):
        yield not_recorded(AIMED, f"all {planned:,}")
        return
    accepted = int(counts.get(AT_FIRST_ACCEPTED, 0))
    yield Judgement(AIMED, f"all {planned:,}", f"{accepted:,}", ok=accepted == planned)
