"""A home made before there were complaints has no key to seal them to: `ballot up` sees to it, or says so."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click

from ops.supervisor import ballot_command, tethered

if TYPE_CHECKING:
    from runtime.home import Home

COMMAND_SECONDS = 60
DESK_SECRET = "desk.key"  # noqa: S105  # a file's name


def see_to_form(home: Home) -> None:
    """Have the complaints key published where the desk's key is, by a desk command; else warn in a line.

    A home whose desk has done nothing yet gets both keys with its first act.
    """
    if home.complaints_key_file.exists():
        return
    holds_desk = home.embedded and (home.secrets / DESK_SECRET).is_file()
    if holds_desk and _publish():
        return
    if holds_desk or home.public_key_file.exists():
        click.echo(
            f"warning: voters have no complaint form: {home.complaints_key_file} is not there; "
            "`ballot complaints key` on the desk's machine makes it",
            err=True,
        )


def _publish() -> bool:
    """Run the desk's command; this process, and what it starts, never holds the desk's key."""
    try:
        done = subprocess.run(
            tethered(ballot_command("complaints", "key")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode:
        click.echo(done.stderr.strip(), err=True)
    return done.returncode == 0
