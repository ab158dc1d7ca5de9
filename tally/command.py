"""`ballot tally`: k shares and one export in, one signed result out, and nothing unless all is right."""

import os
import sys
import time
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ballot.encoding import canonical_json
from ballot.turns import Turns
from tally import papers, pool, result, result_file, several, trust
from tally import shares as share_files
from tally.count import Count
from tally.custody import BallotKeys, derive
from tally.papers import Papers, PapersFaults
from tally.sealed_export import SealedExport, open_export
from tally.shares import HeldShare

SET_ASIDE_SHOWN_MAX = 20

_EXISTING = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True, repr=False)
class Counting:
    """One ballot to be counted: its keys, from the shares `held`, and where its result goes."""

    ballot: str
    keys: BallotKeys
    held: list[HeldShare]
    out: Path


@click.command()
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
@click.option(
    "--share",
    "shares",
    type=_EXISTING,
    required=True,
    multiple=True,
    help="A share file, or a directory of them; repeat for each.",
)
@click.option("--from", "export", type=_EXISTING, help="The export to count; without it the desk makes one.")
@click.option(
    "--papers", "papers_file", type=_EXISTING, help="The hand count of papers: question,option,count."
)
@click.option(
    "--key", "key_file", type=_EXISTING, help="The desk's public key, instead of the one pinned here."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Where to write the signed result."
)
@click.option(
    "--processes", type=click.IntRange(1, 256), help="Processes that open votes [default: one a core]."
)
def tally(
    ballots: tuple[str, ...],
    shares: tuple[Path, ...],
    export: Path | None,
    papers_file: Path | None,
    key_file: Path | None,
    out: Path,
    processes: int | None,
) -> None:
    """Open and count the votes of BALLOT, and sign the result.

    Several ballots are counted one after another, and one that cannot be counted keeps none of the others
    from it. Then --out is the directory for BALLOT.json each, --from one with BALLOT.export each, and every
    share says on its line "# Ballot:" of which ballot it is. A ballot with papers is counted by itself.
    """
    turns = Turns(ballots, click.ClickException)
    if papers_file is not None and len(turns.names) > 1:
        raise click.ClickException("--papers is the count of one ballot: count it by itself")
    # What the key holders in the room can put right comes first, before the desk is asked for anything.
    countings = _countings(turns, shares, out)
    hand_count = None if papers_file is None else (papers_file, papers.read(papers_file))
    desk_key = trust.key_for(trust.DESK, key_file=key_file)

    def count(ballot: str, path: Path) -> None:
        _count_and_sign(
            countings[ballot], path, desk_key=desk_key, hand_count=hand_count, processes=processes
        )

    several.each_export(turns, export, count)
    turns.end()


def _countings(turns: Turns, given: tuple[Path, ...], out: Path) -> dict[str, Counting]:
    """Make the keys of every ballot; whoever lacks a share hears of it before anything is counted."""
    outs = several.results(turns.names, out)
    for path in outs.values():
        result_file.refuse_in_the_way(path)
    held = several.held(turns.names, given)
    countings = {}
    for ballot in turns.names:
        with turns.of(ballot):
            if not held[ballot]:
                raise click.ClickException(f"no share of ballot {ballot} was given")
            keys = derive(share_files.secret_of(held[ballot], ballot=ballot), ballot=ballot)
            countings[ballot] = Counting(ballot, keys, held[ballot], outs[ballot])
    turns.end()
    return countings


