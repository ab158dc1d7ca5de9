"""A progress bar for a person at a terminal; silence for a program."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bar(Protocol):
    """What the caller may do with a bar."""

    def update(self, n_steps: int) -> None:
        """Move on by `n_steps`."""


@contextmanager
def bar(*, length: int, label: str) -> Iterator[Bar]:
    """Show a bar of `length` steps on stderr while the block runs, if stderr is a terminal."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield shown
