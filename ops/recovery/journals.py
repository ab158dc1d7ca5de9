"""What edges remember of the votes they confirmed, as files in some directories, read line by line.

A journal proves nothing. It names references that voters may hold, so that whoever lost a queue can say whose
votes cannot be confirmed. Lines that cannot be read are counted and passed over: the last one of a file is
often torn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from ballot.acceptances import FILES, LINE_BYTES_MAX, Acceptances
from ballot.encoding import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.recovery.report import BallotReport, Rest

NAMES_MAX: Final = 100_000
"""References of one ballot that a report and its event name; more go into a list beside the report."""


@dataclass(slots=True)
class Journals:
    """The journals in some directories; `unreadable` counts the lines passed over in the last reading."""

    directories: tuple[Path, ...] = ()
    unreadable: int = 0

    def __iter__(self) -> Iterator[Acceptances]:
        self.unreadable = 0
        for directory in self.directories:
            for path in sorted(directory.glob(FILES)):
                try:
                    with path.open("rb") as file:
                        yield from self._read(file)
                except FileNotFoundError:
                    continue  # an edge drops its oldest file
                except OSError as error:
                    raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None

    def _read(self, file: BinaryIO) -> Iterator[Acceptances]:
        while line := file.readline(LINE_BYTES_MAX):
            try:
                yield Acceptances.from_line(line)
            except Malformed:
                self.unreadable += 1


def numbered(line: Acceptances) -> list[tuple[int, str]]:
    """The references of a line with their numbers; 0 for one that is not known."""
    numbers = line.numbers or [0] * len(line.references)
    return list(zip(numbers, line.references, strict=True))


@dataclass(slots=True)
class Lost:
    """The references of one ballot that journals name and that are nowhere.

    `named` are those that an earlier recovery has named, `ends` by shard the largest number that is proved
    and the one that numbers go on behind: a number between them has a journal's word alone, one beyond was
    never given.
    """

    report: BallotReport
    rest: Rest
    named: set[str] = field(default_factory=set)
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    _found: set[str] = field(default_factory=set)
    _before: set[str] = field(default_factory=set)

    def add(self, shard: int, number: int, reference: str) -> None:
        """Keep a reference that is not there, once, and see what its number says."""
        if reference in self.named:
            self._before.add(reference)
            return
        if reference in self._found:
            return
        if len(self._found) < NAMES_MAX:
            self._found.add(reference)
        else:
            self.report.unconfirmed_more += 1
            self.rest.write(f"unconfirmed {reference}")
        proved, end = self.ends.get(shard, (0, 0))
        if number > end:
            self.report.journal_numbers_odd += 1
        elif number > proved:
            self.report.claimed[str(shard)] = self.report.claimed.get(str(shard), 0) + 1

    def end(self) -> None:
        """Put into the report what was found."""
        self.report.unconfirmed = sorted(self._found)
        self.report.unconfirmed_before = len(self._before)