def _count_and_sign(
    counting: Counting,
    path: Path,
    *,
    desk_key: bytes,
    hand_count: tuple[Path, str] | None,
    processes: int | None,
) -> None:
    """Count one export and write its result, or nothing."""
    ballot, keys = counting.ballot, counting.keys
    with open_export(path, desk=desk_key) as sealed:
        _check_is_for(sealed, ballot=ballot, keys=keys, held=counting.held)
        counted_papers = _papers(sealed, hand_count)
        count = _count(sealed, keys=keys, processes=processes)
        sealed.check_votes()
        told = _result(sealed, count, counted_papers)
    signed_result = result.sign(told, key=keys.result, now_us=time.time_ns() // 1000)
    result_file.write_new(counting.out, canonical_json(signed_result) + b"\n")
    _show(signed_result, count, counting.out)


def _check_is_for(sealed: SealedExport, *, ballot: str, keys: BallotKeys, held: list[HeldShare]) -> None:
    """Refuse an export of another ballot, shares of another key, and a form that cannot be counted."""
    if sealed.manifest.ballot != ballot:
        raise click.ClickException(f"the export is of ballot {sealed.manifest.ballot}, not of {ballot}")
    if (keys.public_key, keys.result_key) != (sealed.page.public_key, sealed.page.result_key):
        names = ", ".join(one.name for one in held)
        raise click.ClickException(
            f"{names}: these are shares of another key than the one {ballot} was opened with"
        )
    ranked = [question.id for question in sealed.page.definition.questions if question.form == "ranked"]
    if ranked:
        raise click.ClickException(f"question {ranked[0]} is ranked, and ranked counting is not yet built")


def _papers(sealed: SealedExport, hand_count: tuple[Path, str] | None) -> Papers:
    """Return the hand count, checked against the number of papers the desk recorded as returned."""
    definition, methods = sealed.page.definition, sealed.manifest.by_method
    returned = sum(number for method, number in methods.items() if method != "electronic")
    if hand_count is None:
        if returned:
            raise click.ClickException(
                f"papers came back by post or at the workplace ({returned}): give their count with --papers"
            )
        return papers.none_of(definition)
    path, content = hand_count
    try:
        return papers.parse(content, definition=definition, returned=returned)
    except PapersFaults as faults:
        raise click.ClickException(f"{path} cannot be counted:\n{faults}") from None


def _count(sealed: SealedExport, *, keys: BallotKeys, processes: int | None) -> Count:
    """Open every vote in one streaming pass."""
    definition = sealed.page.definition
    total = Count.empty(definition)
    chunks = -(-sealed.manifest.votes // pool.CHUNK_VOTES)
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if chunks > pool.CHUNKS_HERE else 0
    parts = pool.counts(
        sealed.chunks(pool.CHUNK_VOTES),
        definition=definition,
        seed=keys.opening,
        processes=min(processes, max(1, chunks)),
    )
    stderr = sys.stderr
    with click.progressbar(
        length=sealed.manifest.votes, label="Opening votes", file=stderr, hidden=not stderr.isatty()
    ) as bar:
        try:
            for votes, part in parts:
                total.merge(part)
                bar.update(votes)
        except BrokenExecutor:
            raise click.ClickException("a process that opens votes was killed; count again") from None
    total.set_aside.sort()
    return total


def _result(sealed: SealedExport, count: Count, counted_papers: Papers) -> dict[str, Any]:
    """Return the unsigned result, or refuse it with every difference in its books."""
    try:
        return result.build(
            definition=sealed.page.definition,
            desk_books=sealed.manifest.books,
            by_method=sealed.manifest.by_method,
            quarantined=sealed.manifest.quarantined,
            count=count,
            papers=counted_papers,
        )
    except result.DoesNotBalance as fault:
        raise click.ClickException(f"the books do not balance, so there is no result:\n{fault}") from None


def _show(told: dict[str, Any], count: Count, out: Path) -> None:
    """Print the result for the people in the room."""
    click.echo(f"ballot      {told['ballot']}")
    click.echo(f"entitled    {told['entitled']:>9,}")
    click.echo(f"votes cast  {told['votes_cast']:>9,}   turnout {told['turnout']:.1%}")
    for question in told["questions"]:
        click.echo(f"question {question['id']}")
        for option, number in question["counts"].items():
            click.echo(f"  {option:<20}{number:>9,}")
        click.echo(f"  {'(spoilt)':<20}{question['spoilt']:>9,}")
    for reason, number in told["set_aside"].items():
        click.echo(f"set aside   {number:>9,}   {reason}")
    for line, reason in count.set_aside[:SET_ASIDE_SHOWN_MAX]:
        click.echo(f"  line {line} of the export: {reason}")
    for reason, number in told["quarantined"].items():
        click.echo(f"quarantined {number:>9,}   {reason}")
    click.echo(f"signed by result key {told['key_id']}: {out}")
