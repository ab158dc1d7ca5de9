"""`ballot capacity`: votes a second, bytes, fsyncs and cores for an electorate."""

import click


@click.command()
def capacity() -> None:
    """Say what an electorate and its way of voting need of machines."""
    raise click.ClickException("Not built yet.")
