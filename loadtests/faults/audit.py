"""After the faults: close, check, count, and compare with every receipt that a voter holds."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loadtests.faults.electorate import as_voted
from loadtests.faults.tape import Tape
from loadtests.lifetime.life import Life
from loadtests.staging.stage import StageFault

CHECK_SECONDS_MAX = 600.0
NAMED_MAX = 5


@dataclass(slots=True)
class Found:
    """What the audit found; lost and doubled votes by reference, all that is wrong in sentences."""

    votes: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def audit(life: Life, tape: Tape, summary: dict[str, Any]) -> Found:
    """Everything there is to find on the ballot of the run."""
    found = Found(votes=len(tape.when))
    found.wrong += [f"A voter had an unexpected outcome: {what}." for what in summary["unexpected"]]
    for member, references in tape.holders.items():
        if len(references) > 1:
            found.doubled += sorted(references)
            found.wrong.append(f"Voter {member} holds {len(references)} references.")
    life.scenario = as_voted(life.scenario, life.plan, tape.holders.keys())
    _try(found, life.close)
    told = _check(life, found)
    if told is not None:
        found.lost += [each["where"] for each in told["findings"] if each["kind"] == "lost"]
        found.doubled += [each["where"] for each in told["findings"] if each["kind"] == "doubled"]
        if told["differences"]:
            named = "; ".join(f"{each['where']} {each['what']}" for each in told["findings"][:NAMED_MAX])
            found.wrong.append(f"`ballot check` found {told['differences']:,} differences: {named}.")
    for step in (life.tally, life.verify):
        _try(found, step)
    if life.result.exists():
        _try(found, lambda: _figures(life, found))
    return found


def _figures(life: Life, found: Found) -> None:
    """The count beside what the holders of receipts chose, and every receipt's signature and digest."""
    for figure in (*life.figures(), *life.receipts()):
        if figure.difference:
            found.wrong.append(
                f"{figure.what} {figure.option}: {figure.counted:,} counted, {figure.published:,} expected."
            )


def _check(life: Life, found: Found) -> dict[str, Any] | None:
    """`ballot check` with receipts and signatures, as a program reads it."""
    kept = life.files / "voters" / "receipts.jsonl"
    options = ("--receipts", kept, "--signatures", "--json")
    done = life.stage.attempt("check", life.ballot, *options, seconds=CHECK_SECONDS_MAX)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        found.wrong.append(f"`ballot check` did not finish: {last}")
        return None
    return told


def beside(life: Life, *, junk: int) -> list[str]:
    """What is wrong with the spoilt ballot, but for the `junk` entries, which must all be seen."""
    done = life.stage.attempt("check", life.ballot, "--json", seconds=CHECK_SECONDS_MAX)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return [f"`ballot check {life.ballot}` did not finish: {done.stderr.strip()[-200:]}"]
    counts = {kind for kind, count in told["counts"].items() if count}
    books = {book: difference for book, difference in told["books_differences"].items() if difference}
    expected = {"unexplained"} if junk else set()
    if counts != expected or books != ({"accepted": -junk} if junk else {}):
        return [f"The ballot with {junk} junk entries: {told['counts']}, books {books}."]
    return []


def _try(found: Found, step: Callable[[], object]) -> None:
    """Do a step; what it says against itself is noted, and the next ones are done all the same."""
    try:
        step()
    except StageFault as fault:
        found.wrong.append(str(fault))
