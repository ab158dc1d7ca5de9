"""`ballot faults`."""

import click


@click.command("faults")
def faults() -> None:
    """Break things under load, and prove that no vote was lost or doubled."""
    raise click.ClickException("not built yet")
