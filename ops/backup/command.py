"""`ballot backup`."""

import click


@click.command("backup")
def backup() -> None:
    """Back up both databases and the queue, and restore them."""
    raise click.ClickException("not built yet")
