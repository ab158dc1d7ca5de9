"""A bar on stderr for whoever watches at a terminal; silence for a program."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Told = Callable[[int, int], None]


@contextmanager
def bar(label: str) -> Iterator[Told]:
    """Show a bar while the block runs; tell it how much is done, and of how much."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as shown:

        def told(done: int, of: int) -> None:
            shown.length = max(of, 1)
            shown.update(min(done, of) - shown.pos)

        yield told
