"""What edges remember of the votes they confirmed: number and reference, best effort, read here line by line.

A journal proves nothing. It names references that voters may hold, so that whoever lost a queue can say whose
votes cannot be confirmed. Lines that cannot be read are counted and passed over: the last one of a file is
often torn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ballot.encoding import Malformed
from ballot.receipt import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PATTERN: Final = "*.jsonl"
LINE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Votes that one call of an edge confirmed: the references with their numbers, in order."""

    ballot: str
    shard: int
    votes: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Journals:
    """The journals in some directories; `unreadable` counts the lines passed over in the last reading."""

    directories: tuple[Path, ...] = ()
    unreadable: int = 0

    def __iter__(self) -> Iterator[Confirmed]:
        self.unreadable = 0
        for path in self._files():
            try:
                with path.open("rb") as file:
                    yield from self._read(iter(lambda: file.readline(LINE_BYTES_MAX), b""))
            except FileNotFoundError:
                continue  # an edge drops its oldest file
            except OSError as error:
                raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None

    def _files(self) -> Iterator[Path]:
        for directory in self.directories:
            if not directory.is_dir():
                raise click.ClickException(f"{directory} is no directory with journals of an edge")
            yield from sorted(directory.glob(PATTERN))

    def _read(self, lines: Iterable[bytes]) -> Iterator[Confirmed]:
        for line in lines:
            try:
                yield parse(line)
            except (ValueError, KeyError, TypeError, Malformed):
                self.unreadable += 1


def parse(line: bytes) -> Confirmed:
    """The votes in one line; ValueError, KeyError, TypeError or Malformed if it is not whole."""
    found: Any = json.loads(line)
    references = [parse_reference(str(each)) for each in found["references"]]
    numbers = found.get("numbers")
    if numbers is None:
        first = int(found["first"])
        numbers = range(first, first + len(references))
    return Confirmed(
        str(found["ballot"]),
        int(found["shard"]),
        tuple((int(number), reference) for number, reference in zip(numbers, references, strict=True)),
    )
