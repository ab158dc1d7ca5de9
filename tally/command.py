"""`ballot tally`: k shares and one export in, one signed result out, and nothing unless all is right."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ballot.encoding import canonical_json
from tally import desk, papers, pool, result, trust
from tally import shares as share_files
from tally.count import Count
from tally.custody import BallotKeys, derive
from tally.papers import Papers, PapersFaults
from tally.sealed_export import SealedExport, open_export
from tally.shares import HeldShare

SET_ASIDE_SHOWN_MAX = 20

_EXISTING = click.Path(path_type=Path)


@click.command()
@click.argument("ballot")
@click.option(
    "--share", "shares", type=_EXISTING, required=True, multiple=True, help="A share file; repeat for each."
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
    ballot: str,
    shares: tuple[Path, ...],
    export: Path | None,
    papers_file: Path | None,
    key_file: Path | None,
    out: Path,
    processes: int | None,
) -> None:
    """Open and count the votes of BALLOT, and sign the result."""
    # What the key holders in the room can put right comes first, before the desk is asked for anything.
    _refuse_in_the_way(out)
    held = [share_files.read(path, ballot=ballot) for path in shares]
    keys = derive(share_files.secret_of(held, ballot=ballot), ballot=ballot)
    hand_count = None if papers_file is None else (papers_file, papers.read(papers_file))
    desk_key = trust.key_for(trust.DESK, key_file=key_file)
    with _export_of(ballot, export) as path, open_export(path, desk=desk_key) as sealed:
        _check_is_for(sealed, ballot=ballot, keys=keys, held=held)
        counted_papers = _papers(sealed, hand_count)
        count = _count(sealed, keys=keys, processes=processes or len(os.sched_getaffinity(0)))
        sealed.check_votes()
        told = _result(sealed, count, counted_papers)
    signed_result = result.sign(told, key=keys.result, now_us=time.time_ns() // 1000)
    _write_new(out, canonical_json(signed_result) + b"\n")
    _show(signed_result, count, out)


def _refuse_in_the_way(out: Path) -> None:
    """Say before any work that the result could not be written."""
    if out.exists():
        raise click.ClickException(f"{out} exists already; it is never overwritten: name another file")
    directory = out.absolute().parent
    if not directory.is_dir():
        raise click.ClickException(f"{directory} is not a directory")
    try:
        # Tried, not asked: permissions alone do not tell of a file system that takes no files.
        descriptor, name = tempfile.mkstemp(prefix=".ballot-tally-", dir=directory)
        os.close(descriptor)
        Path(name).unlink()
    except OSError as fault:
        raise click.ClickException(f"{out} cannot be written: {fault.strerror}") from None


@contextmanager
def _export_of(ballot: str, export: Path | None) -> Iterator[Path]:
    """Give the export file, made by the desk for the time of the count if none was brought."""
    if export is not None:
        yield export
        return
    try:
        made = tempfile.TemporaryDirectory(prefix="ballot-tally-")
    except OSError as fault:
        raise click.ClickException(
            f"there is no room for the export in {tempfile.gettempdir()}: {fault.strerror}; "
            "set TMPDIR to another directory, or bring an export with --from"
        ) from None
    with made as directory:
        path = Path(directory) / "export"
        desk.run(["export", ballot, "--out", str(path)], allow_progress=sys.stderr.isatty())
        yield path


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


def _count(sealed: SealedExport, *, keys: BallotKeys, processes: int) -> Count:
    """Open every vote in one streaming pass."""
    definition = sealed.page.definition
    total = Count.empty(definition)
    # A process costs more to start than a chunk to open: a small ballot gets as many as it has chunks.
    chunks = -(-sealed.manifest.votes // pool.CHUNK_VOTES)
    parts = pool.counts(
        sealed.votes(), definition=definition, seed=keys.opening, processes=max(1, min(processes, chunks))
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


def _write_new(out: Path, content: bytes) -> None:
    """Write the result whole or not at all, and never over another file."""
    directory = out.absolute().parent
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=directory)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(0o644)
            os.link(partial, out)  # unlike a rename, this fails if the name was taken meanwhile
        finally:
            partial.unlink(missing_ok=True)
        share_files.sync_directory(directory)
    except FileExistsError:
        raise click.ClickException(
            f"{out} exists already; it is never overwritten: name another file"
        ) from None
    except OSError as fault:
        raise click.ClickException(f"{out} cannot be written: {fault.strerror}") from None


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
