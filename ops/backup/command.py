"""`ballot backup`."""

from __future__ import annotations

from pathlib import Path

import click

from ops.backup import keys as backup_keys
from runtime.home import Home


@click.group("backup")
def backup() -> None:
    """Back up both databases and the queue, and restore them."""


@backup.command("keys")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the private halves go: a medium that is then taken away. They are kept nowhere else.",
)
def keys(out: Path) -> None:
    """Make the three key pairs: whoever has a private half can open those backups, and nobody else can."""
    home = Home.from_environment()
    for made in backup_keys.make(home, out):
        click.echo(f"{made.what}  {made.id}  {backup_keys.private_file(out, made.what)}")
    click.echo("Take these files away from this machine, and keep a second copy of each elsewhere.")
