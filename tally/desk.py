"""The desk as the tally sees it: commands run as programs, because nothing here may reach a server."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import orjson

#: What a desk command that is told to end has for stopping the servers that it started.
STOP_SECONDS = 30.0


def run(arguments: Sequence[str], *, given: bytes = b"", allow_progress: bool = False) -> bytes:
    """Run `ballot` with `arguments` and `given` on its standard input, and return what it printed.

    When it fails, what it said is passed on as ours; when it warns, it is shown. `allow_progress` leaves its
    error output on the terminal instead, for commands that take long enough to show a progress bar.
    """
    with subprocess.Popen(
        [*_program(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if allow_progress else subprocess.PIPE,
        process_group=0,  # it hears of Ctrl-C or a closed terminal from us, once
    ) as process:
        try:
            printed, complaint = process.communicate(given)
        except BaseException:
            # Its own way out stops the servers that it started; a kill would leave them behind.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            raise
    said = (complaint or b"").decode(errors="replace").strip()
    if process.returncode == 0:
        if said:
            click.echo(said, err=True)
        return printed
    reason = said.removeprefix("ballot: ") or "its reason is above"
    raise click.ClickException(f"`ballot {arguments[0]}` failed: {reason}")


def run_json(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `ballot` with `arguments` and return the JSON object it printed."""
    value = orjson.loads(run(arguments))
    if not isinstance(value, dict):
        raise TypeError(f"ballot {' '.join(arguments)} printed no JSON object")
    return value


def _program() -> list[str]:
    """Return the `ballot` script installed beside this Python, or the front door run as a module."""
    script = Path(sys.executable).with_name("ballot")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "runtime.frontdoor"]
