"""What was done, how long each part took and how much it moved: for whoever must plan the next one."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from runtime import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEGABYTE = 1_000_000


@dataclass(slots=True)
class Step:
    """One part: its name, its seconds, the bytes it wrote, and a word about it."""

    name: str
    seconds: float = 0.0
    bytes: int = 0
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"step": self.name, "seconds": round(self.seconds, 2), "bytes": self.bytes, "note": self.note}


@dataclass(slots=True)
class Steps:
    """All parts so far, in order."""

    done: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time the block, and tell a person at a terminal what is being done."""
        if sys.stderr.isatty():
            click.echo(f"{name} …", err=True)
        step, began = Step(name), time.monotonic()
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - began
            self.done.append(step)

    @contextmanager
    def moving(self, name: str, length: int) -> Iterator[tuple[Step, Callable[[int], object]]]:
        """Time a block that reads `length` bytes, with a bar for a person at a terminal."""
        with self.step(name) as step, progress.bar(length=length, label=name) as bar:
            yield step, bar.update

    @property
    def seconds(self) -> float:
        """The sum."""
        return sum(step.seconds for step in self.done)

    def as_text(self) -> str:
        """A table for a person."""
        width = max([len(step.name) for step in self.done], default=0)
        lines = [
            f"{step.name:<{width}}  {step.seconds:8.1f} s  {_megabytes(step.bytes):>10}  {step.note}".rstrip()
            for step in self.done
        ]
        return "\n".join([*lines, f"{'together':<{width}}  {self.seconds:8.1f} s"])

    def echo(self) -> None:
        """Print the table."""
        click.echo(self.as_text())


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:.1f} MB" if count else ""
