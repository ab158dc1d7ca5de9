"""Several ballots counted by one command: who holds what for each, their exports, and a file for each result.

They are counted one after another and share nothing: each result is the one its ballot would have alone.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from ballot import export_file
from ballot.turns import Turns
from tally import desk, shares
from tally.shares import HeldShare

BALLOTS_A_BATCH = 32
"""So many are exported at a time: no more of their votes than that are on disk twice."""

FILES_MAX = 20_000
"""Of a directory of shares; more is a mistake in the path."""


def results(names: Sequence[str], out: Path) -> dict[str, Path]:
    """Say where each result goes: `out` is the file of one, and the directory of several."""
    if len(names) == 1:
        return {names[0]: out}
    if not out.is_dir():
        raise click.ClickException(f"{out} is not a directory; several results need one")
    return {name: out / f"{name}.json" for name in names}


def held(names: Sequence[str], given: Sequence[Path]) -> dict[str, list[HeldShare]]:
    """Read the shares of each ballot; a directory gives the share files in it that are of one of them.

    Of several ballots each share must say of which it is: the line that every share file is written with.
    """
    files = [file for path in given for file in _files(path)]
    if len(names) == 1 and not any(path.is_dir() for path in given):
        return {names[0]: [shares.read(path, ballot=names[0]) for path in files]}
    found: dict[str, list[HeldShare]] = {name: [] for name in names}
    named = set(given)
    for file in files:
        ballot = shares.ballot_named(file)
        if ballot in found:
            found[ballot].append(shares.read(file, ballot=ballot))
        elif file in named:
            of = f"is of ballot {ballot}" if ballot else 'has no line "# Ballot: …"'
            raise click.ClickException(f"{file} {of}, and the ballots are {', '.join(names[:3])} and others")
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files: list[Path] = []
    for file in path.iterdir():
        if len(files) == FILES_MAX:
            raise click.ClickException(f"{path} holds more than {FILES_MAX:,} files: is it the right one?")
        if file.is_file():
            files.append(file)
    return sorted(files)


def each_export(turns: Turns, export: Path | None, count: Callable[[str, Path], None]) -> None:
    """Let `count` have each ballot and its export: one that was brought, or made now by the desk."""
    names = turns.left
    for start in range(0, len(names), BALLOTS_A_BATCH):
        with exports(names[start : start + BALLOTS_A_BATCH], export, turns) as paths:
            for ballot, path in paths.items():
                with turns.of(ballot):
                    count(ballot, path)


@contextmanager
def exports(names: Sequence[str], export: Path | None, turns: Turns) -> Iterator[Mapping[str, Path]]:
    """Give the export file of each ballot for the time of the count."""
    alone = len(turns.names) == 1
    if export is not None:
        if not alone and not export.is_dir():
            raise click.ClickException(
                f"{export} is not a directory; the exports of several ballots are in one"
            )
        yield {name: export if alone else export / f"{name}{export_file.SUFFIX}" for name in names}
        return
    try:
        made = tempfile.TemporaryDirectory(prefix="ballot-tally-")
    except OSError as fault:
        raise click.ClickException(
            f"there is no room for the export in {tempfile.gettempdir()}: {fault.strerror}; "
            "set TMPDIR to another directory, or bring an export with --from"
        ) from None
    with made as directory:
        paths = {name: Path(directory) / f"{name}{export_file.SUFFIX}" for name in names}
        out = next(iter(paths.values())) if len(names) == 1 else Path(directory)
        try:
            desk.run(["export", *names, "--out", str(out)], allow_progress=sys.stderr.isatty())
        except click.ClickException as fault:
            if alone:
                raise
            told = _told(fault.message, names)
            otherwise = "the desk did not export it" if told else fault.message
            for name in names:
                if not paths[name].exists():
                    with turns.of(name):
                        raise click.ClickException(told.get(name, otherwise)) from None
        yield {name: path for name, path in paths.items() if name not in turns.failed}


def _told(message: str, names: Sequence[str]) -> dict[str, str]:
    """What the desk said of each ballot that it did not export, in lines that begin with its name."""
    parts = (line.partition(": ") for line in message.splitlines())
    return {name: rest for name, _, rest in parts if name in names}
