"""`ballot recover`."""

import click


@click.command("recover")
def recover() -> None:
    """Say what the queue lacks, and rebuild the gate from what is stored."""
    raise click.ClickException("not built yet")
