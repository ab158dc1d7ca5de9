"""`ballot availability`: the record of when voters could vote."""

import click


@click.command()
def availability() -> None:
    """Show when voters could vote on a ballot, and when not."""
    raise click.ClickException("Not built yet.")
