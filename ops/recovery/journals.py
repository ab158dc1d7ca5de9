"""What edges remember of the votes they confirmed, as files in some directories, read line by line.

A journal proves nothing. It names references that voters may hold, so that whoever lost a queue can say whose
votes cannot be confirmed. Lines that cannot be read are counted and passed over: the last one of a file is
often torn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import click

from ballot.acceptances import FILES, LINE_BYTES_MAX, Acceptances
from ballot.encoding import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
