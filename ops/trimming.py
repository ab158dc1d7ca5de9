"""`ballot trim`."""

import click


@click.command("trim")
def trim() -> None:
    """Trim the queue's streams below what is stored and backed up."""
    raise click.ClickException("not built yet")
