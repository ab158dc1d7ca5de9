"""What a command says while it runs: a line a step with its seconds, and what went wrong in one sentence."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ballot.suite import SignatureInvalid
from loadtests.published.scenario import ScenarioFault
from loadtests.staging.stage import StageFault
from loadtests.voting.desk import DeskFileFault


class Telling:
    """One line a step with its seconds: on stdout for a person, on stderr when stdout is for a program."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._to_stderr = to_stderr
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line, at once."""
        click.echo(text, err=self._to_stderr)
        (sys.stderr if self._to_stderr else sys.stdout).flush()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time what happens in the block and say so when it is done."""
        started = time.monotonic()
        yield
        self.seconds[what] = round(time.monotonic() - started, 2)
        self.say(f"{self.seconds[what]:7.2f} s  {what}")


@contextmanager
def faults_told() -> Iterator[None]:
    """Whatever the run finds wrong, told in one sentence."""
    try:
        yield
    except (ScenarioFault, StageFault, DeskFileFault) as error:
        raise click.ClickException(str(error)) from error
    except SignatureInvalid as error:
        raise click.ClickException("A receipt does not bear the signature of a published key.") from error
