"""`ballot servers`: the home's own servers, in the foreground."""

import click


@click.command("servers")
def only_servers() -> None:
    """Run this home's own servers in the foreground, until told to stop."""
    raise click.ClickException("not built yet")
